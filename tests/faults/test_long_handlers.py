"""A handler that takes longer than the visibility timeout, and what may happen under it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, cast

import pytest

from claimcheck import ClaimCheckMiddleware, EnqueueResult
from claimcheck.stores.base import Held, Lease
from letsgo_queue import Client, Delivery, MessageFailed, MessageHandled, Worker
from letsgo_queue.events import Event
from tests.faults.actors import JobMessage, job
from tests.faults.backends import Backend, claim_check_of, store_of, transport_of
from tests.faults.journal import wait_until
from tests.faults.wire import PARTS

TIMEOUT = 2
LONG = 5 * TIMEOUT
CLAIM = 1 + PARTS
AFTER_ALL = 9e9
"""A moment at which every lease of today has ended."""

Handler: TypeAlias = Callable[[JobMessage, Delivery], None]


class Bench:
    """A worker in this process, with all that can be seen of it.

    Attributes:
        claim_id: The claim of the one message that was enqueued.
        deliveries: Every one that reached the handler.
        events: What the worker told its listeners.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.transport = transport_of(backend)
        self.store = store_of(backend)
        self.deliveries: list[Delivery] = []
        self.events: list[Event] = []
        client = Client(self.transport, middleware=[ClaimCheckMiddleware(claim_check_of(backend))])
        self.claim_id = cast("EnqueueResult", client.enqueue(job(1))).claim_id or ""

    @contextmanager
    def worker(self, handler: Handler) -> Iterator[None]:
        """A worker that runs meanwhile."""
        worker = Worker(
            self.transport,
            middleware=[ClaimCheckMiddleware(claim_check_of(self.backend))],
            concurrency=2,
            visibility_timeout=TIMEOUT,
            wait_seconds=1,
        )

        @worker.handler("fault:job")
        def handle(message: JobMessage, delivery: Delivery) -> None:
            self.deliveries.append(delivery)
            handler(message, delivery)

        worker.add_listener(self.events.append)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            thread.join()

    def wait_for(self, kind: type[Event]) -> None:
        wait_until(lambda: any(isinstance(event, kind) for event in self.events), kind.__name__)

    def lease_until(self) -> float | None:
        """When the running lease ends; None if there is none."""
        found = self.store.read(self.claim_id, PARTS, now=time.time())
        return found.until if isinstance(found, Held) else None

    def take_over(self) -> Lease:
        """Take the claim, as another delivery would after a lease that ran out."""
        lease = Lease("another delivery's lease", time.time() + 60)
        assert self.store.take(self.claim_id, PARTS, lease, now=AFTER_ALL)
        return lease


@pytest.fixture
def bench(backend: Backend) -> Bench:
    return Bench(backend)


def test_runs_once_with_message_and_claim_held_throughout(bench: Bench) -> None:
    begun, done = threading.Event(), threading.Event()

    def work(message: JobMessage, delivery: Delivery) -> None:
        begun.set()
        time.sleep(LONG)
        done.set()

    leases: list[float] = []
    with bench.worker(work):
        assert begun.wait(30)
        while not done.wait(0.1):
            lease_until = bench.lease_until()
            seen = bench.transport.receive(max_messages=10, wait_seconds=0, visibility_timeout=0)
            if done.is_set():
                break
            assert lease_until is not None
            assert time.time() - 1 < lease_until < time.time() + TIMEOUT + 1
            assert not seen
            leases.append(lease_until)
        bench.wait_for(MessageHandled)

    assert len(bench.deliveries) == 1
    assert leases == sorted(leases)
    assert len(set(leases)) > LONG / TIMEOUT
    assert (bench.backend.depth(), bench.backend.rows()) == (0, [])


@pytest.mark.parametrize("fails", [False, True], ids=["it returns", "it fails"])
def test_its_message_is_deleted_meanwhile(
    bench: Bench, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """Extending fails, and is said; the handler finishes; the claim ends as the handler did."""

    def work(message: JobMessage, delivery: Delivery) -> None:
        bench.transport.delete(delivery.received)
        wait_until(lambda: "could not be kept invisible" in caplog.text, "the warning")
        if fails:
            raise RuntimeError("the test says so")

    with caplog.at_level(logging.WARNING), bench.worker(work):
        bench.wait_for(MessageFailed if fails else MessageHandled)

    assert len(bench.deliveries) == 1
    assert bench.deliveries[0].message_id in caplog.text
    is_back = bench.store.look_up(bench.claim_id, now=time.time()) is not None
    assert is_back == fails
    rows = bench.backend.rows()
    assert len(rows) == (CLAIM if fails else 0)
    assert all(rows), "each one expires"


@pytest.mark.parametrize("fails", [False, True], ids=["it returns", "it fails"])
def test_its_claim_is_taken_over_meanwhile(
    bench: Bench, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """It changes nothing of what another delivery holds."""
    taken_over: list[Lease] = []

    def work(message: JobMessage, delivery: Delivery) -> None:
        taken_over.append(bench.take_over())
        bench.transport.delete(delivery.received)  # or it would come again
        if fails:
            raise RuntimeError("the test says so")

    with caplog.at_level(logging.WARNING), bench.worker(work):
        bench.wait_for(MessageFailed if fails else MessageHandled)

    assert "another delivery took it" in caplog.text
    assert bench.lease_until() == pytest.approx(taken_over[0].until)
    assert len(bench.backend.rows()) == CLAIM


def test_a_failure_puts_the_claim_back_before_the_message_comes_again(bench: Bench) -> None:
    def work(message: JobMessage, delivery: Delivery) -> None:
        if delivery.receive_count == 1:
            raise RuntimeError("the test says so")

    with bench.worker(work):
        bench.wait_for(MessageFailed)
        claim = bench.store.look_up(bench.claim_id, now=time.time())
        bench.wait_for(MessageHandled)

    assert claim is not None
    assert [delivery.receive_count for delivery in bench.deliveries] == [1, 2]
    assert bench.backend.rows() == []
