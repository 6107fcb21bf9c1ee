"""The threads on which a client sends for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

MAX_THREADS = 50
"""Sends at once: as many as the SQS client keeps connections."""

ResultT = TypeVar("ResultT")


class SendingThreads:
    """Threads of a client's own: the event loop's are the application's, and may all be busy.

    A thread starts when a call needs one. A forked process gets threads of its own.
    """

    def __init__(self) -> None:
        self._pool = _Pool()

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Call `function` on a thread, with the context variables of the caller."""
        import asyncio

        pool = self._pool
        if pool.process != os.getpid():
            self._pool = pool = _Pool()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, copy_context().run, function)

    def close(self) -> None:
        """End the threads, each after the call that it is at."""
        pool, self._pool = self._pool, _Pool()
        pool.shutdown()


class _Pool(ThreadPoolExecutor):
    def __init__(self) -> None:
        super().__init__(MAX_THREADS, "letsgo-aenqueue")
        self.process = os.getpid()
