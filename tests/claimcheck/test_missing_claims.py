"""What no store has is never acknowledged: the worker keeps it for people to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from claimcheck import ClaimCheckMiddleware, ClaimLost, ClaimMissing, ClaimStore
from claimcheck.stores.base import url_of_label
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Client, Event, Message, MessageFailed, MessageRejected, Worker
from letsgo_queue.admin.sqlite import SqliteAdmin
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.claimcheck.places import Place
from tests.claimcheck.support import noise, small_claim_check, ticket_in
from tests.letsgo_queue.support import outcomes
from tests.support.command import run

RECEIVES = 3
VISIBILITY_SECONDS = 30


class Shop:
    """A queue with dead letters, on the clock of the test."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = f"{url}?max_receive_count={RECEIVES}&visibility_timeout={VISIBILITY_SECONDS}"
        self.clock = clock
        self.queue = SqliteTransport(self.url, clock=clock)
        self.handled: list[str] = []

    def enqueue(self, store: ClaimStore) -> str:
        """Send a message that is stored; gives its claim's id."""
        middleware = ClaimCheckMiddleware(small_claim_check(store))
        result = Client(self.queue, middleware=[middleware]).enqueue(
            {"type": "order:new", "payload": noise(6_000)}
        )
        return str(result.claim_id)

    def work(self, store: ClaimStore) -> list[Event]:
        """Receive all visible messages, and again each time that they come back."""
        heard: list[Event] = []
        worker = Worker(self.queue, middleware=[ClaimCheckMiddleware(small_claim_check(store))])
        worker.add_listener(outcomes(heard))

        @worker.handler("order:new")
        def on_order(message: Message[str]) -> None:
            self.handled.append(message.payload)

        for _ in range(RECEIVES + 1):
            worker.run(burst=True)
            self.clock.advance(VISIBILITY_SECONDS)
        return heard

    def redrive(self) -> int:
        admin = SqliteAdmin(self.url, clock=self.clock)
        try:
            (letter,) = admin.dead_letters()
            assert letter.failure is not None
            assert str(letter.failure.error).startswith("claimcheck.errors.Claim")
            assert letter.failure.attempts == RECEIVES
            return admin.redrive()
        finally:
            admin.close()


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Shop]:
    shop = Shop(f"sqlite:///{tmp_path}/work.db", clock)
    yield shop
    shop.queue.close()


def errors_in(heard: list[Event]) -> list[BaseException]:
    *failed, last = heard
    assert isinstance(last, MessageRejected)
    assert all(isinstance(each, MessageFailed) for each in failed)
    return [each.error for each in heard if isinstance(each, MessageFailed | MessageRejected)]


def test_in_the_wrong_store_it_reaches_the_dead_letters_and_is_redriven(
    place: Place, shop: Shop
) -> None:
    shop.enqueue(place.store)

    errors = errors_in(shop.work(place.elsewhere))

    assert [type(error) for error in errors] == [ClaimMissing] * RECEIVES
    for label in (place.store.label, place.elsewhere.label):
        assert url_of_label(label) in str(errors[0])
    assert shop.handled == []
    assert shop.redrive() == 1
    shop.work(place.store)
    assert shop.handled == [noise(6_000)]


def test_the_letter_names_both_stores_and_says_what_its_error_means(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = (SqliteClaimStore(tmp_path / f"{name}.db") for name in ("there", "here"))
    shop.enqueue(there)
    shop.work(here)
    monkeypatch.setenv("LETSGO_QUEUE_URL", shop.url)
    command = partial(run, "letsgo-queue", "dead-letter", cwd=tmp_path)
    (letter,) = json.loads(command("list", "--json").stdout)

    told = command("show", letter["message_id"]).stdout

    assert "it means        " in told
    assert there.url in told
    assert here.url in told


def test_removed_by_hand_it_reaches_the_dead_letters(place: Place, shop: Shop) -> None:
    place.store.remove(shop.enqueue(place.store), 1)

    errors = errors_in(shop.work(place.store))

    assert [type(error) for error in errors] == [ClaimMissing] * RECEIVES
    assert shop.redrive() == 1
    assert shop.handled == []


def test_lost_by_a_crash_it_reaches_the_dead_letters(place: Place, shop: Shop) -> None:
    shop.enqueue(place.store)
    (received,) = shop.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
    assert ticket_in(received.body)
    check = small_claim_check(place.store, purge="before", lease_seconds=30)
    check.open(received.body)  # and nothing more
    shop.clock.advance(30)

    errors = errors_in(shop.work(place.store))

    assert [type(error) for error in errors] == [ClaimLost] * (RECEIVES - 1)
    assert shop.redrive() == 1
    assert shop.handled == []
