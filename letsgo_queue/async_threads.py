"""Threads that wait for queues and stores, so that asyncio's event loop need not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from letsgo_queue.calls import Call
from letsgo_queue.forking import PerProcess

if TYPE_CHECKING:
    import asyncio

MAX_THREADS = 50
"""The most calls at once: as many as the SQS client keeps connections."""

ResultT = TypeVar("ResultT")


class AsyncThreads:
    """Threads of one owner. The event loop's own threads must stay free for the application.

    A thread starts when a call needs it. A forked process gets threads of its own.
    """

    def __init__(self, name: str) -> None:
        """Prepare the threads, without starting any.

        Args:
            name: The beginning of the threads' names.
        """
        self._pool = PerProcess(partial(ThreadPoolExecutor, MAX_THREADS, name))

    def start(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Call `function` on a thread, with the context variables of the caller.

        Cancelling the future does not stop a call that a thread has begun. If no thread can start,
        as in a program that is ending, the caller's thread makes the call at once.
        """
        import asyncio

        call = Call(function, self._pool.get())
        if not call.has_thread:
            call.make()
        return asyncio.wrap_future(call.future)

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Start a call, and wait for its result; see `start`."""
        return await self.start(function)

    async def run_to_end(self, function: Callable[[], ResultT]) -> ResultT:
        """Start a call, and wait for its end even if the task is cancelled.

        A thread cannot be cancelled, and a claim must not stay acquired: so a cancelled task waits
        for the thread first.
        """
        import asyncio

        # A future, not a task, since `asyncio.run` cancels every task when it ends.
        running = self.start(function)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            running.exception()  # else asyncio warns that the error was never retrieved
            raise cancelled
        return running.result()

    def close(self) -> None:
        """End the threads, each after its current call."""
        if pool := self._pool.take():
            pool.shutdown()
