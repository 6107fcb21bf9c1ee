"""`manage.py letsgo_worker` in processes, on SQS and DynamoDB, killed and stopped."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from claimcheck.integrations.django.tasks_api import task_backends
from letsgo_queue.admin import open_admin
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.integrations import workers
from tests.claimcheck.integrations.django import tasks
from tests.claimcheck.integrations.django.conftest import SETTINGS, Configure
from tests.claimcheck.places import DynamoDBPlace
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

LARGE = 2_000_000
"""Bytes of text that no queue takes, not even compressed."""


@dataclass
class Shop:
    """A project with a queue and a store, and what its workers did."""

    server: AwsServer
    place: DynamoDBPlace
    queue: str
    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def options(self) -> dict[str, object]:
        return {"urls": {"default": self.queue, "mail": "sqlite:///mail.db"}, "store": self.store}

    @property
    def store(self) -> str:
        return f"dynamodb://{self.place.store.table}"

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        environment = workers.environment_on(
            self.server,
            DJANGO_SETTINGS_MODULE=SETTINGS,
            SHOP_OPTIONS=json.dumps(self.options),
            SHOP_JOURNAL=str(self.journal),
            SHOP_DATABASE=str(self.folder / "shop.db"),
        )
        command = ["django", "letsgo_worker", "--queue", "default", *arguments]
        with workers.run_worker(*command, environment=environment, log=self.log) as process:
            yield process

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def is_empty(self) -> bool:
        status = open_admin(self.queue, QueueSettings()).status()
        return (status.waiting, status.in_flight) == (0, 0)


@pytest.fixture
def shop(ministack: AwsServer, tmp_path: Path, configure: Configure) -> Iterator[Shop]:
    place = DynamoDBPlace(ministack)
    queue = ministack.make_queue(VisibilityTimeout="10")
    shop = Shop(ministack, place, queue, tmp_path)
    configure(**shop.options)
    yield shop
    backend = task_backends["default"]
    for client in backend._clients.values():
        client.close()
    place.close()


def digest_of(text: str) -> str:
    return f"digest {hashlib.sha256(text.encode()).hexdigest()} {len(text)}"


def test_a_worker_is_killed_in_a_large_task_and_the_next_one_runs_it(shop: Shop) -> None:
    text = noise(LARGE)
    tasks.die_once.enqueue(text)
    with shop.worker() as first:
        assert first.wait(60) == 9

    with shop.worker() as second:
        wait_for(lambda: shop.lines()[1:] == [digest_of(text)], "the task")
        wait_for(shop.is_empty, "the acknowledgement")
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0

    assert shop.lines() == ["dies", digest_of(text)]
    assert shop.place.left() == (0, 1)  # nothing but the receipt


def test_processes_threads_and_the_event_loop(shop: Shop) -> None:
    texts = [noise(LARGE)] * 2 + ["small"]
    for text in texts:
        tasks.digest.enqueue(text)
    for number in range(3):
        tasks.on_the_loop.enqueue(str(number))
        tasks.connection_age.enqueue()
    tasks.give_on_the_loop.enqueue()

    with shop.worker("--processes", "2") as fleet:
        wait_for(lambda: len(shop.lines()) == 10, "all tasks")
        wait_for(shop.is_empty, "the acknowledgements")
        fleet.send_signal(signal.SIGTERM)
        assert fleet.wait(60) == 0

    lines = shop.lines()
    assert sorted(each for each in lines if each.startswith("digest")) == sorted(
        digest_of(text) for text in texts
    )
    assert {f"letsgo-worker-asyncio {number}" for number in range(3)} < {*lines}
    assert lines.count("gave a date") == 1  # what is no JSON does not bring the task back
    assert lines.count("open False") == 3  # each task's connection was closed after it
    assert shop.place.left().parts == 0


def test_a_worker_that_reloads_runs_tasks_and_stops(shop: Shop) -> None:
    tasks.digest.enqueue("small")

    with shop.worker("--reload") as worker:
        wait_for(lambda: shop.lines() == [digest_of("small")], "the task")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
