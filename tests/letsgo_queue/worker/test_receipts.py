"""A store that is busy refuses a receipt: the worker tries again, and nothing waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from letsgo_queue import IncomingMessage, Middleware, Steps, Worker
from letsgo_queue.errors import QueueUnavailable
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import receipts
from tests.letsgo_queue.aws_lambda.lambda_events import Context, event_of
from tests.letsgo_queue.support import DEADLINE_SECONDS, outgoing, running
from tests.support.waiting import wait_for

COUNT = 40
"""More messages than a worker has threads."""


class Store(Middleware):
    """Leases something for each message; a receipt is refused as often as `refuse` says."""

    def __init__(self) -> None:
        self.refuse = 0
        self.refused = 0
        self.receipts: list[str] = []
        self.given_back = 0
        self.before_settling: Callable[[], None] = lambda: None
        self.lock = threading.Lock()

    def handle(self, message: IncomingMessage, /) -> Steps:
        message.attach(Lease(self, message.message_id))
        yield


class Lease:
    def __init__(self, store: Store, message_id: str) -> None:
        self.store = store
        self.message_id = message_id

    def extend(self, seconds: float) -> None: ...

    def settle(self, *, succeeded: bool) -> None:
        assert succeeded
        self.store.before_settling()
        with self.store.lock:
            if self.store.refused < self.store.refuse:
                self.store.refused += 1
                raise QueueUnavailable("slow down.")
        self.store.receipts.append(self.message_id)

    def give_back(self) -> None:
        self.store.given_back += 1


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(receipts, "LONGEST_PAUSE_SECONDS", 0.02)


def worker_of(queue: MemoryTransport, store: Store, handle: Callable[[], object]) -> Worker:
    worker = Worker(queue, middleware=[store], concurrency=1, drain_timeout=0)

    @worker.handler("sync")
    def on_sync(message: object) -> None:
        handle()

    @worker.handler("async")
    async def on_async(message: object) -> None:
        handle()

    return worker


def send(queue: MemoryTransport, kind: str, count: int = 1) -> None:
    for _ in range(count):
        queue.send(outgoing(f'{{"type": "{kind}", "payload": 1}}'))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_message_is_acknowledged_with_its_receipt(
    queue: MemoryTransport, store: Store, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []
    store.refuse = 5
    send(queue, kind)

    worker_of(queue, store, lambda: runs.append(1)).run(burst=True)

    assert (runs, len(store.receipts), store.refused) == ([1], 1, 5)
    assert queue._messages == {}
    assert caplog.text == ""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_handler_waits_for_it(queue: MemoryTransport, store: Store, kind: str) -> None:
    runs: list[int] = []
    store.refuse = 10**9
    send(queue, kind, COUNT)

    with running(worker_of(queue, store, lambda: runs.append(1)), drain_timeout=DEADLINE_SECONDS):
        wait_for(lambda: len(runs) == COUNT, "all to be handled")
        assert len(queue._messages) == COUNT, "one was acknowledged without its receipt"
        store.refuse = 0
        wait_for(lambda: len(store.receipts) == COUNT, "all receipts")

    assert queue._messages == {}
    assert len(runs) == COUNT


def test_in_the_end_it_is_acknowledged_without(
    queue: MemoryTransport,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(receipts, "PATIENCE_SECONDS", 0.1)
    store.refuse = 10**9
    send(queue, "sync")

    worker_of(queue, store, lambda: None).run(burst=True)

    assert store.refused > 1
    assert queue._messages == {}
    assert "its receipt could not be written: slow down. A duplicate of it will" in caplog.text


def test_a_lease_with_a_defect_keeps_no_message(
    queue: MemoryTransport, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def break_it() -> None:
        if store.refused:
            raise ZeroDivisionError

    store.refuse = 1
    store.before_settling = break_it
    send(queue, "sync")

    worker_of(queue, store, lambda: None).run(burst=True)

    assert (store.refused, store.receipts, queue._messages) == (1, [], {})
    assert "ZeroDivisionError" in caplog.text


def test_a_worker_that_stops_waits_no_longer(
    queue: MemoryTransport, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It was handled: it must not be given back."""
    store.refuse = 10**9
    send(queue, "sync")

    with running(worker_of(queue, store, lambda: None)):
        wait_for(lambda: store.refused > 2, "it to be tried again")

    assert queue._messages == {}
    assert store.given_back == 0
    assert caplog.text.count("its receipt could not be written") == 1


@pytest.mark.parametrize(("pause", "written"), [(0.01, 1), (1_000, 0)])
def test_lambda_waits_while_there_is_time(
    queue: MemoryTransport,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pause: float,
    written: int,
) -> None:
    monkeypatch.setattr(receipts, "FIRST_PAUSE_SECONDS", pause)
    monkeypatch.setattr(receipts, "LONGEST_PAUSE_SECONDS", pause)
    store.refuse = 3
    worker = worker_of(queue, store, lambda: None)

    answer = worker.lambda_handler(event_of('{"type": "sync", "payload": 1}'), Context(300))

    assert answer == {"batchItemFailures": []}
    assert len(store.receipts) == written
