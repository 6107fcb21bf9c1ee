"""The threads that handlers run on, without a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest

from letsgo_queue.worker.processing import Accepted
from letsgo_queue.worker.threads import STINT_SECONDS, HandlerThreads
from tests.letsgo_queue.support import wait_for

DEADLINE_SECONDS = 20


@dataclass
class Work:
    """Stands for a message in hand."""

    work: Callable[[], object]
    message_id: str = "m-1"

    def run(self) -> None:
        self.work()


def accepted(*works: Callable[[], object]) -> list[Accepted]:
    return [cast("Accepted", Work(work)) for work in works]


class Busy:
    """A handler that is at work until it is told to end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.go_on.wait(10 * DEADLINE_SECONDS)


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.go_on.set()


def used_to_quick_ones(concurrency: int) -> HandlerThreads:
    threads = HandlerThreads(concurrency, lambda: None)
    done: list[None] = []
    for n in range(1, 51):
        threads.add(accepted(lambda: done.append(None)))
        wait_for(partial(lambda n: len(done) == n, n), "a quick one")
    return threads


def test_slow_ones_have_a_thread_each() -> None:
    threads = HandlerThreads(8, lambda: None)
    together = threading.Barrier(9)

    threads.add(accepted(*[together.wait] * 8))

    together.wait(DEADLINE_SECONDS)


def test_quick_ones_share_a_thread() -> None:
    threads = used_to_quick_ones(8)
    used: list[int] = []

    def use() -> None:
        time.sleep(0.001)  # others would come in between
        used.append(threading.get_ident())

    threads.add(accepted(*[use] * 8))

    wait_for(lambda: len(used) == 8, "all of them")
    assert len(set(used)) <= 4


def test_one_that_is_busy_keeps_nothing_that_arrives_from_the_others(busy: Busy) -> None:
    threads = used_to_quick_ones(2)
    threads.add(accepted(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)
    time.sleep(2 * STINT_SECONDS)

    handled = threading.Event()
    threads.add(accepted(handled.set))

    assert handled.wait(DEADLINE_SECONDS)


def test_help_has_others_take_what_waits_behind_one_that_is_busy(busy: Busy) -> None:
    threads = used_to_quick_ones(2)
    handled = threading.Event()
    threads.add(accepted(busy, handled.set))
    assert busy.begun.wait(DEADLINE_SECONDS)

    wait_for(lambda: not threads.help(), "nothing to wait")

    assert handled.wait(DEADLINE_SECONDS)


def test_close_gives_what_was_not_begun(busy: Busy) -> None:
    threads = used_to_quick_ones(1)
    begun: list[int] = []
    rest = accepted(lambda: begun.append(1), lambda: begun.append(2))
    threads.add(accepted(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)
    threads.add(rest)

    threads.drain(0.05)
    assert threads.close() == rest

    busy.go_on.set()
    threads.join()
    assert begun == []


def test_one_that_takes_long_says_less_than_ten() -> None:
    threads = HandlerThreads(1, lambda: None)
    threads.seconds_each = 0.0001
    done: list[None] = []

    def slow() -> None:
        time.sleep(0.02)
        done.append(None)

    threads.add(accepted(slow, lambda: done.append(None)))
    wait_for(lambda: len(done) == 2, "both")
    assert threads.seconds_each < 0.001

    threads.add(accepted(*[slow] * 10))
    wait_for(lambda: len(done) == 12, "all")
    assert threads.seconds_each > 0.005


def test_without_sharing_each_has_a_thread() -> None:
    threads = HandlerThreads(8, lambda: None, share=False)
    threads.seconds_each = 0.0
    together = threading.Barrier(9)

    threads.add(accepted(*[together.wait] * 8))

    together.wait(DEADLINE_SECONDS)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_defect_takes_no_thread(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    done: list[None] = []
    threads = HandlerThreads(1, lambda: done.append(None))

    def fail() -> None:
        raise error

    threads.add(accepted(fail, lambda: None))

    wait_for(lambda: len(done) == 2, "both to be done with")
    assert "message m-1 is left to its queue" in caplog.text
    assert threads.close() == []
    threads.join()
