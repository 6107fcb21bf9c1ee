"""A handler that takes too long is ended, and its message fails for that."""

from __future__ import annotations

import asyncio
import functools
import importlib
import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from claimcheck.stores.removals import THREADS, Removals
from letsgo_queue import (
    Client,
    HandlerTimedOut,
    MessageFailed,
    MessageHandled,
    RetryPolicy,
    Worker,
    default_client,
)
from letsgo_queue.daemon_threads import DaemonThreads
from letsgo_queue.forking import forks_wait
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import TO_END_SECONDS, IncomingMessage
from letsgo_queue.worker.time_limits import TimeLimits
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    SECRET,
    PassingTime,
    events_of,
    failure,
    incoming,
    order,
    outgoing,
)
from tests.support.waiting import wait_for

LIMIT = 0.2


def send(queue: MemoryTransport, count: int = 1) -> None:
    Client(queue).enqueue_many([order(secret=SECRET)] * count)


def spin() -> None:
    """Be at work in Python, where an exception can be raised at any time."""
    deadline = time.perf_counter() + DEADLINE_SECONDS
    while time.perf_counter() < deadline:
        pass
    pytest.fail("nobody ended it")


def count_to(number: int) -> None:
    for _ in range(number):
        pass


def limited(seconds: float) -> IncomingMessage:
    """A message whose handler may run so long."""
    message = incoming('{"type":"order:new","payload":null}')
    worker = Worker(MemoryTransport())
    worker.handler("order:new", timeout=seconds)(lambda _message: None)
    message.handler = worker._registry.find("m-1", "order:new")
    return message


@contextmanager
def tending(limits: TimeLimits, *, pause: float = 0) -> Iterator[None]:
    """Interrupt handlers whose time is up, on a thread of its own."""
    over = threading.Event()

    def tend() -> None:
        while not over.wait(pause):
            limits.tend()

    thread = threading.Thread(target=tend)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def plainly(handler: Callable[..., object]) -> Callable[..., object]:
    """A decorator that knows nothing of async functions."""

    @functools.wraps(handler)
    def call(*arguments: object) -> object:
        return handler(*arguments)

    return call


@pytest.mark.parametrize("kind", ["sync", "async", "decorated"])
def test_it_is_ended_and_its_message_fails(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    worker = Worker(queue, concurrency=1, retry_policy=RetryPolicy(base=600, cap=600))
    events = events_of(worker)
    cleaned_up: list[bool] = []

    def slow(message: dict[str, Any]) -> None:
        try:
            spin()
        finally:
            cleaned_up.append(True)

    async def slow_async(message: dict[str, Any]) -> None:
        try:
            await asyncio.sleep(2 * DEADLINE_SECONDS)
        finally:
            cleaned_up.append(True)

    handlers = {"sync": slow, "async": slow_async, "decorated": plainly(slow_async)}
    worker.handler("order:new", timeout=LIMIT)(handlers[kind])
    send(queue)
    worker.run(burst=True)

    error = failure(events)
    assert isinstance(error, HandlerTimedOut)
    assert "of type 'order:new': its handler was ended after 0.2 s" in str(error)
    assert isinstance(events[0], MessageFailed)
    assert events[0].retry_delay is not None
    assert cleaned_up == [True]
    assert "in slow" in caplog.text, "where it was"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_next_message_is_handled(queue: MemoryTransport, kind: str) -> None:
    """On the same thread, which nothing is raised in any more."""
    worker = Worker(queue, concurrency=1)
    events = events_of(worker)
    runs: list[int] = []

    def first_is_slow(message: dict[str, Any]) -> None:
        runs.append(threading.get_ident())
        if len(runs) == 1:
            spin()

    async def first_is_slow_async(message: dict[str, Any]) -> None:
        runs.append(threading.get_ident())
        if len(runs) == 1:
            await asyncio.sleep(2 * DEADLINE_SECONDS)

    handler = first_is_slow if kind == "sync" else first_is_slow_async
    worker.handler("order:new", timeout=LIMIT)(handler)
    send(queue, 3)
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageFailed, MessageHandled, MessageHandled]
    assert len(set(runs)) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_that_is_quick_enough_succeeds(queue: MemoryTransport, kind: str) -> None:
    worker = Worker(queue)
    events = events_of(worker)

    def quick(message: dict[str, Any]) -> None: ...

    async def quick_async(message: dict[str, Any]) -> None: ...

    worker.handler("order:new", timeout=60)(quick if kind == "sync" else quick_async)
    send(queue, 20)
    worker.run(burst=True)

    assert {type(event) for event in events} == {MessageHandled}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_of_its_own_stays_its_own(queue: MemoryTransport, kind: str) -> None:
    """`TimeoutError` too: that is how asyncio tells of its own limits."""
    worker = Worker(queue)
    events = events_of(worker)

    def fail(message: dict[str, Any]) -> None:
        raise TimeoutError

    async def fail_async(message: dict[str, Any]) -> None:
        raise TimeoutError

    worker.handler("order:new", timeout=60)(fail if kind == "sync" else fail_async)
    send(queue)
    worker.run(burst=True)

    assert isinstance(failure(events), TimeoutError)


