"""dramatiq with the claim check, in worker processes as people run them, on SQS and DynamoDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq_sqs import SQSBroker

from claimcheck import ClaimCheck
from claimcheck.integrations.dramatiq import install
from tests.claimcheck.integrations import steps, workers
from tests.claimcheck.places import DynamoDBPlace, Left
from tests.claimcheck.support import noise, wait_for
from tests.conftest import REGION, use_emulator
from tests.support.servers import AwsServer

APP = "tests.claimcheck.integrations.dramatiq_app"
NAMESPACE = "shop"


@dataclass
class Shop:
    """A sender, a store, and what the workers did."""

    server: AwsServer
    place: DynamoDBPlace
    broker: SQSBroker
    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "steps"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def send(self, actor: str, *args: str, queue: str = "tasks", **options: Any) -> None:
        self.broker.enqueue(
            dramatiq.Message(
                queue_name=queue, actor_name=actor, args=args, kwargs={}, options=options
            )
        )

    def steps(self, payload: object) -> list[str]:
        return [step.name for step in steps.steps_in(self.journal, payload)]

    def wait_for(self, payload: object, *names: str) -> None:
        wait_for(lambda: self.steps(payload) == [*names], f"{names}", seconds=60)

    @contextmanager
    def worker(self, queue: str) -> Iterator[Any]:
        environment = workers.environment_on(
            self.server,
            CLAIMCHECK_STORE=f"dynamodb://{self.place.store.table}",
            TEST_NAMESPACE=NAMESPACE,
            TEST_STEPS=str(self.journal),
        )
        command = ["dramatiq", f"{APP}:broker", "-p", "1", "-t", "2", "-Q", queue]
        with workers.run_worker(*command, environment=environment, log=self.log) as process:
            yield process


@pytest.fixture(scope="module")
def shop(ministack_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        server = use_emulator(patch, "ministack", ministack_url)
        place = DynamoDBPlace(server)
        broker = SQSBroker(namespace=NAMESPACE, middleware=[], dead_letter=True, region_name=REGION)
        for queue in ("tasks", "killed"):
            broker.declare_queue(queue)
        install(broker, ClaimCheck(place.store))
        yield Shop(server, place, broker, tmp_path_factory.mktemp("dramatiq"))
        broker.sqs.meta.client.close()
        place.close()
        server.remove_all()


@pytest.fixture(autouse=True)
def on_ministack(ministack: AwsServer) -> None:
    """The environment of each test is clean."""


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Iterator[None]:
    with shop.worker("tasks"):
        yield


@pytest.mark.usefixtures("worker")
def test_two_megabytes_arrive_equal_and_leave_a_receipt(shop: Shop) -> None:
    payload = noise(2_000_000)
    shop.send("take", payload)
    shop.wait_for(payload, "took")
    wait_for(lambda: shop.place.left() == Left(0, 1), "nothing left but the receipt")
