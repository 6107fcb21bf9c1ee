"""Envelopes of SNS and EventBridge around a message, as a worker opens them where it is told to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Delivery, Message, MessageAttribute, SettingsInvalid, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.envelopes import Envelope
from tests.claimcheck.support import message_body, noise, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import Context, event_of

MESSAGE = {"type": "order:new", "payload": {"order_id": "42"}}
BOTH: list[Envelope] = ["sns", "eventbridge"]


def from_sns(message: object, **fields: object) -> str:
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:us-west-2:123456789012:orders",
            "Message": message if isinstance(message, str) else json.dumps(message),
            "Timestamp": "2026-11-26T08:00:00.000Z",
            **fields,
        }
    )


def from_eventbridge(detail: object, **fields: object) -> str:
    return json.dumps(
        {
            "version": "0",
            "id": "17793124-05d4-b198-2fde-7ededc63b103",
            "detail-type": "OrderPlaced",
            "source": "shop",
            "account": "123456789012",
            "time": "2026-11-26T08:00:00Z",
            "region": "us-west-2",
            "resources": [],
            "detail": detail,
            **fields,
        }
    )


def received(
    *sent: str, envelopes: list[Envelope], **options: Any
) -> list[tuple[Message[Any], Delivery]]:
    """What a handler gets of these bodies."""
    queue, seen = MemoryTransport(), list[tuple[Message[Any], Delivery]]()
    for body in sent:
        queue.send(OutgoingMessage(type="", body=body.encode()))
    worker = Worker(queue, envelopes=envelopes, **options)

    @worker.default
    def handle(message: Message[Any], delivery: Delivery) -> None:
        seen.append((message, delivery))

    worker.run(burst=True)
    return seen


@pytest.mark.parametrize("body", [from_sns(MESSAGE), from_eventbridge(MESSAGE)])
def test_the_message_in_it_is_handled(body: str) -> None:
    ((message, _),) = received(body, envelopes=BOTH)

    assert message.model_dump() == MESSAGE


def test_an_event_that_is_no_message_has_the_type_of_its_detail() -> None:
    ((message, _),) = received(from_eventbridge({"type": "car", "id": 7}), envelopes=BOTH)

    assert (message.type, message.payload) == ("OrderPlaced", {"type": "car", "id": 7})


def test_messages_without_an_envelope_are_handled_too() -> None:
    bodies = [json.dumps(MESSAGE), from_sns(MESSAGE)]

    assert [message.model_dump() for message, _ in received(*bodies, envelopes=["sns"])] == [
        MESSAGE,
        MESSAGE,
    ]


@pytest.mark.parametrize(
    ("envelopes", "body"),
    [
        ([], from_sns(MESSAGE)),
        ([], from_eventbridge(MESSAGE)),
        (["sns"], from_eventbridge(MESSAGE)),
        (["eventbridge"], from_sns(MESSAGE)),
        (BOTH, from_sns(MESSAGE, Type="SubscriptionConfirmation")),
        (BOTH, from_sns(from_sns(MESSAGE))),
    ],
)
def test_an_envelope_that_nobody_told_of_is_not_opened(
    envelopes: list[Envelope], body: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert received(body, envelopes=envelopes) == []

    assert "the body has no string `type`" in caplog.text


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '"text"', from_sns("not JSON"), from_sns(7)])
def test_what_is_no_message_fails_as_ever(body: str, caplog: pytest.LogCaptureFixture) -> None:
    assert received(body or " ", envelopes=BOTH) == []
    assert "Traceback" not in caplog.text
    assert "failed" in caplog.text


def test_attributes_of_sns_are_the_messages() -> None:
    attributes = {
        "text": {"Type": "String", "Value": "a"},
        "number": {"Type": "Number", "Value": "7"},
        "bytes": {"Type": "Binary", "Value": "AQI="},
        "list": {"Type": "String.Array", "Value": '["a"]'},
        "odd": {"Type": 7},
        "no bytes": {"Type": "Binary", "Value": "!"},
        "none": None,
    }

    ((_, delivery),) = received(from_sns(MESSAGE, MessageAttributes=attributes), envelopes=["sns"])

    assert delivery.attributes == {
        "text": MessageAttribute("String", "a"),
        "number": MessageAttribute("Number", "7"),
        "bytes": MessageAttribute("Binary", b"\1\2"),
        "list": MessageAttribute("String", '["a"]'),
    }


@pytest.mark.parametrize("wrap", [from_sns, lambda body: from_eventbridge(json.loads(body))])
def test_a_claim_check_in_it_is_opened(wrap: Any) -> None:
    check = small_claim_check(MemoryClaimStore())
    large = noise(3_000)
    sealed = check.seal(message_body("order:new", large)).body.decode()

    ((message, _),) = received(
        wrap(sealed), envelopes=BOTH, middleware=[ClaimCheckMiddleware(check)]
    )

    assert message.payload == large


def test_behind_lambda() -> None:
    seen: list[Message[Any]] = []
    worker = Worker(envelopes=["sns", "eventbridge"])
    worker.default(seen.append)
    event = event_of(from_sns(MESSAGE), from_eventbridge(MESSAGE), json.dumps(MESSAGE))

    assert worker.lambda_handler(event, Context()) == {"batchItemFailures": []}
    assert len(seen) == 3


@pytest.mark.parametrize("envelopes", ["sns", ["kafka"], [1]])
def test_another_name_is_refused(envelopes: Any) -> None:
    with pytest.raises(SettingsInvalid, match="give a list of sns and eventbridge"):
        Worker(envelopes=envelopes)
