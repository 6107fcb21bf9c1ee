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
from letsgo_queue.transports.base import ReceivedMessage

Record: TypeAlias = Mapping[str, Any]
"""One entry of `Records`."""

_ARN_PARTS = 6
_DOMAINS = {"aws-cn": "amazonaws.com.cn"}


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
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MessageInvalid(
            f"message {message_id if isinstance(message_id, str) else '(no id)'}: its record is "
            "not one that SQS gives to Lambda (messageId, body, attributes)."
        ) from None


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
