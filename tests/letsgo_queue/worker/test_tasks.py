"""Async handlers: many at once on one event loop, and nothing blocks it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from letsgo_queue import (
    Client,
    Delivery,
    Event,
    LetsGoQueueError,
    MessageFailed,
    MessageHandled,
    Middleware,
    Retry,
    Steps,
    Worker,
)
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.tasks import OPENING_THREADS
from tests.letsgo_queue.support import DEADLINE_SECONDS, events_of, order, receive, running
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def send(queue: MemoryTransport, count: int) -> None:
    Client(queue).enqueue_many([order(n=n) for n in range(count)])


def test_as_many_as_its_concurrency_run_at_once_without_a_thread_each(
    queue: MemoryTransport,
) -> None:
    worker = Worker(queue, concurrency=600)
    all_begun = asyncio.Event()
    at_work = 0
    threads: list[int] = []

    @worker.default
    async def handle(message: dict[str, Any]) -> None:
        nonlocal at_work
        at_work += 1
        if at_work == 600:
            threads.append(threading.active_count())
            all_begun.set()
        await asyncio.wait_for(all_begun.wait(), DEADLINE_SECONDS)

    events = events_of(worker)
    send(queue, 600)
    worker.run(burst=True)

    assert {type(event) for event in events} == {MessageHandled}
    assert len(events) == 600
    assert threads[0] < 40


def test_no_more_run_at_once(queue: MemoryTransport) -> None:
    """Quick ones wait in the worker; they are begun as others end."""
    worker = Worker(queue, concurrency=3)
    at_work = 0
    most = 0

    @worker.default
    async def handle(message: dict[str, Any]) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1

    events = events_of(worker)
    send(queue, 200)
    worker.run(burst=True)

    assert len(events) == 200
    assert most == 3


class Store(Middleware):
    """Where messages are opened, which takes a while."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked = 0
        self.threads: list[str] = []
        self.error: Exception | None = None

    def blocks(self, message: IncomingMessage, /) -> bool:
        return message.type == "stored"

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.threads.append(threading.current_thread().name)
        if message.type == "stored":
            self.asked += 1
            assert self.go_on.wait(DEADLINE_SECONDS)
            if self.error:
                raise self.error
        yield
        self.threads.append(threading.current_thread().name)


def test_what_waits_for_a_store_keeps_nothing_from_the_loop(queue: MemoryTransport) -> None:
    store = Store()
    worker = Worker(queue, concurrency=2 * OPENING_THREADS, middleware=[store])
    handled: list[str] = []
    failures: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, MessageFailed):
            failures.append(event)

    worker.add_listener(listen)

    @worker.default
    async def handle(message: dict[str, Any]) -> None:
        if message["type"] == "bad":
            raise ZeroDivisionError
        handled.append(message["type"])

    client = Client(queue)
    with running(worker):
        for _ in range(OPENING_THREADS + 1):
            client.enqueue({"type": "stored"})
        wait_for(lambda: store.asked == OPENING_THREADS, "all threads to be in use")
        client.enqueue({"type": "bad"})
        client.enqueue({"type": "plain"})
        wait_for(lambda: handled, "the plain one")
        wait_for(lambda: failures, "the failure of another")
        assert handled == ["plain"]
        store.go_on.set()
        wait_for(lambda: len(handled) == OPENING_THREADS + 2, "the others")

    on_loop = [name for name in store.threads if name == "letsgo-worker-asyncio"]
    assert len(on_loop) == 3, "in to two and out of one that does not wait"
    assert {name.rpartition("-")[0] for name in store.threads} == {
        "letsgo-worker",
        "letsgo-worker-middleware",
    }


def test_one_that_cannot_be_opened_yet_is_held(queue: MemoryTransport) -> None:
    class Unavailable(LetsGoError):
        patience = 900.0
        retry_after = 0.01

    store = Store()
    store.error = Unavailable("the store does not answer.")
    store.go_on.set()
    worker = Worker(queue, middleware=[store])
    counts: list[int] = []

    @worker.default
    async def handle(message: object, delivery: Delivery) -> None:
        counts.append(delivery.receive_count)

    Client(queue).enqueue({"type": "stored"})
    with running(worker):
        wait_for(lambda: store.asked > 1, "another try")
        store.error = None
        wait_for(lambda: counts, "it to be handled")

    assert counts == [1]


