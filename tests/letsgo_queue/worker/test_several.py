"""Several workers in one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from letsgo_queue import (
    Client,
    Health,
    MessageFailed,
    QueueNotFound,
    RetryPolicy,
    RunOptions,
    SettingsInvalid,
    Worker,
    run_workers,
)
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.several import shares
from tests.letsgo_queue.support import DEADLINE_SECONDS, order, receive
from tests.support.waiting import wait_for


@contextmanager
def at_work(*workers: Worker, **options: Any) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=run_workers, args=workers, kwargs=options)
    thread.start()
    try:
        yield thread
    finally:
        for worker in workers:
            worker.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def test_no_queue_starves_behind_slow_messages() -> None:
    slow, quick = MemoryTransport("memory://slow"), MemoryTransport("memory://quick")
    go_on, handled = threading.Event(), []
    slow_worker, quick_worker = Worker(slow, weight=3), Worker(quick)
    at_once = 0
    slow_worker.default(lambda _: go_on.wait(DEADLINE_SECONDS))
    quick_worker.default(lambda _: handled.append(1))
    Client(slow).enqueue_many([order()] * 20)
    Client(quick).enqueue_many([order()] * 5)

    with at_work(slow_worker, quick_worker, concurrency=8):
        wait_for(lambda: len(handled) == 5, "the quick messages")
        at_once = sum(stored.receive_count for stored in slow._messages.values())
        go_on.set()

    assert at_once == 6  # 3 of 4 parts of 8


def test_each_worker_keeps_its_own_settings_but_for_those_of_the_run() -> None:
    class Asked(MemoryTransport):
        def receive(self, **asked: Any) -> Any:
            visibility[self.url].add(asked["visibility_timeout"])
            return super().receive(**asked)

    visibility: dict[str, set[int]] = {"memory://1": set(), "memory://2": set()}
    delays: dict[str, int | None] = {}
    workers = []
    for number, url in enumerate(visibility, 1):
        policy = RetryPolicy(base=100 * number, jitter=0)
        worker = Worker(Asked(url), visibility_timeout=10 * number, retry_policy=policy)
        worker.default(fail)
        worker.add_listener(
            lambda event: (
                delays.update({event.queue: event.retry_delay})
                if isinstance(event, MessageFailed)
                else None
            )
        )
        Client(worker._transport()).enqueue(order())
        workers.append(worker)

    run_workers(*workers, burst=True)
    assert visibility == {"memory://1": {10}, "memory://2": {20}}
    assert delays == {"memory://1": 100, "memory://2": 200}

    run_workers(*workers, burst=True, visibility_timeout=77)
    assert visibility == {"memory://1": {10, 77}, "memory://2": {20, 77}}


def fail(message: dict[str, Any]) -> None:
    raise RuntimeError


def test_options_of_the_run_count_for_each_worker() -> None:
    class Asked(MemoryTransport):
        def receive(self, **asked: Any) -> Any:
            waits.add(asked["wait_seconds"])
            counts.add(asked["max_messages"])
            return super().receive(**asked)

    waits: set[float] = set()
    counts: set[int] = set()
    options: RunOptions = {"wait_seconds": 0, "prefetch": 0, "max_opened_bytes": 1_000_000}
    workers = [Worker(Asked(f"memory://{number}")) for number in range(2)]
    for worker in workers:
        worker.default(lambda _: None)
        Client(worker._transport()).enqueue_many([order()] * 5)

    run_workers(*workers, burst=True, concurrency=2, **options)

    assert waits == {0}
    assert counts == {1}  # no more than there are free slots
    with pytest.raises(SettingsInvalid, match="max_opened_bytes=0"):
        run_workers(*workers, burst=True, max_opened_bytes=0)


def test_one_that_cannot_go_on_stops_the_others() -> None:
    class Missing(MemoryTransport):
        def receive(self, **_: Any) -> Any:
            raise QueueNotFound("the queue is gone")

    idle = Worker(MemoryTransport())
    idle.default(lambda _: None)
    with pytest.raises(QueueNotFound, match="the queue is gone"):
        run_workers(idle, Worker(Missing()))


def test_burst_ends_when_every_queue_is_empty() -> None:
    queues = [MemoryTransport(f"memory://{number}") for number in range(3)]
    workers = [Worker(queue) for queue in queues]
    for worker, queue in zip(workers, queues, strict=True):
        worker.default(lambda _: None)
        Client(queue).enqueue_many([order()] * 5)

    run_workers(*workers, burst=True, concurrency=3)

    assert [receive(queue) for queue in queues] == [[], [], []]


def test_health_is_that_of_all_workers(tmp_path: Any) -> None:
    file = tmp_path / "alive"
    workers = [Worker(MemoryTransport()), Worker(MemoryTransport())]
    with at_work(*workers, health=Health(file=file)):
        wait_for(file.exists, "the file")


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        (None, [1, 2], [None, None]),
        (10, [1], [10]),
        (8, [3, 1], [6, 2]),
        (10, [1, 1, 1], [4, 3, 3]),
        (4, [100, 1, 1], [2, 1, 1]),
        (2, [1, 100], [1, 1]),
        (100, [1, 1, 2], [25, 25, 50]),
    ],
)
def test_slots_are_shared_by_weight(
    total: int | None, weights: list[int], expected: list[int | None]
) -> None:
    assert list(shares(total, weights)) == expected


def test_what_cannot_be_shared_is_refused() -> None:
    worker, other = Worker(MemoryTransport()), Worker(MemoryTransport())
    with pytest.raises(SettingsInvalid, match="concurrency=1: 2 workers that share it"):
        run_workers(worker, other, concurrency=1)
    with pytest.raises(SettingsInvalid, match="each worker once"):
        run_workers(worker, worker)
    with pytest.raises(SettingsInvalid, match="at least one worker"):
        run_workers()
    with pytest.raises(SettingsInvalid, match="weight=0"):
        Worker(weight=0)
