"""The fixture `letsgo_outbox`: what was enqueued, as its handler will read it."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from letsgo_queue import (
    Client,
    Message,
    MessageInvalid,
    MessageTooLarge,
    SettingsInvalid,
    aenqueue,
    enqueue,
    enqueue_many,
)
from letsgo_queue.testing import Outbox


class Order(BaseModel):
    order_id: str
    day: date = date(2026, 11, 27)


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


class Stranger(Message[int]):
    type: Literal["order:new"] = "order:new"


def test_messages_are_typed_and_in_order(letsgo_outbox: Outbox) -> None:
    assert not letsgo_outbox
    enqueue(OrderNew(payload=Order(order_id="1")))
    enqueue({"type": "mail:send", "payload": "Ada"})
    enqueue(OrderNew(payload=Order(order_id="2")))

    assert [sent.type for sent in letsgo_outbox] == ["order:new", "mail:send", "order:new"]
    orders = letsgo_outbox.of(OrderNew)
    assert [sent.message.payload.order_id for sent in orders] == ["1", "2"]
    assert orders[0].message.payload.day == date(2026, 11, 27)
    assert letsgo_outbox.one("mail:send").message == {"type": "mail:send", "payload": "Ada"}
    # What was written, not what the code has in hand.
    assert letsgo_outbox[0].message["payload"]["day"] == "2026-11-27"
    assert [sent.type for sent in letsgo_outbox[1:]] == ["mail:send", "order:new"]
    assert letsgo_outbox.of("nothing") == []


async def send() -> None:
    await aenqueue({"type": "a"})


def test_every_way_of_sending_is_seen(letsgo_outbox: Outbox) -> None:
    import asyncio

    asyncio.run(send())
    enqueue_many([{"type": "b"}, {"type": "c"}])
    Client("https://sqs.eu-west-1.amazonaws.com/123456789012/mail").enqueue({"type": "d"})
    enqueue({"type": "e"}, queue="sqlite:////no/such/folder/work.db")

    assert [sent.type for sent in letsgo_outbox] == ["a", "b", "c", "d", "e"]
    assert [sent.queue for sent in letsgo_outbox] == [
        *["memory://"] * 3,
        "https://sqs.eu-west-1.amazonaws.com/123456789012/mail",
        "sqlite:////no/such/folder/work.db",
    ]


def test_how_a_message_was_sent(letsgo_outbox: Outbox) -> None:
    result = enqueue({"type": "a"}, delay_seconds=3600, attributes={"tenant": "t1"}, group_id="g")

    sent = letsgo_outbox.one()
    assert sent.message_id == result.message_id
    assert sent.result is result
    assert (sent.delay_seconds, sent.group_id, sent.deduplication_id) == (3600, "g", None)
    # The time it is due travels as an attribute; nobody gave that one.
    assert {name: each.value for name, each in sent.attributes.items()} == {"tenant": "t1"}
    assert (sent.route, sent.stored_size) == ("inline", 0)
    assert sent.size == sent.sent_size > len('{"type":"a"}')


def test_what_is_refused_is_not_in_it(letsgo_outbox: Outbox) -> None:
    with pytest.raises(MessageTooLarge):
        enqueue({"type": "a", "payload": "x" * 2_000_000})
    with pytest.raises(MessageInvalid):
        enqueue({"type": "letsgo:mine"})

    assert len(letsgo_outbox) == 0


def test_one_says_what_was_enqueued_instead(letsgo_outbox: Outbox) -> None:
    with pytest.raises(AssertionError, match=r"there are 0\. Enqueued were: no messages"):
        letsgo_outbox.one(OrderNew)
    enqueue({"type": "mail:send", "payload": "secret"})
    enqueue({"type": "mail:send", "payload": "secret"})

    with pytest.raises(AssertionError) as raised:
        letsgo_outbox.one("mail:send")

    assert str(raised.value) == (
        "one message of mail:send should be enqueued, and there are 2. Enqueued were: "
        "mail:send (inline, 39 bytes), mail:send (inline, 39 bytes)."
    )
    assert "secret" not in repr(letsgo_outbox) + repr(letsgo_outbox[0])


def test_a_message_that_does_not_fit_its_model_is_an_error(letsgo_outbox: Outbox) -> None:
    enqueue(OrderNew(payload=Order(order_id="secret")))

    with pytest.raises(
        MessageInvalid, match=r"does not fit Stranger: payload \(int_type\)"
    ) as not_fit:
        letsgo_outbox.one(Stranger)

    assert "secret" not in str(not_fit.value)


def test_a_model_without_a_type_says_not_which(letsgo_outbox: Outbox) -> None:
    with pytest.raises(SettingsInvalid, match="has no type of its own"):
        letsgo_outbox.of(Message[Any])


def test_it_can_be_emptied(letsgo_outbox: Outbox) -> None:
    enqueue({"type": "a"})
    letsgo_outbox.clear()
    enqueue({"type": "b"})

    assert letsgo_outbox.one().type == "b"
