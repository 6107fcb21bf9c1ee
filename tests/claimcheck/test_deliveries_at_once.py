"""Two deliveries of one message at once: one handler runs, and the worker holds the other delivery.

It stays invisible and uses up no receive, however long the other one runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from claimcheck import ClaimCheckMiddleware, DuplicateSuppressed, Opened
from claimcheck.opening import Opener
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Event, Message, MessageFailed, MessageHandled, MessageSkipped, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.worker import incoming as deliveries
from tests.claimcheck.support import claim_record, message_body, noise, small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.support import outcomes, running
from tests.support.waiting import wait_for

PAYLOADS = {"stored": noise(6_000), "inline": "small"}

LOOKS = 4
"""How often a delivery that is held looks at the record: more often than it may be received."""

PAUSE_SECONDS = 0.1
"""How long it waits in between: longer than a worker waits before it looks for other messages."""

_EventT = TypeVar("_EventT", bound=Event)


@dataclass
class Shop:
    """A queue, a store whose time stands still, and workers that handle each message once."""

    queue: MemoryTransport | SqliteTransport
    clock: Clock
    payload: str
    heard: list[Event] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watched = Watched(MemoryClaimStore(clock=self.clock))
        self.check = small_claim_check(self.watched.store)
        self.body = self.check.seal(message_body("order:new", self.payload)).body

    def send(self) -> str:
        return self.queue.send(OutgoingMessage(type="order:new", body=self.body))

    def deliver_elsewhere(self, message_id: str) -> Opened:
        """Have another process handle the message, and be near the end of its lease."""
        opened = Opener(small_claim_check(self.watched.behind), once=True).open(
            self.body.decode(), queue=self.queue.url, message_id=message_id, lease_seconds=0.01
        )
        assert opened is not None
        return opened

    def worker(
        self, during: Callable[[], object] = lambda: None, *, concurrency: int = 1
    ) -> Worker:
        worker = Worker(
            self.queue,
            middleware=[ClaimCheckMiddleware(self.check, once=True)],
            concurrency=concurrency,
        )
        worker.add_listener(outcomes(self.heard))

        @worker.handler("order:new")
        def on_order(message: Message[str]) -> None:
            during()
            self.handled.append(message.payload)

        return worker

    def wait_until_held(self) -> None:
        before = self.watched.calls["acquire"]
        wait_for(lambda: self.watched.calls["acquire"] >= before + LOOKS, "looks at the record")

    def wait_for_event(self, kind: type[_EventT]) -> _EventT:
        return wait_for(
            lambda: [each for each in self.heard if isinstance(each, kind)], kind.__name__
        )[0]

    def visible(self) -> int:
        """How many messages another worker could receive."""
        return len(self.queue.receive(max_messages=10, wait_seconds=0, visibility_timeout=0))


@pytest.fixture(params=["memory", "sqlite"])
def queue(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[MemoryTransport | SqliteTransport]:
    made = (
        MemoryTransport()
        if request.param == "memory"
        else SqliteTransport(f"sqlite:///{tmp_path}/work.db?max_receive_count=2")
    )
    yield made
    made.close()


@pytest.fixture(params=PAYLOADS)
def shop(
    request: pytest.FixtureRequest,
    queue: MemoryTransport | SqliteTransport,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", PAUSE_SECONDS)
    return Shop(queue, clock, PAYLOADS[request.param])


def test_is_held_until_the_other_has_succeeded(shop: Shop) -> None:
    other = shop.deliver_elsewhere(shop.send())

    with running(shop.worker()):
        shop.wait_until_held()
        assert shop.visible() == 0
        assert shop.heard == []
        other.complete()
        skipped = shop.wait_for_event(MessageSkipped)

    assert shop.wait_for_event(DuplicateSuppressed).receive_count == 1
    assert skipped.receive_count == 1
    assert shop.handled == []
    assert not any(isinstance(each, MessageFailed) for each in shop.heard)


def test_is_handled_once_the_other_has_failed(shop: Shop) -> None:
    other = shop.deliver_elsewhere(shop.send())

    with running(shop.worker()):
        shop.wait_until_held()
        other.release()
        handled = shop.wait_for_event(MessageHandled)

    assert handled.receive_count == 1
    assert shop.handled == [shop.payload]


def test_is_handled_once_the_lease_of_a_twin_that_crashed_has_run_out(shop: Shop) -> None:
    shop.deliver_elsewhere(shop.send())  # and nothing more

    with running(shop.worker()):
        shop.wait_until_held()
        shop.clock.advance(1)
        handled = shop.wait_for_event(MessageHandled)

    assert handled.receive_count == 1
    assert shop.handled == [shop.payload]


def test_keeps_no_thread_from_other_messages(shop: Shop) -> None:
    shop.deliver_elsewhere(shop.send())

    with running(shop.worker()):
        shop.wait_until_held()
        other = message_body("order:new", "other").encode()
        shop.queue.send(OutgoingMessage(type="order:new", body=other))
        shop.wait_for_event(MessageHandled)
        assert shop.handled == ["other"]


def test_is_given_back_when_the_worker_stops(shop: Shop) -> None:
    shop.deliver_elsewhere(shop.send())

    with running(shop.worker()):
        shop.wait_until_held()

    (again,) = wait_for(
        lambda: shop.queue.receive(max_messages=10, wait_seconds=0, visibility_timeout=30),
        "the message",
    )
    assert again.receive_count == 2
    assert shop.heard == []


def test_two_messages_for_one_claim_run_one_handler(
    queue: MemoryTransport | SqliteTransport, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sender leaves them that sent again because no answer came."""
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", PAUSE_SECONDS)
    shop = Shop(queue, clock, PAYLOADS["stored"])
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        record = claim_record(shop.watched.behind, shop.body)
        assert record is not None
        clock.advance(record.seconds_left - 0.01)
        begun.set()
        assert go_on.wait(20)

    shop.send()
    with running(shop.worker(wait, concurrency=2)):
        assert begun.wait(20)
        shop.send()
        shop.wait_until_held()
        go_on.set()
        suppressed = shop.wait_for_event(DuplicateSuppressed)

    assert suppressed.receive_count == 1
    assert shop.handled == [shop.payload]
    assert [type(event) for event in shop.heard if isinstance(event, MessageFailed)] == []
