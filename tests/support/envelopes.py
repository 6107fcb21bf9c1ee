"""Messages as other services bring them to a queue: as their documentation shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias


def from_sns(message: object, **fields: object) -> str:
    """Without raw message delivery."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:us-west-2:123456789012:orders",
            "Message": message if isinstance(message, str) else json.dumps(message),
            "Timestamp": "2026-11-26T08:00:00.000Z",
            "SignatureVersion": "1",
            "Signature": "c2lnbmVk",
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
            "detail": json.loads(detail) if isinstance(detail, str) else detail,
            **fields,
        }
    )


def from_pipe(message: object, **fields: object) -> str:
    """A record of a pipe's source, as it comes to a queue where no template picks its body."""
    return json.dumps(
        {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": message if isinstance(message, str) else json.dumps(message),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183"},
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-west-2:123456789012:source",
            "awsRegion": "us-west-2",
            **fields,
        }
    )


def from_all(message: object) -> str:
    """An event that a rule sends to a topic, the topic to a queue, and a pipe to another queue."""
    return from_pipe(from_sns(from_eventbridge(message)))


def in_sns(body: str) -> str:
    return str(json.loads(body)["Message"])


def in_eventbridge(body: str) -> str:
    return json.dumps(json.loads(body)["detail"], separators=(",", ":"), ensure_ascii=False)


def in_pipe(body: str) -> str:
    return str(json.loads(body)["body"])


def in_all(body: str) -> str:
    return in_eventbridge(in_sns(in_pipe(body)))


Envelope: TypeAlias = tuple[Callable[[object], str], Callable[[str], str]]

ENVELOPES: Mapping[str, Envelope] = {
    "sns": (from_sns, in_sns),
    "eventbridge": (from_eventbridge, in_eventbridge),
    "pipe": (from_pipe, in_pipe),
    "all": (from_all, in_all),
}
"""What puts each around a message, and how a user's code takes the message out of it."""
