"""A worker with a part that cannot go on ends: nothing is half alive."""

from __future__ import annotations

import errno
import logging
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from letsgo_queue import Client, IncomingMessage, MessageHandled, Middleware, Steps, Worker
from letsgo_queue.errors import WorkerBroken
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    events_of,
    needs_late_threads,
    order,
    receive,
    running,
)
from tests.support import command
from tests.support.waiting import wait_for


class Limit:
    """Lets no thread of that name start, until it is lifted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.name = name
        self.refused: list[str] = []
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if self.name in thread.name:
                self.refused.append(thread.name)
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


class Opens(Middleware):
    """On a thread of its own, around an async handler."""

    def handle(self, message: IncomingMessage, /) -> Steps:
        yield


def nothing(message: dict[str, object]) -> None: ...


async def nothing_async(message: dict[str, object]) -> None: ...


@pytest.mark.parametrize(
    "part", ["receive", "handler-1", "acknowledge", "heartbeat", "asyncio", "middleware"]
)
def test_a_thread_that_cannot_start_ends_the_worker(
    queue: MemoryTransport,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: str,
) -> None:
    """With an error that says so, and with all in hand given back or acknowledged."""
    before = set(threading.enumerate())
    limit = Limit(monkeypatch, f"letsgo-worker-{part}")
    worker = Worker(queue, middleware=[Opens()] if part == "middleware" else [])
    if part in {"asyncio", "middleware"}:
        worker.default(nothing_async)
    else:
        worker.default(nothing)
    events = events_of(worker)
    Client(queue).enqueue_many([order()] * 5)

    with pytest.raises(WorkerBroken, match=r"the worker cannot go on: .* can't start new thread"):
        worker.run()

    assert limit.refused
    left = receive(queue)
    assert len(left) + len(events) == 5
    assert {type(event) for event in events} <= {MessageHandled}
    assert set(threading.enumerate()) <= before
    assert "its handler still runs" not in caplog.text

    limit.name = "nothing"
    worker.run(burst=True)


def test_the_command_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an exit code that has a supervisor start it again."""
    (tmp_path / "jobs.py").write_text(
        """
import threading
from letsgo_queue import Worker

worker = Worker()

@worker.default
def handle(message: dict[str, object]) -> None: ...

start = threading.Thread.start

def limited(thread: threading.Thread) -> None:
    if "letsgo-worker-handler" in thread.name:
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = limited
"""
    )
    url = f"sqlite:///{tmp_path}/work.db"
    Client(url).enqueue(order())

    monkeypatch.setenv("LETSGO_QUEUE_URL", url)

    done = command.run("letsgo-queue", "worker", "jobs:worker", cwd=tmp_path)

    assert done.returncode != 0
    assert "the worker cannot go on: its thread 'handler-1' cannot be started" in done.stderr
    assert "Traceback" not in done.stderr


@needs_late_threads
def test_goes_on_though_the_main_thread_has_ended(tmp_path: Path) -> None:
    """What pools of Python's own refuse then: to extend, to open, to start an event loop."""
    url = f"sqlite:///{tmp_path}/work.db?visibility_timeout=60"
    client = Client(url)
    for kind in ("sync", "async"):
        client.enqueue({"type": kind, "payload": None})
    program = f"""
import asyncio, threading, time
from letsgo_queue import MessageHandled, Middleware, Worker

ahead, monotonic = 0, time.monotonic
time.monotonic = lambda: monotonic() + ahead

class Waits(Middleware):
    def handle(self, message):
        yield

worker = Worker({url!r}, middleware=[Waits()])
extended = threading.Event()

@worker.handler("sync")
def sync(message: dict[str, object]) -> None:
    extended.wait(20)

@worker.handler("async")
async def asynchronous(message: dict[str, object], delivery) -> None:
    global ahead
    message = delivery._message
    before = message.invisible_until
    ahead = 40  # of the 60 seconds: it is time to extend both
    while message.invisible_until == before:
        await asyncio.sleep(0.01)
    extended.set()

def tell(event):
    if isinstance(event, MessageHandled):
        print(event.type, flush=True)

def run():
    threading.main_thread().join()
    worker.add_listener(tell)
    worker.run(burst=True)

threading.Thread(target=run).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,
        check=True,
    )

    assert sorted(done.stdout.split()) == ["async", "sync"], done.stderr
    assert "shutdown" not in done.stderr


@pytest.mark.parametrize("kind", ["returns", "exits", "raises"])
def test_a_process_that_a_handler_forks_ends_where_the_handler_does(
    tmp_path: Path, kind: str
) -> None:
    """Else it would stay, as a second worker, and settle its parent's message."""
    url = f"sqlite:///{tmp_path}/work.db"
    Client(url).enqueue(order())
    program = f"""
import os, sys, warnings
from letsgo_queue import Worker

warnings.simplefilter("ignore")  # of forks where threads run
worker = Worker({url!r})

@worker.default
def handle(message: dict[str, object]) -> None:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        print("child ended with", os.waitstatus_to_exitcode(status), flush=True)
    elif {kind!r} == "exits":
        sys.exit(7)
    elif {kind!r} == "raises":
        raise ZeroDivisionError

worker.add_listener(lambda event: print(type(event).__name__, flush=True))
worker.run(burst=True)
print("stopped", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,
        check=True,
    )

    code = {"returns": 0, "exits": 7, "raises": 1}[kind]
    begun, *rest = done.stdout.splitlines()
    assert begun == "MessageStarted"
    assert rest == [f"child ended with {code}", "MessageHandled", "stopped"], done.stderr


def test_a_full_disk_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its log cannot be written either."""
    monkeypatch.setattr("letsgo_queue.worker.loop.FIRST_PAUSE_SECONDS", 0.01)
    url = f"sqlite:///{tmp_path}/work.db"
    Client(url).enqueue(order())
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    refusals = iter([full] * 3)

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    class Queue(SqliteTransport):
        def _anything_visible(self) -> bool:
            for refusal in refusals:
                raise refusal
            return super()._anything_visible()

    queue = Queue(url)
    worker = Worker(queue)
    events = events_of(worker)
    worker.default(nothing)
    logger = logging.getLogger("letsgo_queue.worker")
    handler = Full()
    logger.addHandler(handler)
    try:
        with running(worker):
            wait_for(lambda: events, "the message to be handled")
    finally:
        logger.removeHandler(handler)
    queue.close()

    assert isinstance(events[0], MessageHandled)
    assert next(refusals, None) is None
