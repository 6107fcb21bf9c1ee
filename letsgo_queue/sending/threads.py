"""The threads on which this package, and the claim check, wait for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import asyncio

MAX_THREADS = 50
"""Sends at once: as many as the SQS client keeps connections."""

ResultT = TypeVar("ResultT")


class SendingThreads:
    """Threads of their owner: the event loop's are the application's, and must stay free for it.

    A thread starts when a call needs one. A forked process gets threads of its own.
    """

    def __init__(self, name: str = "letsgo-aenqueue") -> None:
        """Make no thread yet.

        Args:
            name: What the threads' names start with.
        """
        self._name = name
        self._pool = _Pool(name)

    def start(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Call `function` on a thread, with the context variables of the caller.

        A future that is cancelled does not stop a call that a thread has begun.
        """
        import asyncio

        pool = self._pool
        if pool.process != os.getpid():
            self._pool = pool = _Pool(self._name)
        return asyncio.get_running_loop().run_in_executor(pool, copy_context().run, function)

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Wait for what `start` starts."""
        return await self.start(function)

    def close(self) -> None:
        """End the threads, each after the call that it is at."""
        pool, self._pool = self._pool, _Pool(self._name)
        pool.shutdown()


class _Pool(ThreadPoolExecutor):
    def __init__(self, name: str) -> None:
        super().__init__(MAX_THREADS, name)
        self.process = os.getpid()
