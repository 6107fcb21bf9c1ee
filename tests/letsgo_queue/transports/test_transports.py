"""The contract of a queue, kept by every transport: in memory, in SQLite, and on SQS."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from letsgo_queue import MessageAttribute, MessageTooLarge, QueueUnavailable
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.support import Clock, bodies, outgoing, receive, receive_one, wait_for
from tests.support.servers import AwsServer

VISIBILITY_TIMEOUT = 2
"""Seconds, of the queues under test."""

LIMIT = 300_000
"""Bytes that they take: over what any queue of SQS takes, so that SQS is asked."""

TOLERANCE = 0.2
"""Seconds that a server's clock may be off."""

COMPLETE = {
    "text": MessageAttribute("String", "Grüße 🎉"),
    "number": MessageAttribute("Number", "-12.5"),
    "binary": MessageAttribute("Binary", b"\x00\xff\xfe"),
}


@dataclass
class Queue:
    """A queue under test, and its time."""

    transport: Transport
    clock: Clock | None = None

    def receive_after(self, seconds: float) -> ReceivedMessage:
        """See that the message, invisible as of just now, comes after `seconds` and not before."""
        if self.clock:
            assert receive(self.transport) == []
            self.clock.advance(seconds - 0.001)
            assert receive(self.transport) == []
            self.clock.advance(0.001)
            return receive_one(self.transport)
        started = time.monotonic()
        message = receive_one(self.transport)
        assert time.monotonic() - started > seconds - TOLERANCE
        return message

    def now(self) -> float:
        return self.clock() if self.clock else time.time()


def sized(size: int, fill: str = "x", *, attributes: bool = False) -> OutgoingMessage:
    """A message of exactly `size` bytes."""
    given = COMPLETE if attributes else {}
    room = size - outgoing("", attributes=given).size
    count, rest = divmod(room, len(fill.encode()))
    message = outgoing(fill * count + "x" * rest, attributes=given)
    assert message.size == size
    return message


class TransportContract(ABC):
    """What every queue does."""

    @pytest.fixture
    @abstractmethod
    def queue(self) -> object: ...

    def test_gives_what_was_sent(self, queue: Queue) -> None:
        body = '{"type":"order:new","payload":"Grüße, 世界 🎉 \\u0000 <&>"}'
        sent_at = queue.now()

        message_id = queue.transport.send(outgoing(body, attributes=COMPLETE))

        message = receive_one(queue.transport)
        assert message.message_id == message_id
        assert message.body == body
        assert message.attributes == COMPLETE
        assert message.receive_count == 1
        assert message.sent_at == pytest.approx(sent_at, abs=5)
        assert message.invisible_until == pytest.approx(sent_at + VISIBILITY_TIMEOUT, abs=5)
        assert message.group_id is None

    def test_gives_nothing_when_empty(self, queue: Queue) -> None:
        assert receive(queue.transport) == []
        assert receive(queue.transport, wait_seconds=0.1) == []

    def test_waits_for_a_message(self, queue: Queue) -> None:
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(receive_one, queue.transport)
            message_id = queue.transport.send(outgoing())

            assert waiting.result().message_id == message_id

    def test_gives_up_to_as_many_as_asked_for(self, queue: Queue) -> None:
        sent = {queue.transport.send(outgoing()) for _ in range(12)}
        received: set[str] = set()

        def take() -> bool:
            some = queue.transport.receive(max_messages=5, wait_seconds=0, visibility_timeout=60)
            assert len(some) <= 5
            received.update(message.message_id for message in some)
            return received == sent

        wait_for(take, "all messages")

    def test_gives_a_message_to_one_of_many(self, queue: Queue) -> None:
        sent = sorted(queue.transport.send(outgoing()) for _ in range(20))

        def take(_: int) -> list[str]:
            return [m.message_id for m in receive(queue.transport, visibility_timeout=60)]

        with ThreadPoolExecutor(4) as pool:
            received = [message_id for some in pool.map(take, range(20)) for message_id in some]

        if queue.clock is None:  # SQS promises at least once, and moto's threads make use of it
            received = list(set(received))
        assert sorted(received) == sent

    def test_a_message_takes_the_place_of_a_delivery(self, queue: Queue) -> None:
        queue.transport.send(outgoing("first"))
        delivery = receive_one(queue.transport)

        queue.transport.send_on(delivery, outgoing("second"))

        second = receive_one(queue.transport)
        assert (second.body, second.receive_count) == ("second", 1)
        queue.transport.delete(second)
        assert receive(queue.transport, wait_seconds=0) == []

    def test_a_batch_is_sent_and_acknowledged(self, queue: Queue) -> None:
        sent = queue.transport.send_batch([outgoing("a"), outgoing("x" * (LIMIT + 1))])
        assert isinstance(sent[1], MessageTooLarge)
        message = receive_one(queue.transport)
        assert (message.message_id, message.body) == (sent[0], "a")

        assert queue.transport.delete_batch([message]) == [None]
        assert bodies(queue.transport) == []

    def test_comes_again_when_its_visibility_timeout_ends(self, queue: Queue) -> None:
        queue.transport.send(outgoing())

        first = receive_one(queue.transport)
        second = queue.receive_after(VISIBILITY_TIMEOUT)

        assert second.message_id == first.message_id
        assert second.receipt_handle != first.receipt_handle
        assert (first.receive_count, second.receive_count) == (1, 2)

    def test_visibility_timeout_can_be_given(self, queue: Queue) -> None:
        queue.transport.send(outgoing())

        before = queue.now()
        message = receive_one(queue.transport, visibility_timeout=1)

        assert message.invisible_until is not None
        assert before <= message.invisible_until - 1 <= queue.now()
        assert queue.receive_after(1).receive_count == 2

    def test_delay_holds_a_message_back(self, queue: Queue) -> None:
        queue.transport.send(outgoing(delay_seconds=1))

        assert queue.receive_after(1).receive_count == 1

    def test_deleted_message_does_not_come_again(self, queue: Queue) -> None:
        queue.transport.send(outgoing("gone"))
        deleted = receive_one(queue.transport, visibility_timeout=1)
        queue.transport.delete(deleted)
        queue.transport.send(outgoing("kept", delay_seconds=1))

        # By when this one comes, the other one would have.
        assert queue.receive_after(1).body == "kept"

    def test_can_be_made_visible_at_once(self, queue: Queue) -> None:
        queue.transport.send(outgoing())
        message = receive_one(queue.transport, visibility_timeout=600)

        queue.transport.change_visibility(message, 0)

        assert receive_one(queue.transport).receive_count == 2

    def test_can_be_kept_invisible_for_longer(self, queue: Queue) -> None:
        queue.transport.send(outgoing())
        message = receive_one(queue.transport, visibility_timeout=3)

        queue.transport.change_visibility(message, 4)

        assert queue.receive_after(4).receive_count == 2

    def test_acknowledged_delivery_cannot_be_extended(self, queue: Queue) -> None:
        queue.transport.send(outgoing())
        message = receive_one(queue.transport)
        queue.transport.delete(message)

        with pytest.raises(QueueUnavailable, match=message.message_id) as ended:
            queue.transport.change_visibility(message, 10)

        assert not ended.value.retryable

    def test_says_what_it_takes(self, queue: Queue) -> None:
        assert queue.transport.max_message_bytes() == LIMIT
        assert not queue.transport.fifo
        assert not queue.transport.content_based_deduplication()

    @pytest.mark.parametrize(
        "make",
        [
            sized,
            lambda size: sized(size, "€🎉"),
            lambda size: sized(size, attributes=True),
        ],
        ids=["ascii", "multi-byte", "attributes"],
    )
    def test_takes_its_limit_and_not_a_byte_more(
        self, queue: Queue, make: Callable[[int], OutgoingMessage]
    ) -> None:
        with pytest.raises(MessageTooLarge, match=r"300,001 bytes.*accepts 300,000") as refused:
            queue.transport.send(make(LIMIT + 1))
        assert (refused.value.size, refused.value.limit) == (LIMIT + 1, LIMIT)
        assert receive(queue.transport) == []

        queue.transport.send(make(LIMIT))
        assert receive_one(queue.transport).body == make(LIMIT).body.decode()


