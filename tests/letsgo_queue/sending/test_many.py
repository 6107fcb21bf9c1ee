"""`enqueue_many`: batches filled by count and bytes, and what is said of messages that fail."""

from __future__ import annotations

import asyncio
import re
import threading
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from letsgo_queue import (
    Client,
    EnqueueManyError,
    EnqueueResult,
    Message,
    MessageHandled,
    MessageInvalid,
    MessageSent,
    MessageTooLarge,
    Middleware,
    QueueUnavailable,
    SendContext,
    SendFailed,
    SendUncertain,
    Worker,
    enqueue_many,
    set_default_client,
)
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Sent
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.support import SECRET, events_of, order, printed, receive
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

KB = 1024
MIB = 1024 * KB


class Counting(MemoryTransport):
    """Keeps the size of every batch, in messages and bytes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.batches: list[tuple[int, int]] = []

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        self.batches.append((len(messages), sum(message.size for message in messages)))
        return super().send_batch(messages)


def numbered(count: int, size: int = 0) -> Iterator[Mapping[str, Any]]:
    return ({"type": f"n:{n}", "payload": "x" * size} for n in range(count))


def types_on(transport: MemoryTransport | SqliteTransport) -> list[str]:
    types: list[str] = []
    while messages := receive(transport):
        types += re.findall(r'"type":"([^"]+)"', " ".join(m.body for m in messages))
    return types


def test_results_are_in_order_and_so_are_the_messages(tmp_path: Path) -> None:
    for transport in (MemoryTransport(), SqliteTransport(f"sqlite:///{tmp_path}/queue.db")):
        results = Client(transport).enqueue_many(numbered(25))
        received: list[ReceivedMessage] = []
        while messages := receive(transport):
            received += messages
        assert [result.message_id for result in results] == [m.message_id for m in received]
        assert [m.body for m in received] == [f'{{"type":"n:{n}","payload":""}}' for n in range(25)]
        transport.close()


@pytest.mark.parametrize(
    ("size", "limit", "batches"),
    [
        (10, MIB, [10, 10, 5]),
        (200 * KB, MIB, [5, 5, 5, 5, 5]),
        (150 * KB, MIB, [6, 6, 6, 6, 1]),
        (200 * KB, 256 * KB, [1] * 25),
        (MIB - 100, MIB, [1] * 25),
    ],
)
def test_a_batch_is_filled_by_count_and_by_bytes(size: int, limit: int, batches: list[int]) -> None:
    transport = Counting(max_message_bytes=limit)
    Client(transport).enqueue_many(numbered(25, size))
    assert [count for count, _ in transport.batches] == batches
    assert all(total <= limit for _, total in transport.batches)


def test_attributes_count_towards_a_batch() -> None:
    transport = Counting()
    Client(transport).enqueue_many(numbered(10, 100 * KB), attributes={"a": "x" * 10 * KB})
    assert [count for count, _ in transport.batches] == [9, 1]


def test_progress_is_told_after_each_batch(client: Client) -> None:
    told: list[tuple[int, int]] = []
    messages = [*numbered(12), {"no": "type"}, *numbered(3)]
    with pytest.raises(EnqueueManyError):
        client.enqueue_many(messages, progress=lambda *so_far: told.append(so_far))
    assert told == [(10, 0), (15, 1)]


def test_the_listeners_hear_of_every_message(queue: MemoryTransport) -> None:
    client = Client(queue)
    events: list[object] = []
    client.add_listener(events.append)
    results = client.enqueue_many(numbered(12))
    sent = [event for event in events if isinstance(event, MessageSent)]
    assert [event.message_id for event in sent] == [result.message_id for result in results]


def test_what_is_refused_for_what_it_is_keeps_no_other_back(queue: MemoryTransport) -> None:
    client = Client(queue)
    messages: list[Mapping[str, Any]] = [
        {"type": "n:0"},
        {"payload": "no type"},
        {"type": "n:2", "payload": "x" * 2 * MIB},
        {"type": "n:3", "payload": float("nan")},
        {"type": "n:4"},
    ]
    with pytest.raises(EnqueueManyError) as caught:
        client.enqueue_many(messages)

    error = caught.value
    assert (error.sent, error.attempted, error.retryable) == (2, 5, False)
    assert {at: type(each) for at, each in error.errors.items()} == {
        1: MessageInvalid,
        2: MessageTooLarge,
        3: MessageInvalid,
    }
    assert [isinstance(result, EnqueueResult) for result in error.results] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert str(error).startswith("3 of 5 messages to memory:// were not sent, 2 were: number 1: a")
    assert types_on(queue) == ["n:0", "n:4"]


def test_an_outage_ends_the_sending_and_says_where(queue: MemoryTransport) -> None:
    class GoneAfterTwo(Counting):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            if len(self.batches) == 2:
                return [SendFailed("no network", retryable=True) for _ in messages]
            return super().send_batch(messages)

    given = iter(numbered(1000))
    transport = GoneAfterTwo()
    with pytest.raises(EnqueueManyError) as caught:
        Client(transport).enqueue_many(given)

    error = caught.value
    assert (error.sent, error.attempted, error.retryable) == (20, 30, True)
    assert sorted(error.errors) == list(range(20, 30))
    assert "What came after them was not attempted" in str(error)
    assert next(given)["type"] == "n:30"
    assert len(types_on(transport)) == 20


def test_a_lost_answer_is_told_apart(queue: MemoryTransport) -> None:
    class Silent(MemoryTransport):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            return [SendUncertain("no answer") for _ in messages]

    with pytest.raises(EnqueueManyError) as caught:
        Client(Silent()).enqueue_many(numbered(3))
    assert {type(error) for error in caught.value.errors.values()} == {SendUncertain}


def test_options_for_all_are_checked_before_anything_is_sent(queue: MemoryTransport) -> None:
    client = Client(queue)
    for options in ({"delay_seconds": -1}, {"attributes": {"": "x"}}):
        with pytest.raises(MessageInvalid):
            client.enqueue_many(numbered(3), **options)
    assert types_on(queue) == []


def test_an_iterable_that_breaks_is_the_callers_error(queue: MemoryTransport) -> None:
    def breaking() -> Iterator[Mapping[str, Any]]:
        yield from numbered(15)
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="the file ends here"):
        Client(queue).enqueue_many(breaking())
    assert types_on(queue) == [f"n:{n}" for n in range(10)]


def test_middleware_undoes_what_is_not_sent(queue: MemoryTransport) -> None:
    class Booking(Middleware):
        open: set[str]

        def __init__(self) -> None:
            self.open = set()

        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            self.open.add(message.type)
            return message

        def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
            self.open.remove(message.type)

    class Down(MemoryTransport):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            return [SendFailed("no network", retryable=True) for _ in messages]

    for size in (0, 300 * KB):  # one batch, and several that were ready
        booking = Booking()
        with pytest.raises(EnqueueManyError):
            Client(Down(), middleware=[booking]).enqueue_many(numbered(8, size))
        assert booking.open == set()


def test_many_messages_take_no_more_memory_than_few(tmp_path: Path) -> None:
    class Void(MemoryTransport):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            return ["id"] * len(messages)

    client = Client(Void())

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            client.enqueue_many(numbered(count, 1000), keep_results=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(5000) < peak(500) + 100 * KB


def test_large_messages_are_prepared_several_at_a_time(queue: MemoryTransport) -> None:
    class Together(Middleware):
        """Each waits for three more to be there: alone it would wait for ever."""

        def __init__(self) -> None:
            self.barrier = threading.Barrier(4, timeout=20)

        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            self.barrier.wait()
            return message

    client = Client(queue, middleware=[Together()])
    assert len(client.enqueue_many(numbered(4, 200 * KB))) == 4


def test_aenqueue_many_is_the_same(queue: MemoryTransport) -> None:
    results = asyncio.run(Client(queue).aenqueue_many(list(numbered(12))))
    assert len(results) == 12
    assert len(types_on(queue)) == 12


def test_the_default_client_takes_many(queue: MemoryTransport) -> None:
    set_default_client(Client(queue))
    assert len(enqueue_many(numbered(3))) == 3
    assert len(types_on(queue)) == 3


def test_an_error_keeps_no_message_in_memory() -> None:
    class Void(MemoryTransport):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            return ["id"] * len(messages)

    def given() -> Iterator[dict[str, Any]]:
        for n in range(2000):
            payload = float("nan") if n % 10 == 0 else "x" * 10_000
            yield {"type": "a", "payload": payload, "more": "x" * 10_000}

    tracemalloc.start()
    try:
        with pytest.raises(EnqueueManyError):
            Client(Void()).enqueue_many(given(), keep_results=False)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_what_a_function_of_the_caller_raises_is_that_messages_failure(
    queue: MemoryTransport,
) -> None:
    messages: list[dict[str, Any]] = [{"type": "a", "payload": {"who": "x"}}, {"type": "b"}]
    with pytest.raises(EnqueueManyError, match="number 1: KeyError") as caught:
        Client(queue).enqueue_many(messages, group_id=lambda message: message["payload"]["who"])
    assert caught.value.sent == 1


def test_the_text_of_somebody_elses_error_is_not_quoted(queue: MemoryTransport) -> None:
    class Quoting(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            raise ValueError(message.body)

    with pytest.raises(EnqueueManyError) as caught:
        Client(queue, middleware=[Quoting()]).enqueue_many([order(secret=SECRET)])
    assert "number 0: ValueError" in str(caught.value)
    assert SECRET not in printed(caught.value)


def test_one_that_is_refused_alone_in_its_batch_ends_nothing() -> None:
    class Choosy(MemoryTransport):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            if messages[0].type == "n:0":
                return [SendFailed("not this one")]
            return super().send_batch(messages)

    with pytest.raises(EnqueueManyError) as caught:
        Client(Choosy()).enqueue_many(numbered(4, 900 * KB))
    assert (caught.value.sent, list(caught.value.errors)) == (3, [0])


@pytest.mark.parametrize("size", [10, 200 * KB])
def test_middleware_sees_the_callers_context(queue: MemoryTransport, size: int) -> None:
    span: ContextVar[str] = ContextVar("span", default="none")
    seen: list[str] = []

    class Tracing(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            seen.append(span.get())
            return message

    span.set("mine")
    Client(queue, middleware=[Tracing()]).enqueue_many(numbered(3, size))
    assert seen == ["mine"] * 3


def test_an_interruption_leaves_nothing_prepared(queue: MemoryTransport) -> None:
    class Booking(Middleware):
        open: set[str]

        def __init__(self) -> None:
            self.open = set()

        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            self.open.add(message.type)
            return message

        def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
            self.open.remove(message.type)

    class Interrupted(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            if message.type == "n:3":
                raise KeyboardInterrupt
            return message

    booking = Booking()
    with pytest.raises(KeyboardInterrupt) as caught:
        Client(queue, middleware=[booking, Interrupted()]).enqueue_many(numbered(8))
    assert booking.open == set()
    assert caught.value.__notes__ == ["0 messages to memory:// were sent before that."]


@pytest.mark.parametrize("messages", [{"type": "a"}, "text", Message(type="a", payload=1)])
def test_one_message_is_no_iterable_of_them(queue: MemoryTransport, messages: Any) -> None:
    with pytest.raises(MessageInvalid, match="takes an iterable of messages"):
        Client(queue).enqueue_many(messages)


class TestOnSqs:
    def test_sends_all_and_the_worker_acknowledges_all(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        client = Client(url)
        results = client.enqueue_many(numbered(57, 10), attributes={"who": "me"})
        assert len({result.message_id for result in results}) == 57

        worker = Worker(client=client)
        seen: list[str] = []

        @worker.default
        def handle(message: Message[str]) -> None:
            seen.append(message.type)

        events = events_of(worker)
        worker.run(burst=True)

        assert sorted(seen) == sorted(f"n:{n}" for n in range(57))
        assert [type(event) for event in events] == [MessageHandled] * 57
        numbers = aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        assert numbers["Attributes"]["ApproximateNumberOfMessages"] == "0"
        assert numbers["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"

    @pytest.mark.parametrize("limit", [256 * KB, MIB])
    def test_messages_that_fit_one_by_one_but_not_together(
        self, ministack: AwsServer, limit: int
    ) -> None:
        client = Client(ministack.make_queue(MaximumMessageSize=str(limit)))
        assert len(client.enqueue_many(numbered(8, 240 * KB))) == 8

    def test_groups_and_deduplication_ids_by_message(self, aws: AwsServer) -> None:
        client = Client(aws.make_queue(FifoQueue="true"))
        given: list[dict[str, Any]] = [{"type": f"g{n % 2}", "payload": n} for n in range(6)]
        client.enqueue_many(
            given,
            group_id=lambda message: message["type"],
            deduplication_id=lambda message: f"d{message['payload'] // 2}",
        )
        received: list[ReceivedMessage] = []
        while messages := receive(client.transport(), wait_seconds=0):
            received += messages
        assert [(m.group_id, m.body) for m in sorted(received, key=lambda m: m.body)] == [
            ("g0", '{"type":"g0","payload":0}'),
            ("g0", '{"type":"g0","payload":2}'),
            ("g0", '{"type":"g0","payload":4}'),
        ]

    def test_a_fifo_queue_without_a_group_is_refused_at_once(self, aws: AwsServer) -> None:
        client = Client(aws.make_queue(FifoQueue="true"))
        with pytest.raises(MessageInvalid, match=r"the queue .* is FIFO"):
            client.enqueue_many(numbered(3))

    def test_a_queue_that_is_gone(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        aws.sqs().delete_queue(QueueUrl=url)
        with pytest.raises(EnqueueManyError, match="the queue does not exist") as caught:
            Client(url).enqueue_many(numbered(35))
        assert caught.value.attempted == 10


AWS_URL = "https://sqs.us-west-2.amazonaws.com/123456789012/orders"


@pytest.fixture
def sqs() -> Iterator[Stubber]:
    """SQS with answers that no server gives on request."""
    with Stubber(boto3.client("sqs", region_name="us-west-2")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def answer(ids: str, *, failed: Mapping[str, bool] = MappingProxyType({})) -> dict[str, Any]:
    """What SQS says of a batch: the entries that it took, and those that it failed."""
    return {
        "Successful": [{"Id": i, "MessageId": f"m{i}", "MD5OfMessageBody": "-"} for i in ids],
        "Failed": [
            {"Id": i, "SenderFault": fault, "Code": "InternalError", "Message": "a reason"}
            for i, fault in failed.items()
        ],
    }


def on_stub(sqs: Stubber) -> SqsTransport:
    return SqsTransport(AWS_URL, client=cast("SQSClient", sqs.client))


def test_entries_that_sqs_fails_are_sent_again(sqs: Stubber) -> None:
    sqs.add_response("send_message_batch", answer("02", failed={"1": False, "3": False}))
    sqs.add_response("send_message_batch", answer("3", failed={"1": False}))
    sqs.add_response("send_message_batch", answer("1"))
    results = Client(on_stub(sqs)).enqueue_many(numbered(4))
    assert [result.message_id for result in results] == ["m0", "m1", "m2", "m3"]


def test_entries_that_sqs_goes_on_failing_are_named(
    sqs: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letsgo_queue.transports.sqs.BATCH_PAUSES_SECONDS", (0.01, 0.01))
    sqs.add_response("send_message_batch", answer("0", failed={"1": False}))
    for _ in range(2):
        sqs.add_response("send_message_batch", answer("", failed={"1": False}))
    with pytest.raises(EnqueueManyError, match="InternalError: a reason") as caught:
        Client(on_stub(sqs)).enqueue_many(numbered(2))
    assert [result is not None for result in caught.value.results] == [True, False]
    assert caught.value.retryable


def test_entries_that_are_the_senders_fault_are_not_sent_again(sqs: Stubber) -> None:
    sqs.add_response("send_message_batch", answer("02", failed={"1": True}))
    with pytest.raises(EnqueueManyError) as caught:
        Client(on_stub(sqs)).enqueue_many(numbered(3))
    assert list(caught.value.errors) == [1]
    assert not caught.value.retryable


def test_an_entry_that_sqs_does_not_name_may_be_on_the_queue(sqs: Stubber) -> None:
    sqs.add_response("send_message_batch", answer("0"))
    with pytest.raises(EnqueueManyError) as caught:
        Client(on_stub(sqs)).enqueue_many(numbered(2))
    assert isinstance(caught.value.errors[1], SendUncertain)


def test_acknowledgements_that_fail_are_told_one_by_one(sqs: Stubber) -> None:
    received = [
        ReceivedMessage(
            message_id=f"m{n}",
            receipt_handle=f"r{n}",
            body="{}",
            attributes={},
            receive_count=1,
            sent_at=0,
        )
        for n in range(3)
    ]
    failed = answer("", failed={"1": False, "2": True})
    sqs.add_response("delete_message_batch", {**failed, "Successful": [{"Id": "0"}]})
    first, second, third = on_stub(sqs).delete_batch(received)
    assert first is None
    assert second is not None
    assert second.retryable
    assert third is not None
    assert not third.retryable
    assert "message m2 was not acknowledged: InternalError: a reason" in str(third)

    sqs.add_client_error("delete_message_batch", "AccessDenied", "not you", 403)
    assert [type(error) for error in on_stub(sqs).delete_batch(received)] == [QueueUnavailable] * 3
