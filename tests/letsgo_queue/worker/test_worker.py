"""The worker: handlers and what they get, acknowledgement, retries, concurrency, stopping."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import BaseModel

from letsgo_queue import (
    Client,
    Delivery,
    Event,
    LetsGoQueueError,
    Message,
    MessageFailed,
    MessageHandled,
    MessageInvalid,
    QueueNotFound,
    QueueUnavailable,
    SettingsInvalid,
    Worker,
    set_default_client,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    SECRET,
    Clock,
    events_of,
    failure,
    order,
    outgoing,
    receive,
    receive_one,
    running,
    wait_for,
)
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    pass


class Order(BaseModel):
    order_id: str
    lines: list[dict[str, int]] = []


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


ORDER_42 = order(order_id="42")


def nothing(message: dict[str, Any]) -> None:
    """A handler that is content."""


def test_success_acknowledges(
    client: Client, queue: MemoryTransport, worker: Worker, clock: Clock
) -> None:
    events = events_of(worker)
    worker.handler("order:new")(nothing)
    result = client.enqueue(ORDER_42)

    worker.run(burst=True)

    (event,) = events
    assert isinstance(event, MessageHandled)
    assert (event.type, event.queue) == ("order:new", "memory://")
    assert (event.message_id, event.receive_count) == (result.message_id, 1)
    assert 0 < event.duration < DEADLINE_SECONDS
    clock.advance(100_000)
    assert receive(queue) == []


def test_acknowledges_only_after_the_handler(
    client: Client, queue: MemoryTransport, worker: Worker, clock: Clock
) -> None:
    during: list[ReceivedMessage] = []

    @worker.handler("order:new")
    def on_order(message: OrderNew) -> None:
        clock.advance(30)
        during.extend(receive(queue))

    client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert len(during) == 1
    clock.advance(30)
    assert receive_one(queue).receive_count == 3, "a delivery that had ended was acknowledged"


def fail_with(error: BaseException) -> Callable[[dict[str, Any]], None]:
    def fail(message: dict[str, Any]) -> None:
        raise error

    return fail


def fail_async_with(error: BaseException) -> Callable[[dict[str, Any]], Any]:
    async def fail(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        ValueError("it went wrong"),
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("fail", [fail_with, fail_async_with])
def test_failure_leaves_the_message_and_the_worker_goes_on(
    *,
    client: Client,
    queue: MemoryTransport,
    worker: Worker,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    fail: Callable[[BaseException], Callable[..., Any]],
) -> None:
    events = events_of(worker)
    worker.handler("bad")(fail(error))
    worker.handler("good")(nothing)
    bad = client.enqueue({"type": "bad", "payload": SECRET})
    worker.run(burst=True)
    client.enqueue({"type": "good", "payload": 1})
    worker.run(burst=True)

    failed, handled = events
    assert isinstance(failed, MessageFailed)
    assert type(failed.error).__name__ == type(error).__name__
    assert (failed.message_id, failed.receive_count) == (bad.message_id, 1)
    assert isinstance(handled, MessageHandled)
    assert f"message {bad.message_id} of type 'bad' failed" in caplog.text
    assert SECRET not in caplog.text
    clock.advance(30)
    assert receive_one(queue).receive_count == 2


def test_failed_message_comes_again(client: Client, worker: Worker, clock: Clock) -> None:
    counts: list[int] = []

    @worker.handler("order:new")
    def on_order(message: OrderNew, delivery: Delivery) -> None:
        counts.append(delivery.receive_count)
        if delivery.receive_count < 3:
            raise RuntimeError("not yet")

    client.enqueue(ORDER_42)
    for _ in range(4):
        worker.run(burst=True)
        clock.advance(30)

    assert counts == [1, 2, 3]


@pytest.mark.parametrize("body", ["", "no json", "[]", '"text"', "{}", '{"type":5}', "\x00"])
def test_unreadable_body_does_not_stop_the_worker(
    client: Client, queue: MemoryTransport, worker: Worker, clock: Clock, body: str
) -> None:
    events = events_of(worker)
    worker.handler("order:new")(nothing)
    message_id = queue.send(outgoing(body))
    client.enqueue(ORDER_42)

    worker.run(burst=True)

    failed, handled = sorted(events, key=lambda event: type(event).__name__)
    assert isinstance(failed, MessageFailed)
    assert failed.type is None
    assert f"message {message_id}: the body " in str(failed.error)
    assert isinstance(handled, MessageHandled)
    clock.advance(30)
    assert receive_one(queue).body == body


def test_handles_several_messages_at_once(client: Client, worker: Worker) -> None:
    """Each handler waits for the three others."""
    barrier = threading.Barrier(4)
    events = events_of(worker)

    @worker.handler("order:new")
    def on_order(message: OrderNew) -> None:
        barrier.wait(DEADLINE_SECONDS)

    for _ in range(4):
        client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled] * 4


def test_handles_several_async_messages_at_once(client: Client, worker: Worker) -> None:
    barrier = asyncio.Barrier(4)
    events = events_of(worker)

    @worker.handler("order:new")
    async def on_order(message: OrderNew) -> None:
        await asyncio.wait_for(barrier.wait(), DEADLINE_SECONDS)

    for _ in range(4):
        client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled] * 4


def test_handles_no_more_than_its_concurrency_at_once(
    client: Client, queue: MemoryTransport
) -> None:
    worker = Worker(queue, concurrency=2)
    lock = threading.Lock()
    running_now, most, handled = 0, 0, 0

    @worker.handler("order:new")
    def on_order(message: OrderNew) -> None:
        nonlocal running_now, most, handled
        with lock:
            running_now += 1
            most = max(most, running_now)
        time.sleep(0.01)
        with lock:
            running_now -= 1
            handled += 1

    for _ in range(10):
        client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert (most, handled) == (2, 10)


def test_burst_ends_when_the_queue_is_empty_and_handlers_are_done(
    client: Client, worker: Worker
) -> None:
    """Messages that a handler sends are handled too."""
    handled: list[str] = []

    @worker.handler("order:new")
    def on_order(message: Message[int]) -> None:
        time.sleep(0.1)
        handled.append(str(message.payload))
        if message.payload:
            client.enqueue({"type": "order:new", "payload": message.payload - 1})

    client.enqueue({"type": "order:new", "payload": 3})
    worker.run(burst=True)

    assert handled == ["3", "2", "1", "0"]


def test_runs_until_stopped_and_can_run_again(client: Client, worker: Worker) -> None:
    events = events_of(worker)
    worker.handler("order:new")(nothing)

    for _ in range(2):
        events.clear()
        with running(worker):
            client.enqueue(ORDER_42)
            wait_for(lambda: events, "the message to be handled")
        assert [type(event) for event in events] == [MessageHandled]


def test_finishes_what_is_in_hand_when_stopped(
    client: Client, queue: MemoryTransport, clock: Clock
) -> None:
    """What waits behind it stays on the queue, as if it had never been received."""
    worker = Worker(queue, concurrency=1)
    events = events_of(worker)
    begun = threading.Event()

    @worker.handler("order:new")
    def on_order(message: OrderNew) -> None:
        begun.set()
        wait_for(worker._stopping.is_set, "the worker to be stopped")

    first = client.enqueue(ORDER_42)
    second = client.enqueue(ORDER_42)
    with running(worker):
        wait_for(begun.is_set, "the first message")

    (event,) = events
    assert isinstance(event, MessageHandled)
    assert event.message_id == first.message_id
    clock.advance(100_000)
    left = receive_one(queue)
    assert (left.message_id, left.receive_count) == (second.message_id, 1)


class StopsItsWorker(MemoryTransport):
    """A queue whose messages arrive just as the worker is stopped."""

    worker: Worker
    lost = False

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        messages = super().receive(
            max_messages=max_messages,
            wait_seconds=wait_seconds,
            visibility_timeout=visibility_timeout,
        )
        self.worker.stop()
        return messages

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        if self.lost:
            raise QueueUnavailable("the queue is gone.")
        super().change_visibility(message, seconds)


def test_gives_back_what_it_has_not_begun(clock: Clock) -> None:
    queue = StopsItsWorker(clock=clock)
    queue.worker = Worker(queue)
    queue.worker.default(fail_with(AssertionError("the handler ran")))
    events = events_of(queue.worker)
    Client(queue).enqueue(ORDER_42)

    queue.worker.run()

    assert events == []
    assert receive_one(queue).receive_count == 2


def test_says_so_if_it_cannot_give_back(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    queue = StopsItsWorker(clock=clock)
    queue.lost = True
    queue.worker = Worker(queue)
    result = Client(queue).enqueue(ORDER_42)

    queue.worker.run()

    assert f"message {result.message_id} comes again later: the queue is gone." in caplog.text


def test_listener_that_fails_disturbs_nothing(
    client: Client, queue: MemoryTransport, worker: Worker, clock: Clock
) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("listener is broken")

    worker.add_listener(fail)
    events = events_of(worker)
    worker.handler("order:new")(nothing)
    client.enqueue(ORDER_42)

    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled]
    clock.advance(100_000)
    assert receive(queue) == []


class Forgetful(MemoryTransport):
    """A queue that cannot be told that a message is done."""

    def delete(self, message: ReceivedMessage) -> None:
        raise QueueUnavailable(f"message {message.message_id} was not acknowledged.")


def test_says_that_a_handled_message_will_come_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Forgetful(clock=clock)
    worker = Worker(queue)
    worker.default(nothing)
    Client(queue).enqueue(ORDER_42)

    worker.run(burst=True)

    assert "was not acknowledged. It was handled: expect it a second time" in caplog.text


@pytest.mark.parametrize(("seconds", "kept"), [(0, 0), (59.2, 60), (43_200, 43_200)])
def test_delivery_can_be_extended(
    client: Client,
    queue: MemoryTransport,
    clock: Clock,
    seconds: float,
    kept: int,
) -> None:
    worker = Worker(queue, concurrency=1)
    untils: list[float] = []

    @worker.handler("order:new")
    def on_order(message: OrderNew, delivery: Delivery) -> None:
        worker.stop()
        delivery.visibility.follow(untils.append)
        delivery.extend(seconds)
        raise RuntimeError("so that it stays on the queue")

    client.enqueue(ORDER_42)
    worker.run()

    assert untils == [pytest.approx(time.time() + kept, abs=5)]
    if kept:
        clock.advance(kept - 1)
        assert receive(queue) == []
        clock.advance(1)
    assert receive_one(queue).receive_count == 2


@pytest.mark.parametrize("seconds", [-1, 43_200.5, float("nan"), float("inf")])
def test_delivery_cannot_be_extended_out_of_range(
    client: Client, worker: Worker, seconds: float
) -> None:
    events = events_of(worker)

    @worker.handler("order:new")
    def on_order(message: OrderNew, delivery: Delivery) -> None:
        delivery.extend(seconds)

    client.enqueue(ORDER_42)
    worker.run(burst=True)

    error = failure(events)
    assert isinstance(error, MessageInvalid)
    assert f"cannot extend by {seconds} s, SQS takes 0 to 43,200" in str(error)


def test_visibility_timeout_of_the_worker_wins(
    client: Client, queue: MemoryTransport, clock: Clock
) -> None:
    worker = Worker(queue, visibility_timeout=100)
    worker.default(fail_with(RuntimeError("so that it stays")))
    client.enqueue(ORDER_42)

    worker.run(burst=True)

    clock.advance(99)
    assert receive(queue) == []
    clock.advance(1)
    assert receive_one(queue).receive_count == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"concurrency": 0}, "concurrency=0: a worker takes at least 1"),
        ({"wait_seconds": -1}, "wait_seconds=-1: a worker takes 0 to 20"),
        ({"wait_seconds": 21}, "wait_seconds=21: a worker takes 0 to 20"),
        ({"visibility_timeout": 0}, "visibility_timeout=0: a worker takes 1 to 43,200"),
        ({"visibility_timeout": 43_201}, "visibility_timeout=43201: a worker takes 1 to 43,200"),
    ],
)
def test_refuses_numbers_out_of_range(options: dict[str, int], text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        Worker(**options)  # type: ignore[arg-type]  # options of one type only


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
    client.enqueue(ORDER_42, queue="memory://other" if by.startswith("url") else None)

    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled]


class Flaky(MemoryTransport):
    """A queue that fails the receives that it is told to."""

    def __init__(self, failures: dict[int, LetsGoQueueError]) -> None:
        super().__init__()
        self.failures = failures
        self.receives = 0

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        self.receives += 1
        if error := self.failures.get(self.receives):
            raise error
        return super().receive(
            max_messages=max_messages,
            wait_seconds=wait_seconds,
            visibility_timeout=visibility_timeout,
        )


GONE = QueueUnavailable("the queue does not answer.", retryable=True)
DENIED = QueueUnavailable("access is denied.", retryable=False)


@pytest.mark.parametrize(
    "failures", [{1: GONE}, {2: DENIED}], ids=["gone at first", "denied later"]
)
def test_tries_again_when_the_queue_is_unavailable(
    failures: dict[int, LetsGoQueueError], caplog: pytest.LogCaptureFixture
) -> None:
    queue = Flaky(failures)
    worker = Worker(queue, concurrency=1, wait_seconds=0)
    events = events_of(worker)
    worker.default(nothing)
    with running(worker):
        wait_for(lambda: queue.receives > max(failures), "another attempt")
        Client(queue).enqueue(ORDER_42)
        wait_for(lambda: events, "the message to be handled")

    assert isinstance(events[0], MessageHandled)
    (error,) = failures.values()
    assert f"{error} Trying again in 1 s." in caplog.text


def test_pauses_longer_each_time_but_stops_at_once(caplog: pytest.LogCaptureFixture) -> None:
    queue = Flaky(dict.fromkeys(range(1, 10), GONE))
    worker = Worker(queue)
    with running(worker):
        wait_for(lambda: "Trying again in 2 s" in caplog.text, "the second pause")
        asked_to_stop = time.monotonic()

    assert time.monotonic() - asked_to_stop < 1


@pytest.mark.parametrize(
    "error", [DENIED, QueueNotFound("there is none.")], ids=["denied", "not found"]
)
def test_raises_when_the_queue_cannot_be_used_at_all(error: LetsGoQueueError) -> None:
    worker = Worker(Flaky({1: error}))
    worker.default(nothing)

    with pytest.raises(type(error), match=str(error)):
        worker.run()


def test_works_on_sqs(aws: AwsServer) -> None:
    """A sync and an async handler; what fails once comes again."""
    client = Client(aws.make_queue(VisibilityTimeout="2"))
    worker = Worker(client=client, wait_seconds=1)
    events = events_of(worker)
    tenants: list[str | bytes] = []

    @worker.handler("order:new")
    def on_order(message: OrderNew, delivery: Delivery) -> None:
        tenants.append(delivery.attributes["tenant"].value)
        if delivery.receive_count == 1:
            raise RuntimeError("once")

    @worker.handler("order:paid")
    async def on_paid(message: Message[str]) -> None:
        await asyncio.sleep(0)

    with running(worker):
        failing = client.enqueue(ORDER_42, attributes={"tenant": "t-1"})
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


def test_keeps_the_order_of_a_group_though_a_message_fails(aws: AwsServer) -> None:
    client = Client(aws.make_queue(FifoQueue="true", VisibilityTimeout="2"))
    worker = Worker(client=client, wait_seconds=1)
    handled: list[str] = []

    @worker.default
    def on_any(message: Message[str], delivery: Delivery) -> None:
        handled.append(message.payload)
        if message.payload == "g-2" and handled.count("g-2") == 1:
            raise RuntimeError("once")

    for number in range(1, 5):
        for group in ("g", "h"):
            client.enqueue({"type": "a", "payload": f"{group}-{number}"}, group_id=group)
    with running(worker):
        wait_for(lambda: len(handled) == 9, "all to be handled")

    of_g = [payload for payload in handled if payload.startswith("g")]
    of_h = [payload for payload in handled if payload.startswith("h")]
    assert of_g == ["g-1", "g-2", "g-2", "g-3", "g-4"]
    assert of_h == ["h-1", "h-2", "h-3", "h-4"]


def test_says_that_the_queue_does_not_exist(aws: AwsServer) -> None:
    url = aws.make_queue()
    aws.sqs().delete_queue(QueueUrl=url)
    worker = Worker(url)
    worker.default(nothing)

    with pytest.raises(QueueNotFound, match=f"queue {url} does not exist"):
        worker.run()
