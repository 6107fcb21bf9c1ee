"""The threads on which this package, and the claim check, wait for asyncio."""

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
"""Calls at once: as many as the SQS client keeps connections."""

ResultT = TypeVar("ResultT")


class AsyncThreads:
    """Threads of their owner: the event loop's are the application's, and must stay free for it.

    A thread starts when a call needs one. A forked process gets threads of its own.
    """

    def __init__(self, name: str) -> None:
        """Make no thread yet.

        Args:
            name: What the threads' names start with.
        """
        self._pool = PerProcess(partial(ThreadPoolExecutor, MAX_THREADS, name))

    def start(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Call `function` on a thread, with the context variables of the caller.

        A future that is cancelled does not stop a call that a thread has begun. Where no thread can
        be started, as in a program that is ending, the call is made here and now.
        """
        import asyncio

        call = Call(function, self._pool.get())
        if not call.has_thread:
            call.make()
        return asyncio.wrap_future(call.future)

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Wait for what `start` starts."""
        return await self.start(function)

    async def run_to_end(self, function: Callable[[], ResultT]) -> ResultT:
        """Wait for what `start` starts, to its end.

        A thread cannot be cancelled, and a claim must not stay acquired: so a task that is
        cancelled, however often, waits for the thread and ends then.
        """
        import asyncio

        # A future and not a task, as `asyncio.run` cancels every task in the end.
        running = self.start(function)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            running.exception()  # else asyncio warns that nobody asked for it
            raise cancelled
        return running.result()

    def close(self) -> None:
        """End the threads, each after the call that it is at."""
        if pool := self._pool.take():
            pool.shutdown()
