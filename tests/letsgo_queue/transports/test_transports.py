"""The contract of a queue, kept by every transport: in memory, in SQLite, and on SQS."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue import MessageTooLarge, QueueUnavailable
from letsgo_queue.failure import Failure
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.support import (
    COMPLETE,
    DEADLINE_SECONDS,
    TRACE,
    bodies,
    outgoing,
    receive,
    receive_one,
    sized,
)
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

VISIBILITY_TIMEOUT = 600
"""Seconds, of the queues under test: none of them ends while a test runs."""

LIMIT = 300_000
"""Bytes that they take: over what any queue of SQS takes, so that SQS is asked."""

TOLERANCE = 0.2
"""Seconds that a server's clock may be off."""


@dataclass
class Queue:
    """A queue under test, and its time."""

    transport: Transport
    clock: Clock | None = None

    def receive_after(self, seconds: int, hide: Callable[[], object]) -> ReceivedMessage:
        """See that what `hide` makes invisible comes after so many seconds, and not before."""
        started = time.monotonic()
        hide()
        if self.clock:
            assert receive(self.transport) == []
            self.clock.advance(seconds - 0.001)
            assert receive(self.transport) == []
            self.clock.advance(0.001)
            return receive_one(self.transport)
        message = receive_one(self.transport)
        assert time.monotonic() - started > seconds - TOLERANCE
        return message

    def now(self) -> float:
        return self.clock() if self.clock else time.time()


def timed(call: Callable[[], ReceivedMessage]) -> tuple[ReceivedMessage, float, float]:
    """What a call gives, and when it began and ended (on the monotonic clock)."""
    before = time.monotonic()
    return call(), before, time.monotonic()


class TransportContract(ABC):
    """What every queue does."""

    @pytest.fixture
    @abstractmethod
    def queue(self) -> object: ...

    def test_gives_what_was_sent(self, queue: Queue) -> None:
        body = '{"type":"order:new","payload":"Grüße, 世界 🎉 \\u0000 <&>"}'
        sent_at = queue.now()

        message_id = queue.transport.send(outgoing(body, attributes=COMPLETE, trace_header=TRACE))

        message, before, after = timed(lambda: receive_one(queue.transport))
        assert message.message_id == message_id
        assert message.body == body
        assert message.attributes == COMPLETE
        assert message.receive_count == 1
        assert message.sent_at == pytest.approx(sent_at, abs=DEADLINE_SECONDS)
        assert before <= (message.invisible_until or 0) - VISIBILITY_TIMEOUT <= after
        assert message.group_id is None
        assert message.trace_header == TRACE

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
        received: list[ReceivedMessage] = []

        second = queue.receive_after(
            1, lambda: received.append(receive_one(queue.transport, visibility_timeout=1))
        )

        (first,) = received
        assert second.message_id == first.message_id
        assert second.receipt_handle != first.receipt_handle
        assert (first.receive_count, second.receive_count) == (1, 2)

    def test_visibility_timeout_can_be_given(self, queue: Queue) -> None:
        queue.transport.send(outgoing())

        message, before, after = timed(
            lambda: receive_one(queue.transport, visibility_timeout=1000)
        )

        assert before <= (message.invisible_until or 0) - 1000 <= after

    def test_delay_holds_a_message_back(self, queue: Queue) -> None:
        message = queue.receive_after(1, lambda: queue.transport.send(outgoing(delay_seconds=1)))

        assert message.receive_count == 1

    def test_deleted_message_does_not_come_again(self, queue: Queue) -> None:
        """Though it could be received already when it is deleted."""
        queue.transport.send(outgoing("gone"))
        deleted = receive_one(queue.transport, visibility_timeout=0)
        queue.transport.delete(deleted)
        queue.transport.send(outgoing("kept"))

        assert receive_one(queue.transport).body == "kept"

    def test_can_be_made_visible_at_once(self, queue: Queue) -> None:
        queue.transport.send(outgoing())
        message = receive_one(queue.transport)

        queue.transport.change_visibility(message, 0)

        assert receive_one(queue.transport).receive_count == 2

    def test_visibility_can_be_changed(self, queue: Queue) -> None:
        """From now on, whatever was left."""
        queue.transport.send(outgoing())
        message = receive_one(queue.transport)

        again = queue.receive_after(1, lambda: queue.transport.change_visibility(message, 1))

        assert again.receive_count == 2

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

        def change() -> None:
            receive_one(queue.transport)
            queue.transport.delete(ended)
            with pytest.raises(QueueUnavailable, match="this delivery has ended") as refused:
                queue.transport.change_visibility(ended, 0)
            assert not refused.value.retryable
            with pytest.raises(QueueUnavailable, match="this delivery has ended"):
                queue.transport.move_to_dead_letters(ended, Failure.because("no stock"))

        assert queue.receive_after(VISIBILITY_TIMEOUT, change).receive_count == 3

    def test_visibility_can_be_made_longer(self, queue: Queue) -> None:
        queue.transport.send(outgoing())
        message = receive_one(queue.transport, visibility_timeout=10)

        again = queue.receive_after(3600, lambda: queue.transport.change_visibility(message, 3600))

        assert again.receive_count == 2

    def test_visibility_timeout_is_its_own_where_none_is_given(self, queue: Queue) -> None:
        queue.transport.send(outgoing())

        again = queue.receive_after(VISIBILITY_TIMEOUT, lambda: receive_one(queue.transport))

        assert again.receive_count == 2

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
    def queue(self, clock: Clock, tmp_path: Path) -> Iterator[Queue]:
        url = (
            f"sqlite:///{tmp_path}/queue.db"
            f"?visibility_timeout={VISIBILITY_TIMEOUT}&max_message_bytes={LIMIT}"
        )
        transport = SqliteTransport(url, clock=clock)
        yield Queue(transport, clock)
        transport.close()


class TestSqs(TransportContract):
    @pytest.fixture
    def queue(self, aws: AwsServer) -> Iterator[Queue]:
        url = aws.make_queue(
            VisibilityTimeout=str(VISIBILITY_TIMEOUT), MaximumMessageSize=str(LIMIT)
        )
        transport = SqsTransport(url)
        yield Queue(transport)
        transport.close()
