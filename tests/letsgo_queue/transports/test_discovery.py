"""Finding the queue of a LetsGo deployment, where AWS does not answer as it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber

from letsgo_queue import QueueNotFound, QueueUnavailable, list_letsgo_queues
from letsgo_queue.deployment import Deployment
from letsgo_queue.transports.discovery import find_queue
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAIN = Deployment()


@pytest.fixture
def client() -> Iterator[SQSClient]:
    client = boto3.client("sqs", "us-west-2")
    yield client
    client.close()


@pytest.fixture
def sqs(client: SQSClient) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_denied_search_says_what_to_set(client: SQSClient, sqs: Stubber) -> None:
    sqs.add_client_error("list_queues", "AccessDenied", "no sqs:ListQueues", 403)

    with pytest.raises(QueueNotFound, match=r"AccessDenied: no sqs:ListQueues\. Set LETSGO_"):
        find_queue(MAIN, client=client)


def test_search_that_may_not_read_tags_says_what_to_set(client: SQSClient, sqs: Stubber) -> None:
    sqs.add_response("list_queues", {"QueueUrls": ["https://there"]})
    sqs.add_client_error("list_queue_tags", "AccessDenied", "no sqs:ListQueueTags", 403)

    with pytest.raises(QueueNotFound, match=r"no sqs:ListQueueTags\. Set LETSGO_"):
        find_queue(MAIN, client=client)


def test_search_passes_over_a_queue_deleted_meanwhile(client: SQSClient, sqs: Stubber) -> None:
    sqs.add_response("list_queues", {"QueueUrls": ["https://gone", "https://there"]})
    sqs.add_client_error("list_queue_tags", "QueueDoesNotExist", "", 400)
    sqs.add_response("list_queue_tags", {"Tags": {"LetsGoDeployment": "main"}})

    assert find_queue(MAIN, client=client) == "https://there"


def test_the_session_of_a_caller_is_used(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    session = boto3.Session("akid", "secret", region_name=ministack.region)

    assert list_letsgo_queues("nobody", session=session) == []
    with pytest.raises(QueueUnavailable, match="redentials"):
        list_letsgo_queues("nobody")


def test_a_list_that_cannot_be_had_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(QueueUnavailable, match=r"letsgo-.* could not be listed"):
        list_letsgo_queues()
