"""What an attached client asks a queue, and what it makes of a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from claimcheck import ClaimCheck
from claimcheck.integrations.boto3 import attach
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.limits import ANY_QUEUE_BYTES
from tests.claimcheck.integrations.attached.refusals import Refusals
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LIMIT = 100_000
"""Bytes that the queue accepts: fewer than most, so that it shows who was told."""

TOO_LARGE = noise(2 * LIMIT)


@pytest.fixture
def queue(ministack: AwsServer) -> str:
    return ministack.make_queue(MaximumMessageSize=str(LIMIT))


@pytest.fixture
def client(
    ministack: AwsServer, check: ClaimCheck, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SQSClient]:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client = attach(ministack.sqs(), check)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("status", "code"), [(503, "ServiceUnavailable"), (400, "ThrottlingException")]
)
def test_a_refusal_that_passes_is_not_kept(
    client: SQSClient, queue: str, store: MemoryClaimStore, status: int, code: str
) -> None:
    refusals = Refusals(client, "GetQueueAttributes", (status, code))
    with pytest.raises(ClientError):  # a queue that does not say is taken for an old one
        client.send_message(QueueUrl=queue, MessageBody=TOO_LARGE)
    for _ in range(2):
        client.send_message(QueueUrl=queue, MessageBody=TOO_LARGE)
    assert (len(store._contents) > 0, refusals.asked) == (True, 2)


def test_one_that_stays_is_told_once(
    client: SQSClient, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(client, "GetQueueAttributes", (400, "AccessDeniedException"))
    for _ in range(2):
        with pytest.raises(ClientError):
            client.send_message(QueueUrl=queue, MessageBody=TOO_LARGE)
    assert refusals.asked == 1
    [told] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert f"takes {ANY_QUEUE_BYTES} bytes" in told
    assert "Permit sqs:GetQueueAttributes" in told
