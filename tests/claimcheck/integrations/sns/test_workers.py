"""A topic with two queues, and workers in processes of their own, on SNS, SQS and DynamoDB."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any

import pytest

from claimcheck import ClaimCheck
from claimcheck.integrations.sns import attach
from tests.claimcheck.integrations import steps, workers
from tests.claimcheck.places import DynamoDBPlace
from tests.claimcheck.support import DAY, message_body, noise
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

COMMAND = ["letsgo_queue.cli.app", "worker", "tests.claimcheck.integrations.sns.app:worker"]

LARGE = 2_000_000
"""Bytes of text that no topic takes, not even compressed."""


@dataclass
class Shop:
    """A topic, its queues, a store, and what the workers did."""

    server: AwsServer
    place: DynamoDBPlace
    sns: SNSClient
    topic: str
    queues: dict[str, str]
    folder: Path

    def publish(self, type: str, payload: str) -> str:
        """Publish a message; what travelled."""
        sent: list[str] = []

        def note(params: dict[str, Any], **_: object) -> None:
            sent.append(params["body"]["Message"])

        self.sns.meta.events.register("before-call.sns.Publish", note, unique_id="note")
        self.sns.publish(TopicArn=self.topic, Message=message_body(type, payload))
        self.sns.meta.events.unregister("before-call.sns.Publish", note, unique_id="note")
        return sent[0]

    def steps(self, payload: str) -> Counter[str]:
        return Counter(step.name for step in steps.steps_in(self.folder / "steps", payload))

    def wait_for(self, payload: str) -> None:
        """Wait until each queue has handled it."""
        took = {f"{name} took" for name in self.queues}
        wait_for(lambda: took <= {*self.steps(payload)}, f"{took}", seconds=90)

    @contextmanager
    def worker(self, name: str) -> Iterator[Popen[bytes]]:
        environment = workers.environment_on(
            self.server,
            CLAIMCHECK_STORE=f"dynamodb://{self.place.store.table}",
            LETSGO_QUEUE_URL=self.queues[name],
            TEST_NAME=name,
            TEST_FOLDER=str(self.folder),
            TEST_STEPS=str(self.folder / "steps"),
        )
        log = self.folder / f"{name}.log"
        with workers.run_worker(*COMMAND, environment=environment, log=log) as process:
            yield process


@pytest.fixture
def shop(ministack: AwsServer, tmp_path: Path) -> Iterator[Shop]:
    place = DynamoDBPlace(ministack)
    sns = attach(ministack.sns(), ClaimCheck(place.store))
    topic = ministack.make_topic()
    queues = {name: ministack.make_queue(VisibilityTimeout="300") for name in ("raw", "wrapped")}
    ministack.subscribe(topic, queues["raw"], RawMessageDelivery="true")
    ministack.subscribe(topic, queues["wrapped"])
    yield Shop(ministack, place, sns, topic, queues, tmp_path)
    sns.close()
    place.close()


def hide_for(shop: Shop, name: str, seconds: str) -> None:
    """Set the visibility timeout of a queue."""
    sqs = shop.server.sqs()
    sqs.set_queue_attributes(QueueUrl=shop.queues[name], Attributes={"VisibilityTimeout": seconds})
    sqs.close()


def test_each_queue_handles_a_message_once_whatever_the_other_does(
    shop: Shop, ministack: AwsServer
) -> None:
    payload, flaky, last = (noise(LARGE, seed=seed) for seed in (1, 2, 3))
    with shop.worker("raw"), shop.worker("wrapped"):
        sealed = shop.publish("order:new", payload)
        shop.publish("order:flaky", flaky)
        shop.wait_for(payload)
        shop.wait_for(flaky)
        for queue in shop.queues.values():  # as SNS and SQS may deliver a message twice
            ministack.sqs().send_message(QueueUrl=queue, MessageBody=sealed)
        shop.publish("order:new", last)
        shop.wait_for(last)
        for name in shop.queues:
            workers.wait_for_line(shop.folder / f"{name}.log", "was handled before")

    assert shop.steps(payload) == {"raw took": 1, "wrapped took": 1}
    assert shop.steps(flaky) == {"raw took": 1, "wrapped failed": 1, "wrapped took": 1}
    # A receipt for each queue; the contents expire.
    assert shop.place.left().records == 6
    kept = {int(item["expires_at"]["N"]) for item in shop.place.backup() if "/" in item["id"]["S"]}
    assert all(14 * DAY < expires - time.time() < 16 * DAY for expires in kept)
    assert shop.place.left().parts > 0


def test_a_worker_that_is_killed_gives_its_queues_message_back(shop: Shop) -> None:
    payload = noise(LARGE)
    hide_for(shop, "raw", "12")  # as its worker will be killed
    with ExitStack() as stack:
        raw = stack.enter_context(shop.worker("raw"))
        stack.enter_context(shop.worker("wrapped"))
        shop.publish("order:slow", payload)
        wait_for(
            lambda: shop.steps(payload) == {"raw waits": 1, "wrapped waits": 1},
            "both handlers",
            seconds=60,
        )
        workers.kill(raw)
        hide_for(shop, "raw", "300")
        (shop.folder / "go on").touch()
        stack.enter_context(shop.worker("raw"))
        shop.wait_for(payload)

    assert shop.steps(payload) == {
        "raw waits": 2,
        "raw took": 1,
        "wrapped waits": 1,
        "wrapped took": 1,
    }
    assert shop.place.left().records == 2
