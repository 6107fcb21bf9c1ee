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
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.integrations import workers
from tests.claimcheck.places import DynamoDBPlace, Left
from tests.claimcheck.support import noise
from tests.conftest import REGION, use_emulator
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nothing_is_left")

APP = "tests.claimcheck.integrations.dramatiq_app"
NAMESPACE = "shop"

LARGE = 2_000_000
"""Bytes of text that no queue takes, not even compressed."""


@dataclass
class Shop(workers.Shop):
    """A sender, a store, and what the workers did."""

    broker: SQSBroker

    def message(self, actor: str, *args: str, queue: str = "tasks") -> dramatiq.Message[Any]:
        return dramatiq.Message(
            queue_name=queue, actor_name=actor, args=args, kwargs={}, options={}
        )

    def send(self, actor: str, *args: str, queue: str = "tasks") -> None:
        self.broker.enqueue(self.message(actor, *args, queue=queue))

    def take_dead_letter(self) -> str:
        """Remove the only dead letter, and return its body."""
        dead = self.broker.dead_letter_queues["tasks"]
        [letter] = wait_for(lambda: dead.receive_messages(WaitTimeSeconds=1), "a dead letter")
        letter.delete()
        body: str = letter.body
        return body

    @contextmanager
    def worker(self, queue: str, *, visibility_timeout: int = 300) -> Iterator[Any]:
        environment = workers.environment_on(
            self.server,
            CLAIMCHECK_STORE=f"dynamodb://{self.place.store.table}",
            TEST_NAMESPACE=NAMESPACE,
            TEST_STEPS=str(self.journal),
            TEST_VISIBILITY_TIMEOUT=str(visibility_timeout),
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
        yield Shop(server, place, tmp_path_factory.mktemp("dramatiq"), broker)
        broker.sqs.meta.client.close()
        place.close()
        server.remove_all()


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Iterator[None]:
    with shop.worker("tasks"):
        yield


@pytest.mark.usefixtures("worker")
def test_two_megabytes_arrive_equal_and_leave_a_receipt(shop: Shop) -> None:
    payload = noise(LARGE)
    shop.send("take", payload)
    shop.wait_for(payload, "took")
    wait_for(lambda: shop.place.left() == Left(0, 1), "nothing left but the receipt")


@pytest.mark.usefixtures("worker")
def test_each_retry_is_a_message_of_its_own(shop: Shop, tmp_path: Path) -> None:
    payload = noise(LARGE, seed=2)
    shop.send("flaky", payload, str(tmp_path / "marker"))
    shop.wait_for(payload, "tries", "tries", "tries", "succeeds")
    wait_for(lambda: shop.place.left() == Left(0, 3), "three receipts")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("actor", "fails"),
    [("refuse", "refuses"), pytest.param("outlast", "begins", id="over its time limit")],
)
def test_a_dead_letter_keeps_its_claim_and_can_be_sent_again(
    shop: Shop, ministack: AwsServer, tmp_path: Path, actor: str, fails: str
) -> None:
    payload = noise(LARGE, seed=len(actor))
    unless = tmp_path / "unless"
    shop.send(actor, payload, str(unless))
    shop.wait_for(payload, fails)
    body = shop.take_dead_letter()
    assert is_sealed(body)
    unless.touch()
    ministack.sqs().send_message(QueueUrl=shop.broker.queues["tasks"].url, MessageBody=body)
    shop.wait_for(payload, fails, fails, "relents")


@pytest.mark.usefixtures("worker")
def test_groups_and_pipelines_carry_large_messages_and_results(shop: Shop) -> None:
    first, second = (noise(LARGE, seed=seed) for seed in (4, 5))
    pipe = [shop.message("grow", "a", first), shop.message("grow", "b"), shop.message("take")]
    dramatiq.pipeline(pipe, broker=shop.broker).run()
    dramatiq.group(
        [shop.message("take", each) for each in (first, second)], broker=shop.broker
    ).run()
    shop.wait_for(second, "took")
    wait_for(lambda: {*shop.steps(first)} == {"grows", "took"}, "both uses of the first")
    shop.wait_for(first + "a", "grows")
    shop.wait_for(first + "ab", "took")


def test_a_worker_that_is_killed_gives_its_message_back(shop: Shop, tmp_path: Path) -> None:
    payload = noise(LARGE, seed=16)
    until = tmp_path / "until"
    shop.send("hang", payload, str(until), queue="killed")
    with shop.worker("killed", visibility_timeout=12) as process:
        shop.wait_for(payload, "hangs")
        workers.kill(process)
    until.touch()
    with shop.worker("killed"):
        shop.wait_for(payload, "hangs", "hangs", "ends")
        wait_for(lambda: shop.place.left() == Left(0, 1), "nothing left but the receipt")
