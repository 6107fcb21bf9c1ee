"""The threads that sync handlers run on, without a queue."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.threads import PATIENCE_SECONDS, HandlerThreads
from tests.letsgo_queue.support import DEADLINE_SECONDS, PassingTime
from tests.letsgo_queue.worker.support import Busy
from tests.support.waiting import wait_for


@dataclass
class Work:
    """Stands for a message in hand, and for what is done with it."""

    work: Callable[[], object]


def works(*calls: Callable[[], object]) -> list[IncomingMessage]:
    return [cast("IncomingMessage", Work(call)) for call in calls]


def run(message: IncomingMessage) -> None:
    cast("Work", message).work()


@pytest.fixture
def make(parts: Parts, busy: Busy) -> Iterator[Callable[[int], HandlerThreads]]:
    made: list[HandlerThreads] = []

    def make(concurrency: int) -> HandlerThreads:
        made.append(HandlerThreads(concurrency, run, parts))
        return made[-1]

    yield make
    busy.go_on.set()
    for threads in made:
        threads.close()


Make = Callable[[int], HandlerThreads]


def test_starts_no_thread_before_there_is_work(make: Make) -> None:
    before = threading.active_count()

    make(8)

    assert threading.active_count() == before


def test_quick_ones_share_a_thread(make: Make) -> None:
    used: list[int] = []

    make(8).add(works(*[lambda: used.append(threading.get_ident())] * 8), quick=True)

    wait_for(lambda: len(used) == 8, "all of them")
    assert len(set(used)) == 1


def test_one_that_is_busy_keeps_none_that_arrives_from_the_others(make: Make, busy: Busy) -> None:
    threads = make(2)
    threads.add(works(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)

    handled = threading.Event()
    threads.add(works(handled.set))

    assert handled.wait(DEADLINE_SECONDS)


def test_slow_ones_have_a_thread_each(make: Make) -> None:
    together = threading.Barrier(9)

    make(8).add(works(*[together.wait] * 8))

    together.wait(DEADLINE_SECONDS)


def test_others_help_with_quick_ones_that_wait(make: Make, time_passes: PassingTime) -> None:
    threads = make(8)
    together = threading.Barrier(9)
    threads.add(works(*[together.wait] * 8), quick=True)

    help_until(threads, time_passes, lambda: together.n_waiting == 8)
    together.wait(DEADLINE_SECONDS)


def help_until(
    threads: HandlerThreads, time_passes: PassingTime, condition: Callable[[], bool]
) -> None:
    """Help again and again, as a loop does."""

    def helped() -> bool:
        time_passes(PATIENCE_SECONDS)
        threads.help()
        return condition()

    wait_for(helped, "the threads")


def test_never_has_more_threads_than_its_concurrency(make: Make) -> None:
    threads = make(2)
    before = threading.active_count()
    together = threading.Barrier(3)
    threads.add(works(*[together.wait] * 6))

    for _ in range(3):
        together.wait(DEADLINE_SECONDS)

    assert threading.active_count() == before + 2


def test_help_says_when_it_is_needed_next(make: Make, busy: Busy, time_passes: PassingTime) -> None:
    threads = make(2)
    assert threads.help() is None
    threads.add(works(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)
    assert threads.help() is None, "nothing waits"
    other = Busy()
    threads.add(works(other))
    assert other.begun.wait(DEADLINE_SECONDS)

    threads.add(works(lambda: None))

    assert threads.help() is None, "there is no other thread"
    other.go_on.set()


def test_a_message_that_fails_takes_no_thread(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a defect of ours: `Parts` has the thread go on."""
    monkeypatch.setattr("letsgo_queue.worker.parts.FIRST_PAUSE_SECONDS", 0.001)
    handled = threading.Event()

    def fail() -> None:
        raise SystemExit

    make(1).add(works(fail, handled.set))

    assert handled.wait(DEADLINE_SECONDS)


def test_closed_it_begins_nothing_more(make: Make, parts: Parts, busy: Busy) -> None:
    threads = make(1)
    begun: list[int] = []
    threads.add(works(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)
    threads.add(works(lambda: begun.append(1), lambda: begun.append(2)))

    threads.close()
    busy.go_on.set()
    parts.join(DEADLINE_SECONDS)

    assert begun == []


def test_keeps_no_message_that_is_done(make: Make) -> None:
    """A body may be large."""
    threads = make(1)
    [message] = works(lambda: None)
    gone = weakref.ref(message)

    threads.add([message])
    del message

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    wait_for(is_gone, "the message to be forgotten")
