"""Forked processes that do something at once, none of which can hang a test.

    children = fork(work, count=4)          each has the objects of this process, and calls work(n)
    results = [child.result() for child in children]

A child ends with the call. One that takes too long prints where it stands, and the test fails.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar, cast

import pytest

T = TypeVar("T")

How: TypeAlias = Literal["os.fork", "multiprocessing"]

HOWS: tuple[How, ...] = ("os.fork", "multiprocessing")

CHILD_SECONDS = 40
"""How long a child may take: far more than any does that does not hang."""

FORK = multiprocessing.get_context("fork")

threads_are_there = pytest.mark.filterwarnings(
    # Python 3.12 and newer warn of what these tests are about: the process has other threads.
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)


@dataclass
class Child(Generic[T]):
    """A process that was forked, and the pipe through which it answers."""

    wait: Callable[[], int]
    answers: int

    def result(self) -> T:
        """What the call gave, once the child has ended; what it raised is raised here."""
        ready, _, _ = select.select([self.answers], [], [], 2 * CHILD_SECONDS)
        assert ready, "the child neither answered nor ended"
        with os.fdopen(self.answers, "rb") as answers:
            content = answers.read()
        code = self.wait()
        assert content, f"the child ended with {code} and no answer; stderr says where it was"
        outcome = pickle.loads(content)
        if isinstance(outcome, BaseException):
            raise outcome
        return cast("T", outcome)


def fork(work: Callable[[int], T], *, count: int = 1, how: How = "os.fork") -> list[Child[T]]:
    """Fork processes that call `work` with 1, 2 and so on."""
    return [_fork(how, work, number) for number in range(1, count + 1)]


def all_at_once(work: Callable[[int], T], *, children: int = 4, how: How = "os.fork") -> list[T]:
    """Have this process (number 0) and some that it forks do something at the same time."""
    barrier = FORK.Barrier(children + 1)

    def together(number: int) -> T:
        barrier.wait(CHILD_SECONDS)
        return work(number)

    forked = fork(together, count=children, how=how)
    ours = together(0)
    return [ours, *(child.result() for child in forked)]


def _fork(how: How, work: Callable[[int], T], number: int) -> Child[T]:
    reading, writing = os.pipe()

    def answer() -> None:
        os.close(reading)
        with os.fdopen(writing, "wb") as answers:
            answers.write(pickle.dumps(_outcome(work, number)))

    if how == "multiprocessing":
        process = FORK.Process(target=answer)
        process.start()

        def wait() -> int:
            process.join()
            return process.exitcode or 0
    else:
        pid = os.fork()
        if pid == 0:
            try:
                answer()
            finally:
                os._exit(0)

        def wait() -> int:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    os.close(writing)
    return Child(wait, reading)


def _outcome(work: Callable[[int], object], number: int) -> object:
    # 2, as pytest may have closed or replaced what Python calls stderr.
    faulthandler.dump_traceback_later(CHILD_SECONDS, exit=True, file=2)
    try:
        return work(number)
    except BaseException as error:  # noqa: BLE001  raised again in the parent
        traceback.print_exc()
        return error


def in_first_call(call: Callable[[], object], reached: threading.Event) -> threading.Thread:
    """A thread that is inside a call, as `reached` says."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert reached.wait(CHILD_SECONDS)
    return thread


class SlowClock:
    """A clock that threads wait for until the test says so, other than the main thread.

    Attributes:
        asked: Set when a thread has begun to wait.
        go_on: Ends the waiting.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._clock = clock

    def __call__(self) -> float:
        if threading.current_thread() is not threading.main_thread():
            self.asked.set()
            self.go_on.wait()
        return self._clock()


def fork_while_loading(module: str, call: str) -> None:
    """Have a process fork while a thread makes its first call, and make the same call in the child.

    Args:
        module: What the thread is loading when the process forks.
        call: The call, as code.
    """
    script = [sys.executable, "-W", "ignore", "-c", _LOADING, module, call]
    assert subprocess.run(script, check=False, timeout=2 * CHILD_SECONDS).returncode == 0


_LOADING = f"""
import concurrent.futures.thread, faulthandler, logging, os, sys, threading, time
import claimcheck, letsgo_queue

slow_module, call = sys.argv[1:]
loading, forking = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == slow_module and not loading.is_set():
            loading.set()
            forking.wait()
            time.sleep(0.5)  # a fork that does not wait is over by then

sys.meta_path.insert(0, Slow())
os.register_at_fork(before=forking.set)  # the last to register is the first to be called
thread = threading.Thread(target=exec, args=(call, globals()))
thread.start()
loading.wait()
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later({CHILD_SECONDS}, exit=True)
    exec(call)
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
