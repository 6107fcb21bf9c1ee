"""Workers that a test runs by hand, on its own thread or its own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from letsgo_queue.durations import Duration
from letsgo_queue.testing.draining import (
    DEFAULT_LIMIT,
    Awaited,
    Drained,
    Draining,
    NotDrained,
    Steps,
)
from letsgo_queue.testing.queues import QueueInTest, Waiting
from letsgo_queue.worker.event_loop import contained
from letsgo_queue.worker.worker import Worker

if TYPE_CHECKING:
    from letsgo_queue.testing.surroundings import Surroundings

__tracebackhide__ = True  # pytest shows the test, and then the handler


class WorkerInTest:
    """Workers whose messages a test has handled when it says so.

    Sync handlers run on the test's own thread: they see what the test has in a transaction, and a
    debugger stops in them. Limits of concurrency, rate and time are not observed.
    """

    def __init__(
        self, workers: Sequence[Worker], surroundings: Surroundings, loop: LoopInTest
    ) -> None:
        """Take the workers; `Sandbox.worker` does.

        Args:
            workers: The workers.
            surroundings: Have the clock.
            loop: Runs async handlers.
        """
        self._workers = workers
        self._surroundings = surroundings
        self._loop = loop

    def drain(self, *, raises: bool = True, limit: int = DEFAULT_LIMIT) -> Drained:
        """Handle all that is due, one after another, on this thread.

        What handlers enqueue is handled too, if it is due. Async handlers run on an event loop on
        this thread, the same one for the whole test; an async test has `adrain`.

        Args:
            raises: Raise what a handler raises first, `Retry` and `Reject` included. Its message
                goes where it would in production, and those behind it stay on the queue. False
                handles all and says in the result what failed; only a failed assertion, and what is
                no `Exception`, is raised all the same.
            limit: How many messages may be handled.

        Returns:
            What became of the messages.

        Raises:
            BaseException: What a handler raised, or why its message could not be opened.
            NotDrained: More than `limit` messages are due, or an event loop runs on this thread
                and the workers have async handlers.
            SettingsInvalid: A handler or a setting is wrong.
        """
        return _drain(self._workers, self._loop, raises=raises, limit=limit)

    async def adrain(self, *, raises: bool = True, limit: int = DEFAULT_LIMIT) -> Drained:
        """`drain` for an async test: async handlers run on the test's own event loop.

        Sync handlers run on this thread as in production: no event loop runs there for them.
        """
        draining = Draining(self._workers, raises=raises, limit=limit)
        await _go_on_this_loop(draining.steps())
        return draining.drained

    def advance(self, seconds: Duration) -> None:
        """Let time pass for all queues and claims of the test; see `Sandbox.advance`."""
        self._surroundings.advance(seconds)

    @property
    def waiting(self) -> list[Waiting]:
        """What is on the workers' queues and not due yet: delayed, or to be tried again."""
        queues = {id(each): each for each in (worker._transport() for worker in self._workers)}
        return [
            waiting
            for queue in queues.values()
            if isinstance(queue, QueueInTest)
            for waiting in queue.waiting()
        ]


def drain(*workers: Worker) -> int:
    """Handle all that is due on the queues of workers, one after another, on this thread.

        enqueue(OrderNew(payload=order))
        assert drain(worker) == 1

    For a test that has a queue already, such as `memory://`. `Sandbox` gives one, and says more.

    Args:
        workers: The workers, which must not run.

    Returns:
        How many messages were handled.

    Raises:
        BaseException: What a handler raised first. Its message is left to the queue's retries, and
            those behind it are not handled.
        NotDrained: Over 1,000 messages are due, or an event loop runs on this thread and a worker
            has async handlers.
    """
    loop = LoopInTest()
    try:
        return len(_drain(workers, loop, raises=True, limit=DEFAULT_LIMIT).handled)
    finally:
        loop.close()


class LoopInTest:
    """An event loop on the thread of the test, made when a handler first needs it."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, awaited: Awaited) -> BaseException | None:
        """Await what a handler returned; what was raised there."""
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        return self._runner.run(contained(awaited.outcome), context=awaited.context)

    def close(self) -> None:
        """Cancel what still runs on it, and close it."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def _drain(workers: Sequence[Worker], loop: LoopInTest, *, raises: bool, limit: int) -> Drained:
    if _loop_runs() and any(each.is_async for worker in workers for each in worker.handlers):
        raise NotDrained(
            "an event loop runs on this thread, and the worker has async handlers: "
            "`await worker.adrain()` runs them on it."
        )
    draining = Draining(workers, raises=raises, limit=limit)
    _go_on_own_loop(draining.steps(), loop)
    return draining.drained


def _go_on_own_loop(steps: Steps, loop: LoopInTest) -> None:
    try:
        awaited = next(steps)
        while True:
            awaited = steps.send(loop.run(awaited))
    except StopIteration:
        return
    finally:
        steps.close()


async def _go_on_this_loop(steps: Steps) -> None:
    error: BaseException | None = None
    try:
        while True:
            with _no_loop_runs():
                awaited = steps.send(error)
            error = await asyncio.create_task(contained(awaited.outcome), context=awaited.context)
    except StopIteration:
        return
    finally:
        steps.close()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def _no_loop_runs() -> Iterator[None]:
    """Have the block find no event loop on this thread.

    In production a sync handler has a thread without one: it may call `asyncio.run`, and Django's
    database. asyncio has these functions for other implementations of loops and tasks.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        asyncio._enter_task(loop, task)