def test_settling_one_that_failed_keeps_nothing_from_the_loop() -> None:
    class Slow(MemoryTransport):
        asked = threading.Event()
        go_on = threading.Event()

        def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
            self.asked.set()
            assert self.go_on.wait(DEADLINE_SECONDS)
            super().change_visibility(message, seconds)

    queue = Slow()
    worker = Worker(queue)
    events = events_of(worker)

    @worker.handler("bad")
    async def fail(message: dict[str, Any]) -> None:
        raise Retry(delay=600)

    @worker.handler("good")
    async def succeed(message: dict[str, Any]) -> None: ...

    client = Client(queue)
    with running(worker):
        client.enqueue({"type": "bad"})
        assert queue.asked.wait(DEADLINE_SECONDS)
        client.enqueue({"type": "good"})
        wait_for(lambda: events, "the other one")
        assert isinstance(events[0], MessageHandled)
        queue.go_on.set()
        wait_for(lambda: len(events) == 2, "the one that failed")

    assert isinstance(events[1], MessageFailed)
    assert events[1].retry_delay == 600


@pytest.mark.parametrize("blocks", [False, True])
def test_middleware_and_handler_share_context_variables(
    queue: MemoryTransport, *, blocks: bool
) -> None:
    """And each message has its own."""
    seen: list[tuple[str, str]] = []

    class Sets(Middleware):
        def blocks(self, message: IncomingMessage, /) -> bool:
            return blocks

        def handle(self, message: IncomingMessage, /) -> Steps:
            before = tenant.get()
            token = tenant.set(message.message_id)
            yield
            seen.append((before, tenant.get()))
            tenant.reset(token)

    worker = Worker(queue, middleware=[Sets()], concurrency=4)

    @worker.default
    async def handle(message: object, delivery: Delivery) -> None:
        assert tenant.get() == delivery.message_id
        await asyncio.sleep(0)
        tenant.set(f"{tenant.get()}, changed")

    send(queue, 20)
    token = tenant.set("of the worker")
    worker.run(burst=True)
    tenant.reset(token)

    assert len(seen) == 20
    assert {before for before, _ in seen} == {"of the worker"}
    assert all(after.endswith(", changed") for _, after in seen)
    assert len({after for _, after in seen}) == 20
    assert receive(queue) == []


def test_a_batch_is_acknowledged_together() -> None:
    """While a request is under way that is not full, what is handled fills others."""
    acknowledged: list[int] = []
    most_are_done = threading.Event()

    class Counts(MemoryTransport):
        def delete_batch(
            self, messages: Sequence[ReceivedMessage]
        ) -> Sequence[LetsGoQueueError | None]:
            if len(messages) < MAX_BATCH:
                most_are_done.wait(DEADLINE_SECONDS)
                most_are_done.set()  # one that waits in vain is enough
            acknowledged.append(len(messages))
            if sum(acknowledged) >= 90:
                most_are_done.set()
            return super().delete_batch(messages)

    queue = Counts()
    worker = Worker(queue, concurrency=100)

    @worker.default
    async def handle(message: object) -> None: ...

    send(queue, 100)
    worker.run(burst=True)

    assert sum(acknowledged) == 100
    assert acknowledged.count(MAX_BATCH) >= 9
    assert receive(queue) == []


def test_600_slow_ones_on_sqs(ministack: AwsServer) -> None:
    """Each takes half a second; one after the other they would take five minutes."""
    url = ministack.make_queue(VisibilityTimeout="600")
    client = Client(url)
    client.enqueue_many([order(n=n) for n in range(600)])
    worker = Worker(url, concurrency=600)
    threads: list[int] = []
    ended: list[float] = []

    @worker.default
    async def handle(message: object) -> None:
        threads.append(threading.active_count())
        await asyncio.sleep(0.5)
        ended.append(time.monotonic())

    started = time.monotonic()
    with running(worker):
        wait_for(lambda: len(ended) == 600, "all of them")

    assert max(threads) < 40
    assert ended[-1] - started < 30, "they waited for each other"
    print(f"600 in {ended[-1] - started:.2f} s, {max(threads)} threads")
    client.close()