class EmbeddedContract(TransportContract):
    """What SQS only promises at best: a delivery that has ended changes nothing."""

    def test_ended_delivery_changes_nothing(self, queue: Queue) -> None:
        assert queue.clock
        queue.transport.send(outgoing())
        ended = receive_one(queue.transport)
        queue.clock.advance(VISIBILITY_TIMEOUT)
        receive_one(queue.transport)

        queue.transport.delete(ended)
        with pytest.raises(QueueUnavailable, match="this delivery has ended") as refused:
            queue.transport.change_visibility(ended, 0)

        assert not refused.value.retryable
        assert queue.receive_after(VISIBILITY_TIMEOUT).receive_count == 3

    def test_can_be_acknowledged_twice(self, queue: Queue) -> None:
        queue.transport.send(outgoing())
        message = receive_one(queue.transport)

        queue.transport.delete(message)
        queue.transport.delete(message)

        assert receive(queue.transport) == []

    def test_keeps_the_order(self, queue: Queue) -> None:
        sent = [queue.transport.send(outgoing()) for _ in range(5)]

        assert [message.message_id for message in receive(queue.transport)] == sent


class TestMemory(EmbeddedContract):
    @pytest.fixture
    def queue(self, clock: Clock) -> Queue:
        transport = MemoryTransport(
            visibility_timeout=VISIBILITY_TIMEOUT, max_message_bytes=LIMIT, clock=clock
        )
        return Queue(transport, clock)


class TestSqlite(EmbeddedContract):
    @pytest.fixture
    def queue(self, clock: Clock, tmp_path: Path) -> Queue:
        url = (
            f"sqlite:///{tmp_path}/queue.db"
            f"?visibility_timeout={VISIBILITY_TIMEOUT}&max_message_bytes={LIMIT}"
        )
        return Queue(SqliteTransport(url, clock=clock), clock)


class TestSqs(TransportContract):
    @pytest.fixture
    def queue(self, aws: AwsServer) -> Queue:
        url = aws.make_queue(
            VisibilityTimeout=str(VISIBILITY_TIMEOUT), MaximumMessageSize=str(LIMIT)
        )
        return Queue(SqsTransport(url))
