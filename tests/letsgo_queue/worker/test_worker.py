"""The worker, whole: its options and its queue, how much it does at once, when it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Message,
    MessageFailed,
    MessageHandled,
    QueueNotFound,
    RetryPolicy,
    SettingsInvalid,
    Worker,
    set_default_client,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    events_of,
    order,
    receive,
    receive_one,
    running,
)
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for


def nothing(message: dict[str, Any]) -> None:
    """A handler that is content."""


def fail(message: dict[str, Any]) -> None:
    raise RuntimeError("so that it stays on the queue")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"concurrency": 0}, "concurrency=0: a worker takes at least 1"),
        ({"queue": 5}, "a queue is named by its URL, or is a transport; it is not of type int"),
        ({"concurrency": "5"}, "concurrency is of type str: give a whole number"),
        ({"concurrency": 5.5}, "concurrency is of type float: give a whole number"),
        ({"prefetch": True}, "prefetch is of type bool: give a whole number"),
        ({"prefetch": -1}, "prefetch=-1: a worker takes at least 0"),
        ({"wait_seconds": -1}, "wait_seconds=-1: a worker takes 0 to 20"),
        ({"wait_seconds": 21}, "wait_seconds=21: a worker takes 0 to 20"),
        ({"drain_timeout": -1}, "drain_timeout=-1: a worker takes 0 to 43,200"),
        ({"visibility_timeout": 0}, "visibility_timeout=0: a worker takes 1 to 43,200"),
        ({"visibility_timeout": 43_201}, "visibility_timeout=43201: a worker takes 1 to 43,200"),
        ({"wait_seconds": timedelta(minutes=1)}, "wait_seconds=60: a worker takes 0 to 20"),
        ({"drain_timeout": float("nan")}, "drain_timeout=nan: a worker takes 0 to 43,200"),
        ({"drain_timeout": float("inf")}, "drain_timeout=inf: a worker takes 0 to 43,200"),
        ({"drain_timeout": "1"}, "drain_timeout is of type str: give a number of seconds, or a"),
    ],
)
def test_refuses_numbers_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        Worker(**options)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda worker: worker.scheduled(5), "takes an expression such as .* not int"),
        (lambda worker: worker.scheduled("rate(1 hour)", name=5)(nothing), "name is of type int"),
        (
            lambda worker: worker.scheduled("cron(0 3 * * ? *)", timezone=5)(nothing),
            "timezone is of type int: give text",
        ),
        (lambda worker: worker.serve(host=5), "host is of type int: give text"),
        (lambda worker: worker.serve(host=""), "host is empty: give a name or an address"),
        (lambda worker: worker.serve(allowed_hosts=5), "allowed_hosts=5: give a list of hosts"),
        (lambda worker: worker.serve(allowed_hosts=[5]), "allowed host 5: give a name or an addr"),
    ],
)
def test_refuses_arguments_of_another_type(
    queue: MemoryTransport, call: Callable[[Worker], object], text: str
) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        call(Worker(queue))


def test_what_is_in_seconds_may_be_a_timedelta() -> None:
    class Asked(MemoryTransport):
        """A queue that knows for how long it was asked to hide messages."""

        asked: ClassVar[list[int | None]] = []

        def receive(
            self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
        ) -> Sequence[ReceivedMessage]:
            self.asked.append(visibility_timeout)
            return super().receive(
                max_messages=max_messages,
                wait_seconds=wait_seconds,
                visibility_timeout=visibility_timeout,
            )

    second = timedelta(seconds=1)
    worker = Worker(
        Asked(), visibility_timeout=90 * second, wait_seconds=second, drain_timeout=second
    )

    worker.run(burst=True)
    worker.run(burst=True, visibility_timeout=91 * second, drain_timeout=2 * second)

    assert set(Asked.asked) == {90, 91}


@pytest.mark.parametrize("by", ["default client", "client", "url of a client's queue"])
def test_finds_its_queue(client: Client, by: str) -> None:
    """Its own, else that of its client, else that of the default client."""
    set_default_client(client)
    match by:
        case "default client":
            worker = Worker()
        case "client":
            worker = Worker(client=client)
        case _:
            client = Client()
            worker = Worker("memory://other", client=client)
    events = events_of(worker)
    worker.default(nothing)
    client.enqueue(order(), queue="memory://other" if by.startswith("url") else None)

    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled]


def test_visibility_timeout_of_the_worker_wins(
    client: Client, queue: MemoryTransport, clock: Clock
) -> None:
    worker = Worker(queue, visibility_timeout=100)
    worker.default(fail)
    client.enqueue(order())

    worker.run(burst=True)

    clock.advance(99)
    assert receive(queue) == []
    clock.advance(1)
    assert receive_one(queue).receive_count == 2


def test_handles_several_messages_at_once(client: Client, worker: Worker) -> None:
    """Each handler waits for the three others."""
    barrier = threading.Barrier(4)
    events = events_of(worker)

    @worker.handler("order:new")
    def on_order(message: dict[str, Any]) -> None:
        barrier.wait(DEADLINE_SECONDS)

    for _ in range(4):
        client.enqueue(order())
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled] * 4


def test_handles_several_async_messages_at_once(client: Client, worker: Worker) -> None:
    barrier = asyncio.Barrier(4)
    events = events_of(worker)

    @worker.handler("order:new")
    async def on_order(message: dict[str, Any]) -> None:
        await asyncio.wait_for(barrier.wait(), DEADLINE_SECONDS)

    for _ in range(4):
        client.enqueue(order())
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled] * 4


def test_handles_no_more_than_its_concurrency_at_once(
    client: Client, queue: MemoryTransport
) -> None:
    """Two are at work until told to end; the others stay on the queue."""
    worker = Worker(queue, concurrency=2, prefetch=0, wait_seconds=0)
    at_work: list[int] = []
    may_end = threading.Semaphore(0)
    events = events_of(worker)

    @worker.handler("order:new")
    def on_order(message: Message[dict[str, int]]) -> None:
        at_work.append(message.payload["number"])
        assert may_end.acquire(timeout=DEADLINE_SECONDS)

    for number in range(6):
        client.enqueue(order(number=number))
    with running(worker):
        for ended in range(0, 6, 2):
            wait_for(lambda n=ended: len(events) == n and len(at_work) == n + 2, "two at work")  # type: ignore[misc]  # bound
            left = receive(queue, visibility_timeout=0)
            assert len(left) == 4 - ended
            may_end.release(2)
        wait_for(lambda: len(events) == 6, "the end of all")

    assert sorted(at_work) == list(range(6))


def test_burst_ends_when_the_queue_is_empty_and_handlers_are_done(
    client: Client, worker: Worker
) -> None:
    """Messages that a handler sends are handled too."""
    handled: list[int] = []

    @worker.handler("order:new")
    def on_order(message: Message[int]) -> None:
        handled.append(message.payload)
        if message.payload:
            client.enqueue({"type": "order:new", "payload": message.payload - 1})

    client.enqueue({"type": "order:new", "payload": 3})
    worker.run(burst=True)

    assert handled == [3, 2, 1, 0]


def test_burst_waits_for_a_handler_though_the_queue_is_empty(worker: Worker) -> None:
    """It may yet send a message."""

    class Asked(MemoryTransport):
        requests = 0

        def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
            self.requests += 1
            return super().receive(**options)

    queue = Asked()
    worker = Worker(queue, concurrency=2)
    handled: list[str] = []

    @worker.handler("first")
    def first(message: dict[str, Any]) -> None:
        asked = queue.requests
        wait_for(lambda: queue.requests > asked + 2, "the queue to be asked, and asked again")
        Client(queue).enqueue({"type": "second"})
        handled.append("first")

    @worker.handler("second")
    def second(message: dict[str, Any]) -> None:
        handled.append("second")

    Client(queue).enqueue({"type": "first"})
    worker.run(burst=True)

    assert handled == ["first", "second"]


def test_runs_until_stopped_and_can_run_again(client: Client, worker: Worker) -> None:
    events = events_of(worker)
    worker.handler("order:new")(nothing)

    for _ in range(2):
        events.clear()
        with running(worker):
            client.enqueue(order())
            wait_for(lambda: events, "the message to be handled")
        assert [type(event) for event in events] == [MessageHandled]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("burst", [False, True], ids=["stopped", "burst"])
def test_leaves_no_thread_when_it_ends(client: Client, *, is_async: bool, burst: bool) -> None:
    before = set(threading.enumerate())
    worker = Worker(client=client)
    events = events_of(worker)

    async def nothing_async(message: dict[str, Any]) -> None:
        await asyncio.to_thread(nothing, message)

    worker.default(nothing_async if is_async else nothing)
    for _ in range(30):
        client.enqueue(order())
    if burst:
        worker.run(burst=True)
    else:
        with running(worker):
            wait_for(lambda: len(events) == 30, "all to be handled")

    assert set(threading.enumerate()) <= before  # one of another test may have ended


def test_finishes_what_is_in_hand_when_stopped(
    client: Client, queue: MemoryTransport, clock: Clock
) -> None:
    """What waits behind it stays on the queue, as if it had never been received."""
    worker = Worker(queue, concurrency=1)
    events = events_of(worker)
    begun = threading.Event()

    @worker.handler("order:new")
    def on_order(message: dict[str, Any]) -> None:
        begun.set()
        wait_for(worker._stopping.is_set, "the worker to be stopped")

    first = client.enqueue(order())
    second = client.enqueue(order())
    with running(worker):
        wait_for(begun.is_set, "the first message")

    (event,) = events
    assert isinstance(event, MessageHandled)
    assert event.message_id == first.message_id
    clock.advance(100_000)
    left = receive_one(queue)
    assert (left.message_id, left.receive_count) == (second.message_id, 1)


def test_works_on_sqs(aws: AwsServer) -> None:
    """A sync and an async handler; what fails once comes again."""
    client = Client(aws.make_queue(VisibilityTimeout="600"))
    worker = Worker(client=client, wait_seconds=1, retry_policy=RetryPolicy(base=0))
    events = events_of(worker)
    tenants: list[str | bytes] = []

    @worker.handler("order:new")
    def on_order(message: dict[str, Any], delivery: Delivery) -> None:
        tenants.append(delivery.attributes["tenant"].value)
        if delivery.receive_count == 1:
            raise RuntimeError("once")

    @worker.handler("order:paid")
    async def on_paid(message: Message[str]) -> None:
        await asyncio.sleep(0)

    with running(worker):
        failing = client.enqueue(order(), attributes={"tenant": "t-1"})
        client.enqueue({"type": "order:paid", "payload": "Grüße"})
        wait_for(lambda: len(events) == 3, "all to be handled")

    assert tenants == ["t-1", "t-1"]
    assert sorted(type(event).__name__ for event in events) == [
        "MessageFailed",
        "MessageHandled",
        "MessageHandled",
    ]
    failed = next(event for event in events if isinstance(event, MessageFailed))
    assert failed.message_id == failing.message_id
    attributes = aws.sqs().get_queue_attributes(QueueUrl=failed.queue, AttributeNames=["All"])
    assert attributes["Attributes"]["ApproximateNumberOfMessages"] == "0"
    assert attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    client.close()


def test_says_that_the_queue_does_not_exist(aws: AwsServer) -> None:
    url = aws.make_queue()
    aws.sqs().delete_queue(QueueUrl=url)
    worker = Worker(url)
    worker.default(nothing)

    with pytest.raises(QueueNotFound, match=f"queue {url} does not exist"):
        worker.run()
