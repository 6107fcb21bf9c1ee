"""What SNS brings to a queue, received by a boto3 client of SQS with the claim check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import md5
from typing import TYPE_CHECKING, Any

import pytest

from claimcheck import ClaimCheck
from claimcheck.integrations import boto3 as boto3_claims
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.integrations.sns.topics import LARGE, SMALL, subscribed
from tests.claimcheck.support import parts_left
from tests.support.envelopes import ENVELOPES, Envelope
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


@pytest.fixture
def sqs(ministack: AwsServer, check: ClaimCheck) -> Iterator[SQSClient]:
    client = boto3_claims.attach(ministack.sqs(), check)
    yield client
    client.close()


def receive(sqs: SQSClient, queue: str) -> list[dict[str, Any]]:
    """The messages of a queue, which are invisible for a minute now."""
    answer: Any = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=60, WaitTimeSeconds=1
    )
    return list(answer.get("Messages", []))


def test_each_queue_receives_it_once_in_the_form_that_it_has(
    ministack: AwsServer, sns: SNSClient, sqs: SQSClient, topic: str
) -> None:
    raw = subscribed(ministack, topic, RawMessageDelivery="true")
    wrapped = subscribed(ministack, topic)
    sns.publish(TopicArn=topic, Message=LARGE)

    (of_raw,), (of_wrapped,) = receive(sqs, raw), receive(sqs, wrapped)

    assert of_raw["Body"] == LARGE
    assert json.loads(of_wrapped["Body"])["Message"] == LARGE
    assert json.loads(of_wrapped["Body"])["TopicArn"] == topic
    assert of_wrapped["MD5OfBody"] == md5(of_wrapped["Body"].encode()).hexdigest()


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=[*ENVELOPES])
def test_its_claim_goes_with_the_message(
    ministack: AwsServer,
    sqs: SQSClient,
    check: ClaimCheck,
    store: MemoryClaimStore,
    envelope: Envelope,
) -> None:
    wrap, take_out = envelope
    queue, other = ministack.make_queue(), ministack.make_queue()
    sealed = check.seal(LARGE, shared=True).text
    plain = ministack.sqs()
    for each in (queue, other):
        plain.send_message(QueueUrl=each, MessageBody=wrap(sealed))

    (first,) = receive(sqs, queue)
    sqs.change_message_visibility(
        QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
    )
    (again,) = receive(sqs, queue)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=again["ReceiptHandle"])
    plain.send_message(QueueUrl=queue, MessageBody=wrap(sealed))  # a duplicate

    assert take_out(first["Body"]) == take_out(again["Body"]) == LARGE
    assert receive(sqs, queue) == []
    assert [take_out(each["Body"]) for each in receive(sqs, other)] == [LARGE]
    assert parts_left(store, sealed)
    plain.close()


def test_what_is_not_sealed_is_as_it_was(
    ministack: AwsServer, sns: SNSClient, sqs: SQSClient, topic: str
) -> None:
    queue = subscribed(ministack, topic)
    sns.publish(TopicArn=topic, Message=SMALL)

    (message,) = receive(sqs, queue)

    assert json.loads(message["Body"])["Message"] == SMALL
    assert "claimcheck" not in message["ReceiptHandle"]


def test_one_in_an_envelope_that_is_not_known_is_left_on_the_queue(
    ministack: AwsServer, sqs: SQSClient, check: ClaimCheck, caplog: pytest.LogCaptureFixture
) -> None:
    queue = ministack.make_queue()
    plain = ministack.sqs()
    order = {"order": json.loads(check.seal(LARGE, shared=True).text)}
    for body in (json.dumps(order), SMALL):
        plain.send_message(QueueUrl=queue, MessageBody=body)

    assert [each["Body"] for each in [*receive(sqs, queue), *receive(sqs, queue)]] == [SMALL]
    assert "in an envelope that is not known" in caplog.text
    plain.close()
