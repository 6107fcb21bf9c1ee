"""A handler that takes longer than the visibility timeout, and what may happen under it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import pytest

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.base import Lease
from letsgo_queue import Client, Delivery, MessageFailed, MessageHandled, RetryPolicy, Worker
from letsgo_queue.events import Event
from tests.faults.actors import JobMessage, job
from tests.faults.backends import Backend, claim_check_of, store_of, transport_of
from tests.faults.stores import Rows
from tests.support.waiting import wait_for

TIMEOUT = 10
LATER = 3600.0
PARTS = {"sqlite": 3, "ministack": 3, "s3": 1}

Handler: TypeAlias = Callable[[JobMessage, Delivery], None]


class Bench:
    """A worker in this process, with all that can be seen of it.

    Attributes:
        key: The record of the one message that was enqueued.
        deliveries: All that reached the handler.
        events: What the worker told its listeners.
        records: Whether there was a record of the message each time it failed.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.transport = transport_of(backend)
        self.claim_check = claim_check_of(backend)
        self.store = self.claim_check.store
        self.deliveries: list[Delivery] = []
        self.events: list[Event] = []
        self.records: list[bool] = []
        client = Client(self.transport, middleware=[ClaimCheckMiddleware(self.claim_check)])
        self.key = f"{client.enqueue(job(1)).claim_id}@"

    @contextmanager
    def worker(self, handler: Handler) -> Iterator[None]:
        """A worker that runs meanwhile."""
        worker = Worker(
            self.transport,
            middleware=[ClaimCheckMiddleware(self.claim_check)],
            concurrency=2,
            visibility_timeout=TIMEOUT,
            wait_seconds=1,
            retry_policy=RetryPolicy(base=1, cap=1),
        )

        @worker.handler("job")
        def handle(message: JobMessage, delivery: Delivery) -> None:
            self.deliveries.append(delivery)
            handler(message, delivery)

        worker.add_listener(self._hear)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            thread.join()

    def _hear(self, event: Event) -> None:
        if isinstance(event, MessageFailed):
            self.records.append(self.store.look_up(self.key) is not None)
        self.events.append(event)

    def wait_for(self, kind: type[Event]) -> None:
        wait_for(lambda: any(isinstance(event, kind) for event in self.events), kind.__name__)

    def lease_until(self) -> float | None:
        """When the running lease ends; None if there is none."""
        record = self.store.look_up(self.key)
        return self.store.now() + record.seconds_left if record and record.is_held else None

    def take_over(self) -> None:
        """Acquire the claim, as another delivery does after the lease has run out."""
        later = store_of(self.backend, clock=lambda: time.time() + LATER)
        assert later.acquire(self.key, Lease("another delivery's lease", LATER)) is None
        later.close()

    def delete(self, delivery: Delivery) -> None:
        """Delete the message under its handler."""
        self.transport.delete(delivery._message.received)

    def close(self) -> None:
        self.store.close()
        self.transport.close()


@pytest.fixture
def bench(backend: Backend) -> Iterator[Bench]:
    bench = Bench(backend)
    yield bench
    bench.close()


def test_runs_once_with_message_and_claim_held_throughout(bench: Bench) -> None:
    """Until the heartbeat has extended both twice: by then the first timeout is over."""
    done = threading.Event()
    leases: list[float] = []

    def work(message: JobMessage, delivery: Delivery) -> None:
        done.wait()

    with bench.worker(work):
        wait_for(lambda: bench.deliveries, "the handler")
        try:
            while len(leases) < 3:
                lease_until = bench.lease_until()
                assert lease_until is not None
                if not leases or lease_until > leases[-1] + TIMEOUT / 4:
                    leases.append(lease_until)
                assert not bench.transport.receive(
                    max_messages=10, wait_seconds=0, visibility_timeout=0
                )
                time.sleep(0.1)
        finally:
            done.set()
        bench.wait_for(MessageHandled)

    assert len(bench.deliveries) == 1
    assert (bench.backend.depth(), bench.backend.rows()) == (0, Rows(receipts=1))


@pytest.mark.parametrize("fails", [False, True], ids=["it returns", "it fails"])
def test_its_message_is_deleted_meanwhile(
    bench: Bench, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """Extending fails, and is said; the handler finishes; the claim ends as the handler did."""

    def work(message: JobMessage, delivery: Delivery) -> None:
        bench.delete(delivery)
        wait_for(lambda: "could not be kept invisible" in caplog.text, "the warning")
        if fails:
            raise RuntimeError("the test says so")

    with caplog.at_level(logging.WARNING), bench.worker(work):
        bench.wait_for(MessageFailed if fails else MessageHandled)

    assert len(bench.deliveries) == 1
    assert bench.deliveries[0].message_id in caplog.text
    assert bench.backend.rows() == (
        Rows(parts=PARTS[bench.backend.name]) if fails else Rows(receipts=1)
    )


@pytest.mark.parametrize("fails", [False, True], ids=["it returns", "it fails"])
def test_another_delivery_acquires_its_claim_meanwhile(
    bench: Bench, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """It changes nothing of what another delivery holds."""

    def work(message: JobMessage, delivery: Delivery) -> None:
        bench.take_over()
        bench.delete(delivery)  # or it would come again
        if fails:
            raise RuntimeError("the test says so")

    with caplog.at_level(logging.WARNING), bench.worker(work):
        bench.wait_for(MessageFailed if fails else MessageHandled)

    assert "another delivery has it" in caplog.text
    assert bench.lease_until() == pytest.approx(time.time() + 2 * LATER, abs=60)
    assert bench.backend.rows() == Rows(parts=PARTS[bench.backend.name], records=1)


def test_a_failure_releases_the_claim_before_the_message_comes_again(bench: Bench) -> None:
    """Else the next delivery would find it held, and wait for the end of the lease."""

    def work(message: JobMessage, delivery: Delivery) -> None:
        if delivery.receive_count == 1:
            raise RuntimeError("the test says so")

    with bench.worker(work):
        bench.wait_for(MessageHandled)

    assert bench.records == [False]
    assert [delivery.receive_count for delivery in bench.deliveries] == [1, 2]
    assert bench.backend.rows() == Rows(receipts=1)
