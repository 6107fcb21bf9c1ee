"""Handlers that run longer than the visibility timeout."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from letsgo_queue import Client, Delivery, Worker

TIMEOUT = 3
LONG = 5 * TIMEOUT


def run_until(worker: Worker, done: threading.Event) -> threading.Thread:
    """Run a worker on a thread, and stop it once `done` is set."""
    thread = threading.Thread(target=worker.run)
    thread.start()

    def stop() -> None:
        done.wait(30)
        worker.stop()

    threading.Thread(target=stop).start()
    return thread


@pytest.fixture
def queue(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'work.db'}?visibility_timeout={TIMEOUT}"


def test_a_handler_five_times_longer_runs_once(queue: str) -> None:
    Client(queue).enqueue({"type": "slow", "payload": None})
    runs: list[int] = []
    done = threading.Event()
    threads = []
    for _ in range(2):
        worker = Worker(queue, client=Client())

        @worker.handler("slow")
        def slow(message: dict[str, object], delivery: Delivery) -> None:
            runs.append(delivery.receive_count)
            time.sleep(LONG)
            done.set()

        threads.append(run_until(worker, done))
    for thread in threads:
        thread.join()

    assert runs == [1]


def test_what_follows_slowly_makes_no_other_message_wait(queue: str) -> None:
    client = Client(queue)
    client.enqueue({"type": "follows slowly", "payload": None})
    client.enqueue({"type": "slow", "payload": None})
    runs: list[int] = []
    done = threading.Event()
    worker = Worker(queue, client=client)

    def slowly(_until: float) -> None:
        done.wait(30)

    @worker.handler("follows slowly")
    def follows_slowly(message: dict[str, object], delivery: Delivery) -> None:
        delivery.visibility.follow(slowly)
        done.wait(30)

    @worker.handler("slow")
    def slow(message: dict[str, object], delivery: Delivery) -> None:
        runs.append(delivery.receive_count)
        time.sleep(LONG)
        done.set()

    run_until(worker, done).join()

    assert runs == [1]


def test_a_message_that_is_gone_is_logged_and_its_handler_finishes(
    queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(queue)
    client.enqueue({"type": "slow", "payload": None})
    done = threading.Event()
    worker = Worker(queue, client=client)

    @worker.handler("slow")
    def slow(message: dict[str, object], delivery: Delivery) -> None:
        client.transport(queue).delete(delivery.received)
        deadline = time.monotonic() + 20
        while "could not be kept invisible" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        done.set()

    with caplog.at_level(logging.WARNING):
        run_until(worker, done).join()

    assert done.is_set()
    assert "failed" not in caplog.text
