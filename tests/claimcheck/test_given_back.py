"""A message that a worker gives back as it ends.

Its claim is back too, and its handler never runs: had the claim been completed, the next delivery
would be a duplicate, and the message lost. Where its handler runs already, and its contents are
nowhere else, no other handler may run beside it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from claimcheck import ClaimCheckMiddleware, ClaimInProgress, ClaimLost, Purge
from claimcheck.stores.base import Record
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Message, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import loop
from tests.claimcheck.lambda_claims import Claims
from tests.claimcheck.support import (
    claim_record,
    message_body,
    noise,
    parts_left,
    small_claim_check,
)
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.support import DEADLINE_SECONDS, running
from tests.support.waiting import wait_for


class Shop:
    """A queue, and a worker that is told to end at once."""

    def __init__(self, store: MemoryClaimStore, *, is_async: bool) -> None:
        self.is_async = is_async
        self.threads = {*threading.enumerate()}
        self.claims = Claims(store)
        self.watched = Watched(store)
        self.queue = MemoryTransport()
        self.handled: list[str] = []
        self.begun = 0
        self.busy = threading.Event()
        self.go_on = threading.Event()

    def send(self, body: str) -> None:
        self.queue.send(OutgoingMessage(type="order:new", body=body.encode()))

    def wait(self) -> None:
        self.begun += 1
        self.busy.set()
        assert self.go_on.wait(DEADLINE_SECONDS)

    def worker(self, *, once: bool = False, purge: Purge = "after") -> Worker:
        check = small_claim_check(self.watched.store, purge=purge)
        worker = Worker(
            self.queue,
            middleware=[ClaimCheckMiddleware(check, once=once)],
            concurrency=1,
            drain_timeout=0,
        )

        def handle(message: Message[str]) -> None:
            self.handled.append(message.payload)

        async def handle_async(message: Message[str]) -> None:
            handle(message)

        async def quick_async(message: object) -> None: ...

        def wait(message: object) -> None:
            self.wait()

        async def wait_async(message: object) -> None:
            self.begun += 1
            self.busy.set()
            if not self.go_on.is_set():
                await asyncio.sleep(DEADLINE_SECONDS)

        def fail(message: object) -> None:
            self.wait()
            raise ZeroDivisionError

        worker.handler("fail")(fail)
        worker.handler("order:new")(handle_async if self.is_async else handle)
        worker.handler("quick")(quick_async if self.is_async else lambda _: None)
        worker.handler("wait")(wait_async if self.is_async else wait)
        return worker


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def shop(request: pytest.FixtureRequest, store: MemoryClaimStore) -> Iterator[Shop]:
    shop = Shop(store, is_async=request.param)
    yield shop
    shop.go_on.set()


def threads_of_worker(shop: Shop) -> list[str]:
    new = {*threading.enumerate()} - shop.threads  # an open poll of another test may still wait
    return [each.name for each in new if each.name.startswith("letsgo-worker")]


def check_that_it_comes_again(shop: Shop, payload: str, *, once: bool = False) -> None:
    """The worker has ended, and what it waited for comes to its end."""
    shop.go_on.set()
    wait_for(lambda: not threads_of_worker(shop), "its last threads to end")
    assert shop.handled == []

    shop.worker(once=once).run(burst=True)

    assert shop.handled == [payload]
    assert shop.queue._messages == {}


@pytest.mark.parametrize("size", [5, 6_000], ids=["small", "stored"])
def test_while_its_store_answers(shop: Shop, size: int) -> None:
    """The claim is acquired after its message was given back."""
    payload = noise(size)
    shop.watched.after("acquire", shop.wait)
    shop.send(shop.claims.check.seal(message_body("order:new", payload)).body.decode())
    with running(shop.worker(once=True)):
        assert shop.busy.wait(DEADLINE_SECONDS)

    check_that_it_comes_again(shop, payload, once=True)


def test_while_it_waits_for_a_slot(shop: Shop) -> None:
    """It is received behind a slow one, as the handlers before these were quick."""
    payload = noise(6_000)
    for _ in range(30):
        shop.send(message_body("quick", ""))
    shop.send(message_body("wait", ""))
    with running(shop.worker()):
        assert shop.busy.wait(DEADLINE_SECONDS)
        shop.send(shop.claims.check.seal(message_body("order:new", payload)).body.decode())
        wait_for(lambda: shop.watched.calls["acquire"], "it to be opened")

    check_that_it_comes_again(shop, payload)


class TestHandedOver:
    """`purge="before"`: its contents were removed, and its handler has the only copy."""

    def stop(self, shop: Shop, message_type: str) -> str:
        """Have a worker stop while the handler runs; the body that travelled."""
        body = message_body(message_type, noise(6_000))
        sealed = shop.claims.check.seal(body).body.decode()
        shop.send(sealed)
        with running(shop.worker(purge="before")):
            assert shop.busy.wait(DEADLINE_SECONDS)
        return sealed

    @pytest.mark.parametrize("shop", [False], ids=["sync"], indirect=True)
    def test_its_handler_runs_on_and_no_other_does(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        sealed = self.stop(shop, "wait")

        with pytest.raises(ClaimInProgress):
            shop.claims.check.open(sealed)
        assert "is not released" in caplog.text

        shop.go_on.set()
        wait_for(lambda: claim_record(shop.claims.store, sealed) == Record("done", 0), "its end")
        shop.worker().run(burst=True)  # a duplicate
        assert shop.queue._messages == {}
        assert shop.begun == 1

    @pytest.mark.parametrize("shop", [False], ids=["sync"], indirect=True)
    def test_its_process_ends_and_the_next_delivery_says_so(self, shop: Shop, clock: Clock) -> None:
        sealed = self.stop(shop, "wait")

        clock.advance(120)
        with pytest.raises(ClaimLost):
            shop.claims.check.open(sealed)

    @pytest.mark.parametrize("shop", [False], ids=["sync"], indirect=True)
    def test_its_handler_fails_after_all_and_it_is_back(self, shop: Shop) -> None:
        sealed = self.stop(shop, "fail")

        shop.go_on.set()
        wait_for(lambda: claim_record(shop.claims.store, sealed) is None, "its end")
        assert parts_left(shop.claims.store, sealed) == 1

    @pytest.mark.parametrize("shop", [True], ids=["async"], indirect=True)
    def test_its_handler_is_cancelled_and_it_is_back_before_its_message(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "CANCELLING_SECONDS", DEADLINE_SECONDS)
        received: list[object] = []

        def receive() -> None:
            until = time.monotonic() + 0.3  # the worker has time to give it back too early
            while not received and time.monotonic() < until:
                received.extend(
                    shop.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
                )

        shop.watched.before("write", receive)
        sealed = self.stop(shop, "wait")

        assert received == []
        assert claim_record(shop.claims.store, sealed) is None
        shop.go_on.set()
        shop.worker().run(burst=True)
        assert (shop.begun, shop.queue._messages) == (2, {})
