"""Inside a LetsGo deployment, claims go to LetsGo's own table without a setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware, enqueue
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from claimcheck.stores.letsgo import LetsGoClaimStore
from letsgo_queue import Client, Message, Worker
from tests.claimcheck.lambda_claims import event_of, record_of
from tests.claimcheck.places import make_letsgo_store
from tests.claimcheck.support import message_body, noise
from tests.letsgo_queue.aws_lambda.lambda_events import Context
from tests.support.servers import AwsServer

LARGE = noise(1_600_000)


@pytest.fixture
def letsgo(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LetsGoClaimStore]:
    """A deployment of LetsGo with a table and no queue yet, in the environment of the test."""
    with closing(make_letsgo_store(aws, None)) as store:
        prefix, _, name = store.table.partition("-")
        monkeypatch.setenv("LETSGO_VENDOR_PREFIX", prefix)
        monkeypatch.setenv("LETSGO_DEPLOYMENT", name)
        yield store


@pytest.fixture
def queue(aws: AwsServer, letsgo: LetsGoClaimStore) -> Iterator[str]:
    """The URL of the deployment's queue, made as LetsGo makes it."""
    url = aws.sqs().create_queue(
        QueueName=f"{letsgo.table}-12345",
        Attributes={"MaximumMessageSize": "1048576"},
        tags={"LetsGoDeployment": letsgo.table.partition("-")[2]},
    )["QueueUrl"]
    yield url
    aws.sqs().delete_queue(QueueUrl=url)


def categories(aws: AwsServer, store: LetsGoClaimStore) -> list[str]:
    items = aws.dynamodb().scan(TableName=store.table, ConsistentRead=True)["Items"]
    return sorted(item["category"]["S"] for item in items)


def test_a_queue_found_by_its_deployment_has_its_claims_there(
    aws: AwsServer, letsgo: LetsGoClaimStore, queue: str
) -> None:
    seen: list[Message[Any]] = []
    worker = Worker(client=Client(), middleware=[ClaimCheckMiddleware()], wait_seconds=1)
    worker.default(seen.append)

    result = enqueue({"type": "order:new", "payload": LARGE})
    assert (result.queue, result.route) == (queue, "stored")
    assert categories(aws, letsgo) == [
        f"claimcheck/{result.claim_id}/{part}" for part in range(len(categories(aws, letsgo)))
    ]
    worker.run(burst=True)

    assert [message.payload for message in seen] == [LARGE]
    assert categories(aws, letsgo) == [f"claimcheck/{result.claim_id}@"]


def test_a_lambda_function_knows_the_queue_by_its_name(
    aws: AwsServer, letsgo: LetsGoClaimStore
) -> None:
    """It gets no more than an ARN, and LetsGo's environment."""
    queue = f"https://sqs.{aws.region}.amazonaws.com/123456789012/{letsgo.table}-12345"
    sealed = claim_check_for(queue).seal(message_body("order:new", LARGE), type="order:new")
    assert sealed.route == "stored"
    seen: list[Message[Any]] = []
    worker = Worker(middleware=[ClaimCheckMiddleware()])
    worker.default(seen.append)
    arn = f"arn:aws:sqs:{aws.region}:123456789012:{letsgo.table}-12345"
    record = {**record_of(sealed.body.decode(), "m"), "eventSourceARN": arn}

    assert worker.lambda_handler(event_of(record), Context()) == {"batchItemFailures": []}

    assert [message.payload for message in seen] == [LARGE]
    assert categories(aws, letsgo) == [f"claimcheck/{sealed.claim_id}@"]


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("letsgo-main-12345", "letsgo://main"),
        ("letsgo-main-123456", "dynamodb://letsgo-claims"),
        ("letsgo-main", "dynamodb://letsgo-claims"),
        ("letsgo-staging-12345", "dynamodb://letsgo-claims"),
        ("orders", "dynamodb://letsgo-claims"),
    ],
)
def test_which_queues_are_letsgos(name: str, store: str) -> None:
    """A queue of another deployment is no reason to write to its table."""
    url = f"https://sqs.us-west-2.amazonaws.com/123456789012/{name}"

    assert ClaimCheckSettings().store_for(url) == store
    assert ClaimCheckSettings(store="dynamodb://t").store_for(url) == "dynamodb://t"
