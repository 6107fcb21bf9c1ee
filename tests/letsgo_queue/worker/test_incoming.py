"""A message in hand, and the little of it that a handler sees."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    MessageAttribute,
    MessageInvalid,
    MessageSkipped,
    QueueUnavailable,
    RetryPolicy,
)
from letsgo_queue.attributes import RESERVED_NAMES
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import Listeners
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import SECRET, PassingTime, order, outgoing, receive, receive_one

HOURS_12 = 43_200


@pytest.fixture
def message(client: Client, queue: MemoryTransport) -> IncomingMessage:
    """A message of an order, just received."""
    client.enqueue(order(secret=SECRET), attributes={"tenant": "t-1"})
    return in_hand(queue)


class Leased:
    """What a middleware has leased for a message."""

    def __init__(self, error: LetsGoError | None) -> None:
        self.error = error
        self.extensions: list[float] = []

    def extend(self, seconds: float) -> None:
        if self.error is not None:
            raise self.error
        self.extensions.append(seconds)

    def settle(self, *, succeeded: bool) -> None: ...

    def give_back(self) -> None: ...


def leased(message: IncomingMessage, error: LetsGoError | None = None) -> Leased:
    lease = Leased(error)
    message.attach(lease)
    return lease


def in_hand(queue: MemoryTransport, **options: Any) -> IncomingMessage:
    return IncomingMessage(receive_one(queue), queue, **options)


class TestHandlersView:
    def test_says_what_a_handler_may_know(self, message: IncomingMessage, clock: Clock) -> None:
        message.read_type()
        delivery = message.delivery

        assert delivery.message_id == message.received.message_id
        assert delivery.type == "order:new"
        assert delivery.queue == "memory://"
        assert delivery.receive_count == 1
        assert delivery.sent_at == datetime.fromtimestamp(clock.now, UTC)
        assert delivery.attributes == {"tenant": MessageAttribute("String", "t-1")}
        assert delivery.lambda_context is None

    def test_does_not_show_what_the_library_set(
        self, client: Client, queue: MemoryTransport
    ) -> None:
        """`enqueue` refuses these names: what a handler sees, it can send on."""
        ours = {name: MessageAttribute("String", "x") for name in RESERVED_NAMES}
        queue.send(outgoing(attributes={"tenant": "t-1", **ours}))

        attributes = in_hand(queue).delivery.attributes

        assert attributes == {"tenant": MessageAttribute("String", "t-1")}
        client.enqueue(order(), attributes=attributes)

    def test_has_the_context_of_lambda(self, message: IncomingMessage) -> None:
        context = object()
        message.lambda_context = context

        assert message.delivery.lambda_context is context

    def test_has_nothing_else(self, message: IncomingMessage) -> None:
        """The body least of all: a handler gets the message that it asked for, validated."""
        names = {name for name, _ in inspect.getmembers(message.delivery)}

        assert {name for name in names if not name.startswith("_")} == {
            "attributes",
            "extend",
            "lambda_context",
            "message_id",
            "queue",
            "receive_count",
            "sent_at",
            "type",
        }
        with pytest.raises(AttributeError):
            message.delivery.body = "another"  # type: ignore[attr-defined]  # that is the mistake

    def test_shows_no_content(self, message: IncomingMessage) -> None:
        message.read_type()

        assert repr(message.delivery) == (
            f"Delivery(message_id={message.message_id!r}, type='order:new')"
        )
        assert SECRET not in f"{message!r} {message} {message.delivery}"


class TestExtend:
    @pytest.mark.parametrize(
        ("seconds", "kept"), [(0.1, 1), (59.2, 60), (timedelta(hours=1), 3600), (43_000, 43_000)]
    )
    def test_keeps_a_message_from_others(
        self,
        message: IncomingMessage,
        queue: MemoryTransport,
        time_passes: PassingTime,
        seconds: float | timedelta,
        kept: int,
    ) -> None:
        message.delivery.extend(seconds)

        time_passes(kept - 1)
        assert receive(queue) == []
        time_passes(1)
        assert receive_one(queue).receive_count == 2

    @pytest.mark.parametrize("seconds", [-1, 0, 43_200.5, float("nan"), float("inf")])
    def test_refuses_what_sqs_refuses(self, message: IncomingMessage, seconds: float) -> None:
        with pytest.raises(MessageInvalid) as refused:
            message.delivery.extend(seconds)

        text = str(refused.value)
        assert f"message {message.message_id} cannot be extended by {seconds} s" in text
        assert "up to 43,200" in text
        assert "Retry(delay=0)" in text

    def test_refuses_what_is_no_duration(self, message: IncomingMessage) -> None:
        with pytest.raises(MessageInvalid, match="its extension is of type str: give a number"):
            message.delivery.extend("60")  # type: ignore[arg-type]  # wrong on purpose

    def test_asks_for_no_more_than_is_left_of_12_hours(
        self, message: IncomingMessage, queue: MemoryTransport, time_passes: PassingTime
    ) -> None:
        lease = leased(message)
        message.delivery.extend(HOURS_12)
        time_passes(40_000)
        message.delivery.extend(HOURS_12)

        first, second = lease.extensions
        assert 43_180 < first < HOURS_12
        assert 3_180 < second < 3_200
        assert (message.seconds_invisible or 0) < 3_200

    def test_says_when_12_hours_are_over(
        self, message: IncomingMessage, time_passes: PassingTime
    ) -> None:
        time_passes(HOURS_12)

        with pytest.raises(QueueUnavailable, match="its 12 hours are over") as refused:
            message.delivery.extend(60)

        assert not refused.value.retryable

    def test_extends_all_leases(self, message: IncomingMessage) -> None:
        first, second = leased(message), leased(message)

        message.delivery.extend(60)

        assert (first.extensions, second.extensions) == ([60], [60])

    def test_a_lease_that_is_not_extended_is_told_and_no_failure(
        self, message: IncomingMessage, caplog: pytest.LogCaptureFixture
    ) -> None:
        leased(message, LetsGoError("the store does not answer."))

        message.delivery.extend(60)

        assert f"message {message.message_id}: its lease was not extended" in caplog.text
        assert "the store does not answer." in caplog.text

    def test_extends_no_lease_where_the_queue_refused(
        self, message: IncomingMessage, queue: MemoryTransport
    ) -> None:
        before = message.invisible_until
        lease = leased(message)
        queue.delete(message.received)

        with pytest.raises(QueueUnavailable, match="this delivery has ended"):
            message.delivery.extend(60)

        assert lease.extensions == []
        assert message.invisible_until == before

    def test_cannot_hide_a_message_that_is_settled(
        self, message: IncomingMessage, queue: MemoryTransport, time_passes: PassingTime
    ) -> None:
        """As a thread could that a handler left behind."""
        delivery = message.delivery
        message.end()

        with pytest.raises(QueueUnavailable, match="it is settled"):
            delivery.extend(600)

        time_passes(30)
        assert receive_one(queue).receive_count == 2


class Busy(LetsGoError):
    """Somebody else has what the message needs."""

    patience = 6000.0


class TestNextTry:
    def test_pauses_grow_up_to_a_limit(self, message: IncomingMessage) -> None:
        pauses = [message.next_try(Busy()) for _ in range(2000)]

        assert pauses[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
        assert set(pauses[8:]) == {30}

    def test_waits_as_long_as_the_error_says(self, message: IncomingMessage) -> None:
        error = Busy()
        error.retry_after = 120.0
        assert message.next_try(error) == 120
        error.retry_after = 0.0
        assert message.next_try(error) == 0.5

    def test_ends_with_the_patience_of_the_error(
        self, message: IncomingMessage, time_passes: PassingTime
    ) -> None:
        time_passes(5900)
        assert message.next_try(Busy()) == 0.5
        time_passes(100)
        assert message.next_try(Busy()) is None

    def test_an_error_without_patience_fails_at_once(self, message: IncomingMessage) -> None:
        assert message.next_try(LetsGoError()) is None

    def test_a_handler_that_began_is_not_run_again(self, message: IncomingMessage) -> None:
        message.start_handler()

        assert message.next_try(Busy()) is None

    def test_one_that_was_given_back_does_not_begin(self, message: IncomingMessage) -> None:
        message.end()

        with pytest.raises(QueueUnavailable, match="given back"):
            message.start_handler()

        assert not message.handler_started

    def test_begins_again_with_what_travelled(self, message: IncomingMessage) -> None:
        message.open("{}")
        lease = leased(message)

        message.next_try(Busy())
        message.delivery.extend(60)

        assert message.body == message.received.body
        assert lease.extensions == [], "the try that failed has its lease still"


class TestFacts:
    def test_are_what_every_event_says(
        self, message: IncomingMessage, time_passes: PassingTime
    ) -> None:
        message.read_type()
        time_passes(100)

        event = MessageSkipped(**message.facts())

        assert (event.type, event.queue) == ("order:new", "memory://")
        assert (event.message_id, event.receive_count) == (message.message_id, 1)
        assert 100 <= event.duration < 120

    def test_say_nothing_of_a_type_that_cannot_be_read(self, queue: MemoryTransport) -> None:
        message = IncomingMessage(received(body="no json"), queue)
        with pytest.raises(MessageInvalid, match="message m-1: the body is not JSON"):
            message.read_type()

        assert message.facts()["type"] is None
        assert message.delivery.type == ""

    def test_events_go_where_the_worker_says(self, queue: MemoryTransport) -> None:
        heard: list[Event] = []
        listeners = Listeners()
        listeners.add(heard.append)
        message = IncomingMessage(received(), queue, listeners=listeners)
        event = MessageSkipped(**message.facts())

        message.emit(event)

        assert heard == [event]


def received(*, body: str = '{"type":"order:new"}') -> ReceivedMessage:
    """A message that is on no queue, and does not say when it is visible again."""
    return ReceivedMessage(
        message_id="m-1",
        receipt_handle="r-1",
        body=body,
        attributes={},
        receive_count=1,
        sent_at=0.0,
    )


def test_knows_what_it_was_given(queue: MemoryTransport) -> None:
    policy = RetryPolicy()
    message = IncomingMessage(received(), queue, policy=policy)

    assert message.policy is policy
    assert message.seconds_invisible is None
    assert isinstance(message.delivery, Delivery)


def test_is_sealed_until_it_is_opened(queue: MemoryTransport) -> None:
    sealed = received(body='{"type":"order:new","claimCheck":{"v":1}}')
    message = IncomingMessage(sealed, queue)

    assert message.read_type() == "order:new"
    assert message.sealed
    message.open('{"type":"order:new","claimCheck":"a field of my own"}')
    assert not message.sealed
