"""`DaemonThreads`: a pool that no end of a program waits for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from letsgo_queue import daemon_threads
from letsgo_queue.daemon_threads import DaemonThreads
from tests.letsgo_queue.support import DEADLINE_SECONDS
from tests.support.waiting import wait_for

NAME = "daemons-of-the-test"


@pytest.fixture
def pool() -> Iterator[DaemonThreads]:
    with closing(DaemonThreads(2, NAME)) as pool:
        yield pool


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == NAME]


def cannot_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_calls_are_made_on_as_many_threads_as_they_need(pool: DaemonThreads) -> None:
    together = threading.Barrier(2, timeout=DEADLINE_SECONDS)
    made: list[threading.Thread] = []

    def meet() -> None:
        together.wait()
        made.append(threading.current_thread())

    for _ in range(10):
        pool.submit(meet)
    pool.close()

    assert len(made) == 10
    assert len(set(made)) == 2
    assert not threads()


def test_a_thread_that_is_idle_makes_the_next_call(pool: DaemonThreads) -> None:
    made: list[threading.Thread] = []
    for _ in range(3):
        before = len(made)
        pool.submit(lambda: made.append(threading.current_thread()))
        wait_for(lambda: len(made) > before and pool._idle == 1, "the call")  # noqa: B023

    assert len(set(made)) == 1


def test_a_thread_that_is_idle_for_long_ends(
    pool: DaemonThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_threads, "IDLE_SECONDS", 0.01)
    made = threading.Event()

    for _ in range(2):
        pool.submit(made.set)
        assert made.wait(DEADLINE_SECONDS)
        made.clear()
        wait_for(lambda: not threads(), "it to end")


def test_a_pool_that_is_closed_takes_no_call(pool: DaemonThreads) -> None:
    pool.close()

    with pytest.raises(RuntimeError, match="have ended"):
        pool.submit(lambda: pytest.fail("it was made"))


class TestNoMoreThreads:
    def test_a_call_is_refused_and_not_made(
        self, pool: DaemonThreads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", cannot_start)
            with pytest.raises(RuntimeError, match=NAME):
                pool.submit(lambda: pytest.fail("it was made"))

        made = threading.Event()
        pool.submit(made.set)
        assert made.wait(DEADLINE_SECONDS)

    def test_one_that_is_busy_makes_it_later(
        self, pool: DaemonThreads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on, made = threading.Event(), threading.Event(), threading.Event()

        def keep() -> None:
            begun.set()
            go_on.wait()

        pool.submit(keep)
        assert begun.wait(DEADLINE_SECONDS)
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", cannot_start)
            pool.submit(made.set)
        go_on.set()

        assert made.wait(DEADLINE_SECONDS)


def test_a_program_ends_while_a_call_hangs() -> None:
    program = (
        "import threading\n"
        "from letsgo_queue.daemon_threads import DaemonThreads\n"
        "begun = threading.Event()\n"
        "def hang():\n"
        "    begun.set()\n"
        "    threading.Event().wait()\n"
        "DaemonThreads(1, 'hangs').submit(hang)\n"
        "begun.wait()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == 0
