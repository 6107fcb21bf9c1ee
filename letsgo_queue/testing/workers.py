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
    """Workers whose messages are handled when the test calls `drain`.

    Sync handlers run on the test's own thread: they see the test's database transaction, and a
    debugger stops in them. Limits of concurrency, rate and time are ignored.
    """

    def __init__(
        self, workers: Sequence[Worker], surroundings: Surroundings, loop: LoopInTest
    ) -> None:
        """Wrap workers. A test calls `Sandbox.worker` for this.

        Args:
            workers: The workers.
            surroundings: Have the clock.
            loop: Runs async handlers.
        """
        self._workers = workers
        self._surroundings = surroundings
        self._loop = loop

    def drain(self, *, raises: bool = True, limit: int = DEFAULT_LIMIT) -> Drained:
        """Handle all messages that are due, one after another, on this thread.

        Messages that handlers enqueue are handled as well, if they are due. Async handlers run on
        an event loop on this thread, the same for the whole test. An async test has `adrain`.

        Args:
            raises: Raise the first error of a handler, also `Retry` and `Reject`. Its message goes
                where it would in production, and the messages behind it stay on the queue. False
                handles all, and returns what failed; only failed assertions, and errors that are no
                `Exception`, are still raised.
            limit: How many messages may be handled.

        Returns:
            The outcome of each message.

        Raises:
            BaseException: The error of a handler, or why its message could not be opened.
            NotDrained: More than `limit` messages are due, or an event loop runs on this thread
                and the workers have async handlers.
            SettingsInvalid: A handler or a setting is wrong.
        """
        return _drain(self._workers, self._loop, raises=raises, limit=limit)

    async def adrain(self, *, raises: bool = True, limit: int = DEFAULT_LIMIT) -> Drained:
        """`drain` for an async test: async handlers run on the test's own event loop.

        Sync handlers run on this thread, and see no running event loop, as in production.
        """
        draining = Draining(self._workers, raises=raises, limit=limit)
        await _go_on_this_loop(draining.steps())
        return draining.drained

    def advance(self, seconds: Duration) -> None:
        """Let time pass for all queues and claims of the test; see `Sandbox.advance`."""
        self._surroundings.advance(seconds)

    @property
    def waiting(self) -> list[Waiting]:
        """The messages that are not due yet: delayed, or to be tried again."""
        queues = {id(each): each for each in (worker._transport() for worker in self._workers)}
        return [
            waiting
            for queue in queues.values()
            if isinstance(queue, QueueInTest)
            for waiting in queue.waiting()
        ]


def drain(*workers: Worker) -> int:
    """Handle all messages that are due on the queues of workers, one by one, on this thread.

        enqueue(OrderNew(payload=order))
        assert drain(worker) == 1

    For a test that has a queue already, such as `memory://`. `Sandbox` makes one, and tells more.

    Args:
        workers: The workers, which must not run.

    Returns:
        How many messages were handled.

    Raises:
        BaseException: The first error of a handler. Its message is left to the queue's retries,
            and the messages behind it are not handled.
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
        """Await the result of an async handler, and return its error."""
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
    """Hide the running event loop from the block.

    In production a sync handler runs on a thread without a loop, so it may call `asyncio.run`, and
    Django's database. asyncio has these functions for other implementations of loops and tasks.
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
