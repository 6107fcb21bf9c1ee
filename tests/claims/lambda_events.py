"""Events as Lambda makes them of SQS messages, and what Lambda makes of a function's answer.

The records are those that AWS documents:
https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import TYPE_CHECKING, Any, Literal

from claimcheck import ClaimCheck, ClaimStore
from claimcheck.stores.base import Held
from tests.claims.support import noisy_body, rows_of, small_claim_check, ticket_in

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

STANDARD = "arn:aws:sqs:us-east-2:123456789012:my-queue"
FIFO = "arn:aws:sqs:us-east-2:123456789012:fifo.fifo"

State = Literal["back", "taken", "gone"]


def record_of(body: str, id: str, *, receive_count: int = 1) -> dict[str, Any]:
    """The record of a message on a standard queue."""
    return {
        "messageId": id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1545082649185",
        },
        "messageAttributes": {
            "myAttribute": {
                "stringValue": "myValue",
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "String",
            }
        },
        "md5OfBody": md5(body.encode()).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": STANDARD,
        "awsRegion": "us-east-2",
    }


def fifo_record_of(body: str, id: str, group: str) -> dict[str, Any]:
    """The record of a message on a FIFO queue."""
    return {
        "messageId": id,
        "receiptHandle": "AQEBBX8nesZEXmkhsmZeyIE8iQAMig7qw...",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1573251510774",
            "SequenceNumber": "18849496460467696128",
            "MessageGroupId": group,
            "SenderId": "AIDAIO23YVJENQZJOL4VO",
            "MessageDeduplicationId": id,
            "ApproximateFirstReceiveTimestamp": "1573251510774",
        },
        "messageAttributes": {},
        "md5OfBody": md5(body.encode()).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": FIFO,
        "awsRegion": "us-east-2",
    }


def record_from_sqs(message: MessageTypeDef, queue_url: str, region: str) -> dict[str, Any]:
    """The record of a message that boto3 received."""
    account, name = queue_url.rsplit("/", 2)[1:]
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{region}:{account}:{name}",
        "awsRegion": region,
    }


def event_of(*records: Mapping[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def ids_in(event: Mapping[str, Any]) -> list[str]:
    return [record["messageId"] for record in event["Records"]]


def failed(*ids: str) -> dict[str, Any]:
    """The answer that reports these messages."""
    return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}


def deleted_by_lambda(event: Mapping[str, Any], answer: object) -> set[str]:
    """The messages that Lambda deletes after this answer, with ReportBatchItemFailures.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    sent = json.loads(json.dumps(answer))
    items = (sent.get("batchItemFailures") if isinstance(sent, dict) else None) or []
    reported = {item.get("itemIdentifier") for item in items}
    return set() if reported - {*ids_in(event)} else {*ids_in(event)} - reported


@dataclass(frozen=True, slots=True)
class Context:
    """Of Lambda's context, what says how long the function may run."""

    milliseconds: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@dataclass(slots=True)
class Claims:
    """A store with claims of messages, and what has become of each."""

    store: ClaimStore
    check: ClaimCheck = field(init=False)
    originals: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check = small_claim_check(self.store)

    def sealed(self, seed: int = 1) -> str:
        """What travels for a message whose body is stored."""
        original = noisy_body(3_000, seed=seed)
        sealed = self.check.seal(original)
        assert sealed.route == "stored"
        body = sealed.body.decode()
        self.originals[body] = original
        return body

    def take(self, sealed_body: str, seconds: float = 60) -> None:
        """Have another delivery hold the claim."""
        self.check.open(sealed_body, lease_until=time.time() + seconds)

    def finish(self, sealed_body: str) -> None:
        """Have another delivery finish the work."""
        self.check.open(sealed_body).purge()

    def state(self, sealed_body: str) -> State:
        if self.store.look_up(ticket_in(sealed_body)["id"], now=time.time()) is not None:
            return "back"
        return "taken" if rows_of(self.store, sealed_body) else "gone"

    def states(self, sealed_bodies: Sequence[str]) -> list[State]:
        return [self.state(body) for body in sealed_bodies]

    def leased_for(self, sealed_body: str) -> float:
        """Seconds until the lease on a claim that is taken ends."""
        ticket = ticket_in(sealed_body)
        held = self.store.read(ticket["id"], ticket["parts"], now=time.time())
        assert isinstance(held, Held)
        return held.until - time.time()
