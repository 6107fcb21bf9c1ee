"""`make_delivery`: a handler is called as any function is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from letsgo_queue import Delivery, MessageAttribute, MessageInvalid, Retry
from letsgo_queue.testing import LambdaContext, Sandbox, make_delivery

MESSAGE = {"type": "order:new", "payload": "secret"}


def handle(message: dict[str, str], delivery: Delivery) -> None:
    delivery.extend(timedelta(minutes=10))
    if delivery.receive_count < 3:
        raise Retry(delay=60)


def test_a_handler_gets_what_the_test_says() -> None:
    first, third = make_delivery(MESSAGE), make_delivery(MESSAGE, receive_count=3)

    with pytest.raises(Retry):
        handle(MESSAGE, first)
    handle(MESSAGE, third)

    assert (first.extensions, third.extensions) == ([600], [600])


def test_it_says_what_a_delivery_says() -> None:
    context = LambdaContext(function_name="orders")
    sent = datetime(2026, 11, 27, tzinfo=UTC)
    delivery = make_delivery(
        MESSAGE,
        message_id="m1",
        sent_at=sent,
        attributes={"tenant": "t1", "number": 5},
        queue="https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
        lambda_context=context,
    )

    assert (delivery.type, delivery.message_id, delivery.receive_count) == ("order:new", "m1", 1)
    assert delivery.sent_at == sent
    assert delivery.queue == "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
    assert delivery.attributes == {
        "tenant": MessageAttribute("String", "t1"),
        "number": MessageAttribute("Number", "5"),
    }
    assert delivery.lambda_context is context
    assert "secret" not in repr(delivery)


def test_it_is_sent_now_unless_told() -> None:
    with Sandbox() as sandbox:
        sandbox.advance(3600)
        later = make_delivery(MESSAGE).sent_at - datetime.now(UTC)
        assert timedelta(minutes=59) < later < timedelta(minutes=61)
        assert len(sandbox.outbox) == 0
    assert datetime.now(UTC) - make_delivery(MESSAGE).sent_at < timedelta(minutes=1)


def test_what_enqueue_refuses_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        make_delivery({"payload": 1})
    with pytest.raises(MessageInvalid):
        make_delivery(MESSAGE, attributes={"a b": "c"})
    with pytest.raises(MessageInvalid, match="cannot be extended by 0 s"):
        make_delivery(MESSAGE).extend(0)
