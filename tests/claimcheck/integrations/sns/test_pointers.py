"""Pointers of AWS's clients that go through SNS: written by an attached client, and opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from claimcheck import AwsPointers, ClaimCheck, unwrap_claim_check
from claimcheck.integrations import boto3 as sqs_clients
from claimcheck.integrations.sns import attach
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import unwrap
from tests.claimcheck.integrations.sns.topics import (
    ATTRIBUTES,
    LARGE,
    bodies_on,
    handled,
    subscribed,
)
from tests.claimcheck.lambda_claims import event_of, record_of
from tests.support.servers import AwsServer

FORMS = pytest.mark.parametrize("raw", ["true", "false"])


@pytest.fixture
def bucket(ministack: AwsServer) -> str:
    return ministack.make_bucket()


@pytest.fixture
def check(store: MemoryClaimStore, bucket: str) -> Iterator[ClaimCheck]:
    check = ClaimCheck(store, aws_pointers=AwsPointers([bucket]), write="aws-pointer")
    yield check
    check.close()


def publish(ministack: AwsServer, topic: str, check: ClaimCheck) -> None:
    with closing(ministack.sns()) as client:
        attach(client, check).publish(TopicArn=topic, Message=LARGE, MessageAttributes=ATTRIBUTES)


@FORMS
def test_it_travels_as_awss_clients_write_it(
    ministack: AwsServer, topic: str, check: ClaimCheck, bucket: str, raw: str
) -> None:
    queue = subscribed(ministack, topic, RawMessageDelivery=raw)

    publish(ministack, topic, check)

    [body] = bodies_on(ministack, queue)
    wrapped = unwrap(body)
    kind, pointer = json.loads(body if wrapped is None else wrapped.body)
    assert kind == "software.amazon.payloadoffloading.PayloadS3Pointer"
    [key] = ministack.objects_in(bucket)
    assert pointer == {"s3BucketName": bucket, "s3Key": key}


@FORMS
def test_a_worker_opens_it(ministack: AwsServer, topic: str, check: ClaimCheck, raw: str) -> None:
    queue = subscribed(ministack, topic, RawMessageDelivery=raw)
    publish(ministack, topic, check)

    ((message, _),) = handled(queue, check)

    assert message.model_dump() == json.loads(LARGE)


@FORMS
def test_a_lambda_handler_opens_it(
    ministack: AwsServer, topic: str, check: ClaimCheck, raw: str
) -> None:
    queue = subscribed(ministack, topic, RawMessageDelivery=raw)
    publish(ministack, topic, check)
    with closing(ministack.sqs()) as client:
        [message] = client.receive_message(QueueUrl=queue)["Messages"]
    opened = list[str]()

    @unwrap_claim_check(claim_check=check)
    def handler(event: dict[str, list[dict[str, str]]], context: object) -> None:
        opened.extend(each["body"] for each in event["Records"])

    handler(event_of(record_of(message["Body"], message["MessageId"])), None)

    wrapped = unwrap(opened[0])
    assert (opened[0] if wrapped is None else wrapped.body) == LARGE


@FORMS
def test_an_attached_client_opens_it(
    ministack: AwsServer, topic: str, check: ClaimCheck, raw: str
) -> None:
    queue = subscribed(ministack, topic, RawMessageDelivery=raw)
    publish(ministack, topic, check)

    with closing(sqs_clients.attach(ministack.sqs(), check)) as client:
        [message] = client.receive_message(QueueUrl=queue)["Messages"]
        wrapped = unwrap(message["Body"])
        assert (message["Body"] if wrapped is None else wrapped.body) == LARGE
        client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
