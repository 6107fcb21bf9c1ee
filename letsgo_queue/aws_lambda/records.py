"""Messages as records: how AWS Lambda hands them to a function, and LetsGo's local mode posts them.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html has the event of an SQS source.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage

Record: TypeAlias = Mapping[str, Any]
"""One entry of `Records`."""

_ARN_PARTS = 6
_DOMAINS = {"aws-cn": "amazonaws.com.cn"}


def is_scheduled(event: Mapping[str, Any]) -> bool:
    """Whether an event comes from a schedule of EventBridge, and has no records."""
    return event.get("detail-type") == "Scheduled Event"


def received_from(record: Record, *, invisible_until: float | None = None) -> ReceivedMessage:
    """The message in a record.

    Args:
        record: The record.
        invisible_until: When it can be received again (seconds since 1970), if that is known.

    Raises:
        MessageInvalid: It has no id or no body, or what it says of itself cannot be read.
    """
    message_id = record.get("messageId")
    try:
        system = record.get("attributes") or {}
        return ReceivedMessage(
            message_id=_text(message_id),
            receipt_handle=str(record.get("receiptHandle", "")),
            body=_text(record.get("body")),
            attributes={
                name: _attribute(value)
                for name, value in (record.get("messageAttributes") or {}).items()
            },
            receive_count=int(system.get("ApproximateReceiveCount", 1)),
            sent_at=int(system.get("SentTimestamp", 0)) / 1000,
            invisible_until=invisible_until,
            group_id=system.get("MessageGroupId"),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise MessageInvalid(
            f"message {message_id if isinstance(message_id, str) else '(no id)'}: its record is "
            "not one that SQS gives to Lambda (messageId, body, attributes)."
        ) from None


def local_record(
    message: OutgoingMessage,
    *,
    message_id: str,
    receipt_handle: str,
    sender: str,
    region: str,
    sent_at: float,
) -> Record:
    """A message as LetsGo's local mode posts it.

    https://github.com/47chapters/letsgo/blob/main/packages/queue/src/index.ts has the original.

    Args:
        message: The message; its delay has no place in a record.
        message_id: Its id.
        receipt_handle: What names its delivery.
        sender: Who sends it, `letsgo:local:USER`.
        region: The AWS region that the record names.
        sent_at: When it is sent (seconds since 1970).
    """
    body = message.body.decode()
    timestamp = str(int(sent_at * 1000))
    return {
        "messageId": message_id,
        "receiptHandle": receipt_handle,
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": timestamp,
            "SenderId": sender,
            "ApproximateFirstReceiveTimestamp": timestamp,
            **({"MessageGroupId": message.group_id} if message.group_id else {}),
        },
        "messageAttributes": attributes_for_record(message.attributes),
        "md5OfBody": md5_of(body),
        "eventSource": "letsgo:local",
        "eventSourceARN": sender,
        "awsRegion": region,
    }


def queue_url(record: Record) -> str | None:
    """URL of the queue that a record came from, by its ARN; None where that names no SQS queue."""
    parts = str(record.get("eventSourceARN", "")).split(":")
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or parts[2] != "sqs":
        return None
    _, partition, _, region, account, name = parts
    return f"https://sqs.{region}.{_DOMAINS.get(partition, 'amazonaws.com')}/{account}/{name}"


def attributes_for_record(attributes: Mapping[str, MessageAttribute]) -> dict[str, dict[str, str]]:
    """Message attributes as a record has them."""
    return {
        name: {
            "dataType": attribute.data_type,
            **(
                {"binaryValue": b64encode(attribute.value).decode()}
                if isinstance(attribute.value, bytes)
                else {"stringValue": attribute.value}
            ),
        }
        for name, attribute in attributes.items()
    }


def md5_of(body: str) -> str:
    """The MD5 of a body, in hex, as SQS gives it with every message."""
    return hashlib.md5(body.encode(errors="replace"), usedforsecurity=False).hexdigest()


def _attribute(value: Mapping[str, Any]) -> MessageAttribute:
    # A custom type is a label on one of the three: "Number.int".
    kind = _text(value["dataType"]).partition(".")[0]
    data_type = cast("Literal['String', 'Number', 'Binary']", kind)
    if data_type == "Binary":
        return MessageAttribute("Binary", b64decode(value["binaryValue"], validate=True))
    return MessageAttribute(data_type, _text(value["stringValue"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