def test_what_it_raises_instead_is_the_cause(queue: MemoryTransport) -> None:
    worker = Worker(queue)
    events = events_of(worker)

    @worker.handler("order:new", timeout=LIMIT)
    def slow(message: dict[str, Any]) -> None:
        try:
            spin()
        except BaseException:  # noqa: BLE001  as a handler may
            raise ZeroDivisionError from None

    send(queue)
    worker.run(burst=True)

    error = failure(events)
    assert isinstance(error, HandlerTimedOut)
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_one_that_waits_in_c_is_not_well(queue: MemoryTransport, time_passes: PassingTime) -> None:
    """Nothing can interrupt it; a health check tells."""
    worker = Worker(queue, visibility_timeout=3600)
    events = events_of(worker)
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("order:new", timeout=600)
    def wait(message: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(2 * DEADLINE_SECONDS)

    loop = worker._loop(burst=False, concurrency=None, given={})
    thread = threading.Thread(target=loop.run)
    send(queue)
    thread.start()
    try:
        assert begun.wait(DEADLINE_SECONDS)
        assert loop.state().over_time == []
        time_passes(600 + TO_END_SECONDS + 1)
        wait_for(lambda: loop.state().over_time, "it to be over its time")
        wait_for(lambda: not loop._executors._time_limits._running, "it to be told")
    finally:
        go_on.set()
        worker.stop()
        thread.join()

    assert isinstance(failure(events), HandlerTimedOut), "it is ended as soon as that is possible"


def test_an_interruption_never_comes_late() -> None:
    """Whenever a handler ends: its thread goes on to other work."""
    limits = TimeLimits()
    message = limited(0.0001)
    ended = timed_out = 0
    with tending(limits):
        for number in range(3000):
            try:
                limits.call(message, partial(count_to, number % 1500))
            except HandlerTimedOut:
                timed_out += 1
            else:
                ended += 1

    assert ended + timed_out == 3000
    assert timed_out > 0
    assert limits._running == set()


def forks_made_to_wait() -> Callable[[], object]:
    def use() -> None:
        with forks_wait():
            pass

    return use


def send_in_memory() -> Callable[[], object]:
    transport = MemoryTransport()
    return lambda: transport.send(outgoing())


def write_a_log() -> Callable[[], object]:
    logger = logging.getLogger("test_an_interruption")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    return lambda: logger.warning("at work")


def notify_others() -> Callable[[], object]:
    changed = threading.Condition()

    def use() -> None:
        with changed:
            changed.notify_all()

    return use


def enter_a_generator() -> Callable[[], object]:
    lock = threading.RLock()

    @contextmanager
    def locked() -> Iterator[None]:
        with lock:
            yield

    # One that nobody leaves has its lock until it is collected as garbage.
    entered: list[object] = []

    def use() -> None:
        entered.append(manager := locked())
        with manager:
            pass
        entered.pop()

    return use


def call_on_a_thread() -> Callable[[], object]:
    threads = DaemonThreads(1, "test")
    threads.submit(lambda: None)
    return lambda: threads.submit(lambda: None)


def remove_contents() -> Callable[[], object]:
    removals = Removals()
    # Python 3.11 may interrupt, in place of the handler, a thread that the handler starts.
    all_run = threading.Barrier(THREADS + 1)
    for _ in range(THREADS):
        removals.add("claim", all_run.wait)
    all_run.wait(DEADLINE_SECONDS)
    return lambda: removals.add("claim", lambda: None)


# A callback of the garbage collection may get the exception, and swallow it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: default_client, id="the default client"),
        pytest.param(lambda: Client("memory://").transport, id="a client's queue"),
        pytest.param(forks_made_to_wait, id="forks wait"),
        send_in_memory,
        write_a_log,
        notify_others,
        enter_a_generator,
        call_on_a_thread,
        remove_contents,
    ],
)
def test_an_interruption_leaves_no_lock_held(make: Callable[[], Callable[[], object]]) -> None:
    """Wherever it comes: another thread can go on."""
    use = make()

    def use_for_a_while() -> None:
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            use()

    limits = TimeLimits()
    message = limited(0.002)
    timed_out = 0
    with tending(limits, pause=0.001):
        for _ in range(100):
            try:
                limits.call(message, use_for_a_while)
            except HandlerTimedOut:
                timed_out += 1

    assert timed_out > 0
    after = threading.Thread(target=use, daemon=True)
    after.start()
    after.join(DEADLINE_SECONDS)
    assert not after.is_alive(), "a lock is held for good"


def test_an_interruption_leaves_no_import_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers that wait for a module are ended once it is loaded."""
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(time, "_test_begun", begun, raising=False)
    monkeypatch.setattr(time, "_test_go_on", go_on, raising=False)
    (tmp_path / "slow_to_load.py").write_text(
        "import time\ntime._test_begun.set()\ntime._test_go_on.wait()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_load", raising=False)
    limits = TimeLimits()

    def load() -> None:
        importlib.import_module("slow_to_load")

    def load_within(seconds: float) -> None:
        with suppress(HandlerTimedOut):
            limits.call(limited(seconds), load)

    threads = [
        threading.Thread(target=load_within, args=(seconds,), daemon=True)
        for seconds in (2 * DEADLINE_SECONDS, 0.001, 0.001, 0.001)
    ]
    threads[0].start()
    assert begun.wait(DEADLINE_SECONDS)
    for each in threads[1:]:
        each.start()
    wait_for(lambda: len(limits._running) == len(threads), "all to run")
    wait_for(lambda: all(map(is_importing, threads[1:])), "the others to wait for the module")
    ends = sorted(each.ends for each in limits._running)
    wait_for(lambda: time.monotonic() > ends[-2], "the time of the others to be up")
    limits.tend()
    go_on.set()
    with tending(limits, pause=0.001):
        for each in threads:
            each.join(DEADLINE_SECONDS)
            assert not each.is_alive(), "it waits for good"


def is_importing(thread: threading.Thread) -> bool:
    frame = sys._current_frames()[thread.ident or 0]
    return bool(frame.f_globals["__name__"] == "importlib._bootstrap")
