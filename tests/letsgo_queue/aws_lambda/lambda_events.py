"""Events as Lambda gets them: those that AWS documents, and those of messages on a test's queue.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

STANDARD: dict[str, Any] = {
    "Records": [
        {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
            "body": "Test message.",
            "attributes": {
                "ApproximateReceiveCount": "1",
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
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
            "awsRegion": "us-east-2",
        },
        {
            "messageId": "2e1424d4-f796-459a-8184-9c92662be6da",
            "receiptHandle": "AQEBzWwaftRI0KuVm4tP+/7q1rGgNqicHq...",
            "body": "Test message.",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1545082650636",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1545082650649",
            },
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
            "awsRegion": "us-east-2",
        },
    ]
}

FIFO: dict[str, Any] = {
    "Records": [
        {
            "messageId": "11d6ee51-4cc7-4302-9e22-7cd8afdaadf5",
            "receiptHandle": "AQEBBX8nesZEXmkhsmZeyIE8iQAMig7qw...",
            "body": "Test message.",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1573251510774",
                "SequenceNumber": "18849496460467696128",
                "MessageGroupId": "1",
                "SenderId": "AIDAIO23YVJENQZJOL4VO",
                "MessageDeduplicationId": "1",
                "ApproximateFirstReceiveTimestamp": "1573251510774",
            },
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:fifo.fifo",
            "awsRegion": "us-east-2",
        }
    ]
}

SCHEDULED: dict[str, Any] = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2015-10-08T16:53:06Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/my-scheduled-rule"],
    "detail": {},
}
"""https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html"""


@dataclass(slots=True)
class Context:
    """Lambda's context: the time that is left of the invocation.

    Attributes:
        seconds: Given to the invocation.
    """

    seconds: float = 60.0
    started: float = field(default_factory=time.time)

    def get_remaining_time_in_millis(self) -> int:
        return int((self.started + self.seconds - time.time()) * 1000)


def event_of(*bodies: str, fifo_groups: Sequence[str] = ()) -> dict[str, Any]:
    """The documented event, with messages m0, m1, ... of these bodies."""
    record = (FIFO if fifo_groups else STANDARD)["Records"][0]
    groups = fifo_groups or [""] * len(bodies)
    return {
        "Records": [
            {
                **record,
                "messageId": f"m{number}",
                "body": body,
                "attributes": {**record["attributes"], "MessageGroupId": group}
                if group
                else record["attributes"],
            }
            for number, (body, group) in enumerate(zip(bodies, groups, strict=True))
        ]
    }


def receive_event(aws: AwsServer, url: str, *, visibility_timeout: int = 30) -> dict[str, Any]:
    """Receive what is on a queue, as Lambda does, into an event."""
    messages = aws.sqs().receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=visibility_timeout,
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return {"Records": [_record(aws, url, each) for each in messages.get("Messages", [])]}


def delete_handled(
    aws: AwsServer, url: str, event: Mapping[str, Any], answer: Mapping[str, Any] | None
) -> list[str]:
    """Delete what the answer does not name, as Lambda does; the ids that are left."""
    failed = {each["itemIdentifier"] for each in (answer or {})["batchItemFailures"]}
    sqs = aws.sqs()
    for record in event["Records"]:
        if record["messageId"] not in failed:
            # A worker has deleted what it rejected.
            with suppress(sqs.exceptions.ReceiptHandleIsInvalid):
                sqs.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])
    return sorted(failed)


def _record(aws: AwsServer, url: str, message: MessageTypeDef) -> dict[str, Any]:
    account, name = url.rsplit("/", 2)[1:]
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {
            name: {"dataType": value["DataType"], "stringValue": value["StringValue"]}
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{aws.region}:{account}:{name}",
        "awsRegion": aws.region,
    }
