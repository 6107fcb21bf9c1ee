"""The event loop of async handlers: one loop on one thread, and nothing left of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

import pytest

from letsgo_queue.worker.event_loop import EventLoopThread
from tests.letsgo_queue.support import DEADLINE_SECONDS
from tests.support.waiting import wait_for

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture
def event_loop() -> Iterator[EventLoopThread]:
    event_loop = EventLoopThread()
    yield event_loop
    event_loop.stop()


def test_all_run_at_once_on_one_loop_and_one_thread(event_loop: EventLoopThread) -> None:
    """Each waits for the others, on threads of their own."""
    together = asyncio.Barrier(4)
    seen: list[tuple[threading.Thread, asyncio.AbstractEventLoop]] = []

    async def handle() -> None:
        await asyncio.wait_for(together.wait(), DEADLINE_SECONDS)
        seen.append((threading.current_thread(), asyncio.get_running_loop()))

    threads = [threading.Thread(target=event_loop.run, args=(handle(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert threading.current_thread() not in seen[0]


def test_has_the_context_of_its_caller(event_loop: EventLoopThread) -> None:
    seen: list[str] = []

    async def handle() -> None:
        seen.append(tenant.get())
        tenant.set("its own")

    token = tenant.set("t-1")
    event_loop.run(handle())
    assert tenant.get() == "t-1"
    tenant.reset(token)
    event_loop.run(handle())

    assert seen == ["t-1", "nobody"]


@pytest.mark.parametrize(
    "error",
    [ValueError("it went wrong"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_raises_what_a_handler_raises_and_goes_on(
    event_loop: EventLoopThread, error: BaseException
) -> None:
    done: list[None] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    async def succeed() -> None:
        done.append(None)

    with pytest.raises(type(error)) as raised:
        event_loop.run(fail())
    event_loop.run(succeed())

    assert raised.value is error
    assert done == [None]


def test_a_task_that_nobody_awaits_cannot_end_the_loop(
    event_loop: EventLoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio ends a loop for SystemExit, and all that runs on it would wait for ever."""
    background: list[asyncio.Task[None]] = []
    done: list[None] = []

    async def end_the_program() -> None:
        raise SystemExit(3)

    async def handle() -> None:
        background.append(asyncio.create_task(end_the_program()))
        await asyncio.wait(background)
        done.append(None)

    event_loop.run(handle())
    event_loop.run(handle())

    assert len(done) == 2
    assert "a task of an async handler tried to end the worker" in caplog.text
    assert isinstance(background[0].exception(), SystemExit)
    assert isinstance(background[1].exception(), SystemExit)


def test_stop_cancels_what_runs_and_closes_all(event_loop: EventLoopThread) -> None:
    before = threading.active_count()
    loops: list[asyncio.AbstractEventLoop] = []
    steps: list[str] = []
    raised: list[BaseException] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            steps.append("generator closed")

    generator = numbers()

    async def handle() -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.to_thread(steps.append, "on another thread")
        await anext(generator)
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("cancelled")

    def run() -> None:
        try:
            event_loop.run(handle())
        except BaseException as error:  # noqa: BLE001  looked at below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: "on another thread" in steps, "the handler")
    event_loop.stop()
    thread.join()

    assert [type(error) for error in raised] == [asyncio.CancelledError]
    assert sorted(steps) == ["cancelled", "generator closed", "on another thread"]
    assert loops[0].is_closed()
    assert threading.active_count() == before, "a thread is left"


def test_starts_again_after_it_was_stopped(event_loop: EventLoopThread) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def handle() -> None:
        loops.append(asyncio.get_running_loop())

    event_loop.run(handle())
    event_loop.stop()
    event_loop.stop()
    event_loop.run(handle())

    first, second = loops
    assert first.is_closed()
    assert not second.is_closed()


def test_starts_no_thread_before_a_handler_needs_it() -> None:
    before = threading.active_count()

    EventLoopThread().stop()

    assert threading.active_count() == before
