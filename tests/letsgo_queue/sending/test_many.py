"""`enqueue_many`: batches filled by count and bytes, and what is said of messages that fail."""

from __future__ import annotations

import asyncio
import re
import threading
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from letsgo_queue import (
    Client,
    EnqueueManyError,
    EnqueueResult,
    Message,
    MessageInvalid,
    MessageNotSent,
    MessageSent,
    MessageTooLarge,
    Middleware,
    SendContext,
    SendFailed,
    SendUncertain,
    SettingsInvalid,
    enqueue_many,
    set_default_client,
)
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Sent
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.support import SECRET, numbered, order, printed, receive

if TYPE_CHECKING:
    pass

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
        (200 * KB, 256 * KB, [5, 5, 5, 5, 5]),  # a limit of one message
        (MIB - 100, MIB, [1] * 25),
    ],
)
def test_a_batch_is_filled_by_count_and_by_bytes(size: int, limit: int, batches: list[int]) -> None:
    transport = Counting(max_message_bytes=limit)
    Client(transport).enqueue_many(numbered(25, size))
    assert [count for count, _ in transport.batches] == batches
    assert all(total <= MIB for _, total in transport.batches)


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


@pytest.mark.parametrize("size", [0, 300 * KB])  # one batch, and several that were ready
@pytest.mark.parametrize(
    "outcome",
    [SendFailed("no network", retryable=True), SettingsInvalid("changed"), RuntimeError(SECRET)],
)
def test_middleware_undoes_what_is_not_sent(outcome: Exception, size: int) -> None:
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
            if isinstance(outcome, SendFailed):
                return [outcome] * len(messages)
            raise outcome

    booking = Booking()
    client = Client(Down(), middleware=[booking])
    events: list[object] = []
    client.add_listener(events.append)

    with pytest.raises(EnqueueManyError) as caught:
        client.enqueue_many(numbered(8, size))

    assert booking.open == set()
    assert [type(event) for event in events] == [MessageNotSent] * 8
    assert SECRET not in str(caught.value)


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


@pytest.mark.parametrize("messages", [{"type": "a"}, "text", Message(type="a", payload=1), 5])
def test_one_message_is_no_iterable_of_them(queue: MemoryTransport, messages: Any) -> None:
    with pytest.raises(MessageInvalid, match="takes an iterable of messages"):
        Client(queue).enqueue_many(messages)
