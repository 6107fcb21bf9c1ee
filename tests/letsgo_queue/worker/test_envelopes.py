"""Envelopes of SNS, EventBridge and pipes around a message, which a worker opens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Delivery, Message, MessageAttribute, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import message_body, noise, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import Context, event_of
from tests.support.envelopes import ENVELOPES, Envelope, from_eventbridge, from_pipe, from_sns

MESSAGE = {"type": "order:new", "payload": {"order_id": "42"}}
EACH_ENVELOPE = pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=[*ENVELOPES])


def received(*sent: str, **options: Any) -> list[tuple[Message[Any], Delivery]]:
    """What a handler gets of these bodies."""
    queue, seen = MemoryTransport(), list[tuple[Message[Any], Delivery]]()
    for body in sent:
        queue.send(OutgoingMessage(type="", body=body.encode()))
    worker = Worker(queue, **options)

    @worker.default
    def handle(message: Message[Any], delivery: Delivery) -> None:
        seen.append((message, delivery))

    worker.run(burst=True)
    return seen


@EACH_ENVELOPE
def test_the_message_in_it_is_handled(envelope: Envelope) -> None:
    ((message, _),) = received(envelope[0](MESSAGE))

    assert message.model_dump() == MESSAGE


@EACH_ENVELOPE
def test_half_a_surrogate_pair_in_it_reaches_the_handler(envelope: Envelope) -> None:
    half = {"type": "order:new", "payload": {"é": "\ud83d"}}

    ((message, _),) = received(envelope[0](half))

    assert message.model_dump() == half


def test_an_event_that_is_no_message_has_the_type_of_its_detail() -> None:
    ((message, _),) = received(from_eventbridge({"type": "car", "id": 7}))

    assert (message.type, message.payload) == ("OrderPlaced", {"type": "car", "id": 7})


def test_messages_without_an_envelope_are_handled_too() -> None:
    bodies = [json.dumps(MESSAGE), from_sns(MESSAGE)]

    assert [message.model_dump() for message, _ in received(*bodies)] == [MESSAGE, MESSAGE]


@EACH_ENVELOPE
def test_a_message_that_looks_like_an_envelope_is_not_opened(envelope: Envelope) -> None:
    inside = json.loads(envelope[0]({"type": "another", "payload": {}}))
    looks = {"payload": 1, **inside, "type": "order:new"}

    ((message, _),) = received(json.dumps(looks))

    assert (message.type, message.payload) == ("order:new", 1)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "7",
        '"text"',
        '{"detail-type"',
        from_sns("not JSON"),
        from_sns(7),
        from_sns({"id": 7}),
        from_sns(MESSAGE, Type="SubscriptionConfirmation"),
        from_sns(MESSAGE, Message=MESSAGE),
        from_sns(from_sns(from_sns(from_sns(MESSAGE)))),
        from_pipe(MESSAGE, eventSource="aws:kinesis"),
        from_pipe(MESSAGE, body=[MESSAGE]),
        f"[{from_pipe(MESSAGE)},{from_pipe(MESSAGE)}]",
        from_eventbridge(MESSAGE, **{"detail-type": 7}),
    ],
)
def test_what_is_no_message_fails_as_ever(body: str, caplog: pytest.LogCaptureFixture) -> None:
    assert received(body or " ") == []
    assert "Traceback" not in caplog.text
    assert "failed" in caplog.text


def test_attributes_of_the_envelope_are_the_messages() -> None:
    of_sns = {
        "text": {"Type": "String", "Value": "a"},
        "number": {"Type": "Number", "Value": "7"},
        "bytes": {"Type": "Binary", "Value": "AQI="},
        "list": {"Type": "String.Array", "Value": '["a"]'},
        "odd": {"Type": 7},
        "no bytes": {"Type": "Binary", "Value": "!"},
        "none": None,
    }
    of_pipe = {
        "piped": {"dataType": "String", "stringValue": "b"},
        "piped bytes": {"dataType": "Binary", "binaryValue": "AQI="},
        "number": {"dataType": "Number", "stringValue": "1"},
    }
    body = from_pipe(from_sns(MESSAGE, MessageAttributes=of_sns), messageAttributes=of_pipe)

    ((_, delivery),) = received(body)

    assert delivery.attributes == {
        "text": MessageAttribute("String", "a"),
        "number": MessageAttribute("Number", "7"),
        "bytes": MessageAttribute("Binary", b"\1\2"),
        "list": MessageAttribute("String", '["a"]'),
        "piped": MessageAttribute("String", "b"),
        "piped bytes": MessageAttribute("Binary", b"\1\2"),
    }


@EACH_ENVELOPE
def test_a_claim_check_in_it_is_opened(envelope: Envelope) -> None:
    check = small_claim_check(MemoryClaimStore())
    large = noise(3_000)
    sealed = check.seal(message_body("order:new", large), shared=True).body.decode()

    ((message, _),) = received(envelope[0](sealed), middleware=[ClaimCheckMiddleware(check)])

    assert message.payload == large


@EACH_ENVELOPE
def test_a_claim_check_that_nothing_opens_fails(
    envelope: Envelope, caplog: pytest.LogCaptureFixture
) -> None:
    check = small_claim_check(MemoryClaimStore())
    sealed = check.seal(message_body("order:new", noise(3_000))).body.decode()

    assert received(envelope[0](sealed)) == []
    assert "unwrap_claim_check" in caplog.text


def test_behind_lambda() -> None:
    seen: list[Message[Any]] = []
    worker = Worker()
    worker.default(seen.append)
    event = event_of(from_sns(MESSAGE), from_eventbridge(MESSAGE), json.dumps(MESSAGE))

    assert worker.lambda_handler(event, Context()) == {"batchItemFailures": []}
    assert len(seen) == 3
