"""Celery with the claim check, in worker processes as people run them, on SQS and DynamoDB."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, group

from claimcheck import ClaimCheck
from claimcheck.integrations.celery import install
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.integrations import workers
from tests.claimcheck.integrations.celery_broker import QUEUES, WITHOUT_CLAIM_CHECK, make_app
from tests.claimcheck.places import DynamoDBPlace, Left
from tests.claimcheck.support import noise
from tests.conftest import use_emulator
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

APP = "tests.claimcheck.integrations.celery_app"

LARGE = 600_000
"""Bytes of text that the queues of these tests do not take, not even compressed."""

VISIBILITY_TIMEOUTS = {
    "tasks": 60,
    "later": 20,
    "forked": 60,
    "killed": 15,
    "rejects": 10,
    "plain": 10,
}
"""Seconds, by queue."""


@dataclass
class Shop(workers.Shop):
    """A sender, a store, and what the workers did."""

    queues: dict[str, str]
    environment: dict[str, str]
    app: Celery
    last_id: str = ""

    def send(self, task: str, *args: object, queue: str = "tasks", **options: Any) -> None:
        self.last_id = self.app.send_task(task, args, queue=queue, **options).id

    def wait_for_receipts(self, count: int) -> None:
        """Wait until nothing is left but these."""
        wait_for(lambda: self.place.left() == Left(0, count), f"{count} receipts")

    def dead_letter(self) -> str:
        """The body of the next dead letter, which is taken."""
        client, queue = self.server.sqs(), self.queues["dead"]
        found = wait_for(
            lambda: client.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"),
            "a dead letter",
            seconds=60,
        )
        client.delete_message(QueueUrl=queue, ReceiptHandle=found[0]["ReceiptHandle"])
        client.close()
        return found[0]["Body"]

    @contextmanager
    def worker(self, queues: str, pool: str = "threads", **variables: str) -> Iterator[Any]:
        command = ["celery", "--app", APP, "worker", f"--pool={pool}", f"--queues={queues}"]
        command += ["--concurrency=2", "--without-mingle", "--without-gossip", "-l", "INFO"]
        environment = {**self.environment, **variables}
        with workers.run_worker(*command, environment=environment, log=self.log) as process:
            yield process


@pytest.fixture(scope="module")
def shop(ministack_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        server = use_emulator(patch, "ministack", ministack_url)
        place = DynamoDBPlace(server)
        queues = make_queues(server)
        folder = tmp_path_factory.mktemp("celery")
        environment = workers.environment_on(
            server,
            CLAIMCHECK_STORE=f"dynamodb://{place.store.table}",
            C_FORCE_ROOT="1",
            TEST_STEPS=str(folder / "steps"),
            **{QUEUES: json.dumps(queues)},
        )
        app = install(make_app(environment), ClaimCheck(place.store))
        yield Shop(server, place, folder, queues, environment, app)
        app.pool.force_close_all()
        app.close()
        place.close()
        server.remove_all()


def make_queues(server: AwsServer) -> dict[str, str]:
    dead, client = server.make_queue(), server.sqs()
    answer = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    client.close()
    policy = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": 1}
    queues = {"dead": dead}
    for name, seconds in VISIBILITY_TIMEOUTS.items():
        attributes = {"VisibilityTimeout": str(seconds), "MaximumMessageSize": "262144"}
        if name in {"rejects", "plain"}:
            attributes["RedrivePolicy"] = json.dumps(policy)
        queues[name] = server.make_queue(**attributes)
    return queues


@pytest.fixture(autouse=True)
def nothing_is_left(shop: Shop, ministack: AwsServer) -> None:
    shop.place.restore([])


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Iterator[None]:
    with shop.worker("tasks,later,rejects"):
        yield


@pytest.fixture(scope="module")
def forking_worker(shop: Shop) -> Iterator[None]:
    with shop.worker("forked", "prefork"):
        yield


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack"])
def test_two_megabytes_arrive_equal_and_leave_a_receipt(shop: Shop, serializer: str) -> None:
    payload = [noise(2_000_000), serializer]
    shop.send("take", payload, serializer=serializer)
    shop.wait_for(payload, "took")
    shop.wait_for_receipts(1)


@pytest.mark.usefixtures("worker")
def test_protocol_1_and_compressed_messages_arrive(shop: Shop) -> None:
    first = install(make_app(shop.environment, task_protocol=1), ClaimCheck(shop.place.store))
    old, packed = noise(LARGE, seed=2), noise(LARGE, seed=3)
    first.send_task("take", [old], queue="tasks")
    first.pool.force_close_all()
    first.close()
    shop.send("take", packed, compression="gzip")
    shop.wait_for(old, "took")
    shop.wait_for(packed, "took")
    shop.wait_for_receipts(2)


@pytest.mark.usefixtures("worker")
def test_a_task_for_later_is_held_until_then(shop: Shop) -> None:
    payload = noise(LARGE, seed=4)
    due = time.monotonic() + 2
    shop.send("take", payload, countdown=2)
    shop.wait_for(payload, "took")
    assert time.monotonic() >= due
    shop.wait_for_receipts(1)


@pytest.mark.usefixtures("worker")
def test_a_task_that_was_revoked_or_is_late_is_dropped_with_its_claim(shop: Shop) -> None:
    payload = noise(LARGE, seed=5)
    shop.send("take", payload, expires=-1)
    shop.wait_for_receipts(1)
    assert shop.steps(payload) == []


@pytest.mark.usefixtures("worker")
def test_chains_and_groups_carry_large_messages_and_results(shop: Shop) -> None:
    first, second = noise(LARGE, seed=6), noise(LARGE, seed=7)
    task = shop.app.signature
    links = [task("grow", [first, "a"]), task("grow", ["b"]), task("take", [])]
    takes = [task("take", [each]) for each in (first, second)]
    chain(*(link.set(queue="tasks") for link in links), app=shop.app).apply_async()
    group([each.set(queue="tasks") for each in takes], app=shop.app).apply_async()
    shop.wait_for(second, "took")
    wait_for(lambda: {*shop.steps(first)} == {"grows", "took"}, "both uses of the first")
    shop.wait_for(first + "a", "grows")
    shop.wait_for(first + "ab", "took")
    shop.wait_for_receipts(5)


@pytest.mark.usefixtures("forking_worker")
def test_each_retry_is_a_message_of_its_own(shop: Shop) -> None:
    """Sent from a process of the pool, whose parent has a connection."""
    payload = noise(LARGE, seed=8)
    shop.send("flaky", payload, queue="forked")
    shop.wait_for(payload, "tries", "tries", "tries")
    shop.wait_for_receipts(3)


@pytest.mark.usefixtures("forking_worker")
def test_a_process_of_the_pool_that_is_killed_gives_its_message_back(
    shop: Shop, tmp_path: Path
) -> None:
    payload, until = noise(LARGE, seed=9), tmp_path / "until"
    shop.send("hang_late", payload, str(until), queue="forked")
    shop.wait_for(payload, "hangs")
    until.touch()
    os.kill(shop.all_steps(payload)[0].process, signal.SIGKILL)
    wait_for(lambda: shop.steps(payload)[-1] == "ends", "a second run")
    shop.wait_for_receipts(1)


@pytest.mark.usefixtures("worker")
def test_without_late_acknowledgement_the_claim_is_done_when_the_task_begins(
    shop: Shop, tmp_path: Path
) -> None:
    """As its message is: Celery deletes that, and a worker that is killed loses the task."""
    payload, until = noise(LARGE, seed=10), tmp_path / "until"
    shop.send("hang", payload, str(until))
    shop.wait_for(payload, "hangs")
    shop.wait_for_receipts(1)
    until.touch()
    shop.wait_for(payload, "hangs", "ends")


def test_a_worker_that_is_killed_leaves_its_message_to_another(shop: Shop, tmp_path: Path) -> None:
    payload, until = noise(LARGE, seed=11), tmp_path / "until"
    shop.send("hang_late", payload, str(until), queue="killed")
    with shop.worker("killed") as process:
        shop.wait_for(payload, "hangs")
        workers.kill(process)
    until.touch()
    with shop.worker("killed"):
        shop.wait_for(payload, "hangs", "hangs", "ends")
        shop.wait_for_receipts(1)


@pytest.mark.usefixtures("worker")
def test_a_task_for_later_than_the_visibility_timeout_runs_once(shop: Shop) -> None:
    """Celery alone has it twice: SQS delivers the message again after 20 s."""
    payload = noise(LARGE, seed=16)
    shop.send("grow", payload, "x", queue="later", countdown=25)
    shop.wait_for(payload, "grows")
    shop.wait_for_receipts(1)
    assert shop.log.read_text().count(f"{shop.last_id}] received") == 1


@pytest.mark.usefixtures("worker")
def test_a_rejected_task_reaches_the_dead_letter_queue_and_keeps_its_claim(shop: Shop) -> None:
    payload = noise(LARGE, seed=12)
    shop.send("refuse", payload, queue="rejects")
    contents = shop.place.left().parts
    shop.wait_for(payload, "refuses")
    wait_for(lambda: shop.place.left() == Left(contents, 0), "a claim that nobody has")
    assert is_sealed(shop.dead_letter())
    assert shop.steps(payload) == ["refuses"]


@pytest.mark.usefixtures("worker")
def test_a_message_that_cannot_be_opened_stops_nobody_and_becomes_a_dead_letter(shop: Shop) -> None:
    lost, after = noise(LARGE, seed=13), noise(LARGE, seed=14)
    astray = install(make_app(shop.environment), ClaimCheck(shop.place.elsewhere))
    astray.send_task("take", [lost], queue="rejects")
    astray.pool.force_close_all()
    astray.close()
    shop.send("take", after, queue="rejects")
    shop.wait_for(after, "took")
    assert is_sealed(shop.dead_letter())
    assert shop.steps(lost) == []
    assert "the sender's store is" in shop.log.read_text()


def test_a_worker_without_the_claim_check_refuses_what_is_sealed(shop: Shop) -> None:
    small, large = "small", noise(LARGE, seed=15)
    shop.send("take", large, queue="plain")
    shop.send("take", small, queue="plain")
    with shop.worker("plain", **{WITHOUT_CLAIM_CHECK: "1"}):
        shop.wait_for(small, "took")
        assert is_sealed(shop.dead_letter())
    assert shop.steps(large) == []
