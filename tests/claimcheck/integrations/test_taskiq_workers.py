"""taskiq with the claim check, in worker processes as people run them, on SQS and DynamoDB."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from taskiq_aio_sqs import SQSBroker

from claimcheck import ClaimCheck
from claimcheck.integrations.taskiq import install
from tests.claimcheck.integrations import workers
from tests.claimcheck.places import DynamoDBPlace, Left
from tests.claimcheck.support import noise
from tests.conftest import REGION, use_emulator
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nothing_is_left")

APP = "tests.claimcheck.integrations.taskiq_app"

LARGE = 2_000_000
"""Bytes of text that no queue takes, not even compressed."""


@dataclass
class Shop(workers.Shop):
    """A store, and what the workers did."""

    bucket: str

    def queue(self, **attributes: str) -> str:
        return self.server.make_queue(**attributes)

    def broker(self, queue: str, *, installed: bool = True) -> SQSBroker:
        broker = SQSBroker(
            queue.rpartition("/")[2], region_name=REGION, s3_extended_bucket_name=self.bucket
        )
        return install(broker, ClaimCheck(self.place.store)) if installed else broker

    def send(self, queue: str, task: str, *args: str, installed: bool = True) -> None:
        asyncio.run(_send(self.broker(queue, installed=installed), task, *args))

    @contextmanager
    def worker(self, queue: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        environment = workers.environment_on(
            self.server,
            CLAIMCHECK_STORE=f"dynamodb://{self.place.store.table}",
            TEST_QUEUE=queue.rpartition("/")[2],
            TEST_BUCKET=self.bucket,
            TEST_STEPS=str(self.journal),
            **settings,
        )
        command = ["taskiq", "worker", f"{APP}:broker", "--workers", "1"]
        with workers.run_worker(*command, environment=environment, log=self.log) as process:
            yield process


async def _send(broker: SQSBroker, task: str, *args: str) -> None:
    await broker.startup()
    try:
        await broker.register_task(_never_runs, task, retry_on_error=True).kiq(*args)
    finally:
        await broker.shutdown()


def _never_runs(*args: str) -> None:
    """A task whose code only the worker has."""


@pytest.fixture(scope="module")
def shop(ministack_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        server = use_emulator(patch, "ministack", ministack_url)
        place = DynamoDBPlace(server)
        yield Shop(server, place, tmp_path_factory.mktemp("taskiq"), server.make_bucket())
        place.close()
        server.remove_all()


@pytest.fixture(scope="module")
def queue(shop: Shop) -> Iterator[str]:
    """A queue with a worker."""
    queue = shop.queue()
    with shop.worker(queue):
        yield queue


def test_large_messages_arrive_equal_and_leave_a_receipt(shop: Shop, queue: str) -> None:
    payload = noise(LARGE)
    shop.send(queue, "take", payload)
    shop.wait_for(payload, "took")
    wait_for(lambda: shop.place.left() == Left(0, 1), "nothing left but the receipt")
    assert shop.server.objects_in(shop.bucket) == {}


def test_each_retry_is_a_message_of_its_own(shop: Shop, queue: str, tmp_path: Path) -> None:
    payload = noise(LARGE, seed=2)
    shop.send(queue, "flaky", payload, str(tmp_path / "marker"))
    shop.wait_for(payload, "tries", "tries", "tries", "succeeds")
    wait_for(lambda: shop.place.left() == Left(0, 3), "three receipts")


def test_what_the_package_stored_in_s3_is_read_as_before(shop: Shop, queue: str) -> None:
    payload = noise(LARGE, seed=3)
    shop.send(queue, "take", payload, installed=False)
    shop.wait_for(payload, "took")
    assert len(shop.server.objects_in(shop.bucket)) == 1


def test_a_worker_that_is_killed_gives_its_message_back(shop: Shop, tmp_path: Path) -> None:
    payload = noise(LARGE, seed=4)
    until = tmp_path / "until"
    queue = shop.queue(VisibilityTimeout="12")
    shop.send(queue, "hang", payload, str(until))
    with shop.worker(queue) as process:
        shop.wait_for(payload, "hangs")
        workers.kill(process)
    until.touch()
    with shop.worker(queue):
        shop.wait_for(payload, "hangs", "hangs", "ends")
        wait_for(lambda: shop.place.left() == Left(0, 1), "nothing left but the receipt")


@pytest.mark.long
def test_a_worker_without_the_claim_check_fails_and_loses_nothing(shop: Shop) -> None:
    payload = noise(LARGE, seed=5)
    queue = shop.queue(VisibilityTimeout="12")
    with shop.worker(queue, TEST_WITHOUT="1"):
        shop.send(queue, "take", "small")
        shop.wait_for("small", "took")
        shop.send(queue, "take", payload)
        workers.wait_for_line(shop.log, "KeyError: 's3_bucket'")
    with shop.worker(queue):
        shop.wait_for(payload, "took")
    assert shop.steps("a payload of nobody") == []
