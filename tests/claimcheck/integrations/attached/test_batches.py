"""Batches of an attached client: messages that fit alone and not together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import MessageTooLarge
from letsgo_queue.limits import ANY_QUEUE_BYTES, MAX_BATCH_BYTES
from tests.claimcheck.integrations.attached.messages import (
    LARGE,
    MIDDLE,
    SMALL,
    receive,
    records,
    waiting,
)
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def attribute(size: int) -> Any:
    """Message attributes of about so many bytes."""
    return {"big": {"DataType": "String", "StringValue": "x" * size}}


def entry(id: str, body: str, attributes_size: int) -> Any:
    return {"Id": id, "MessageBody": body, "MessageAttributes": attribute(attributes_size)}


class TestABatch:
    def test_is_made_to_fit_and_comes_as_it_was_sent(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        bodies = {"small": SMALL} | {str(n): noise(200_000, seed=n) for n in range(9)}
        answer = sqs.send_message_batch(
            QueueUrl=queue,
            Entries=[{"Id": id, "MessageBody": body} for id, body in bodies.items()],
        )
        assert {each["Id"]: each["MD5OfMessageBody"] for each in answer["Successful"]} == {
            id: hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
            for id, body in bodies.items()
        }
        got = receive(sqs, queue)
        assert sorted(each["Body"] for each in got) == sorted(bodies.values())
        entries: Any = [
            {"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(got)
        ]
        assert not sqs.delete_message_batch(QueueUrl=queue, Entries=entries).get("Failed")
        assert (set(records(store)), store._contents) == ({"done"}, {})

    def test_with_attributes_that_leave_no_room_is_refused_before_anything_is_sent(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        attributes: Any = {"big": {"DataType": "String", "StringValue": "x" * 600_000}}
        with pytest.raises(
            MessageTooLarge, match=r"1,20\d,\d+ bytes .* Nothing was sent"
        ) as caught:
            sqs.send_message_batch(
                QueueUrl=queue,
                Entries=[
                    {"Id": str(n), "MessageBody": MIDDLE, "MessageAttributes": attributes}
                    for n in range(2)
                ],
            )
        assert (waiting(sqs, queue), store._contents) == ((0, 0), {})
        assert caught.value.limit == 1_048_576

    def test_may_be_larger_than_a_message_of_its_queue(
        self, sqs: SQSClient, plain: SQSClient, ministack: AwsServer
    ) -> None:
        queue = ministack.make_queue(MaximumMessageSize=str(ANY_QUEUE_BYTES))
        bodies = [noise(30_000, seed=n) for n in range(10)]
        sqs.send_message_batch(
            QueueUrl=queue, Entries=[entry(str(n), body, 60_000) for n, body in enumerate(bodies)]
        )
        assert sorted(each["Body"] for each in receive(plain, queue)) == sorted(bodies)

    def test_makes_room_for_attributes_by_storing_the_other_messages(
        self, sqs: SQSClient, plain: SQSClient, queue: str
    ) -> None:
        sqs.send_message_batch(
            QueueUrl=queue,
            Entries=[entry("a", noise(10_000), 900_000), entry("b", noise(180_000), 10)],
        )
        names: Any = {"MessageAttributeNames": ["All"]}
        sent = receive(plain, queue, VisibilityTimeout=0, **names)
        sizes = [
            len(each["Body"]) + len(each["MessageAttributes"]["big"]["StringValue"])
            for each in sent
        ]
        assert 900_000 < sum(sizes) < MAX_BATCH_BYTES
        assert sorted(len(each["Body"]) for each in receive(sqs, queue)) == [10_000, 180_000]


def test_an_entry_that_is_refused_leaves_nothing_in_the_store(
    sqs: SQSClient, ministack: AwsServer, store: MemoryClaimStore
) -> None:
    queue = ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")
    entries: Any = [
        {"Id": "good", "MessageBody": LARGE, "MessageGroupId": "g"},
        {"Id": "no-group", "MessageBody": LARGE + " "},
    ]

    answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)

    assert [each["Id"] for each in answer["Failed"]] == ["no-group"]
    assert len(store._contents) == 1
    assert [each["Body"] for each in receive(sqs, queue)] == [LARGE]
