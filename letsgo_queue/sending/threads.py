"""The threads on which a client sends for asyncio."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from letsgo_queue.forking import PerProcess

MAX_THREADS = 50
"""Sends at once: as many as the SQS client keeps connections."""

ResultT = TypeVar("ResultT")


class SendingThreads:
    """Threads of a client's own: the event loop's are the application's, and may all be busy.

    A thread starts when a call needs one. A forked process gets threads of its own.
    """

    def __init__(self) -> None:
        self._pool = PerProcess(partial(ThreadPoolExecutor, MAX_THREADS, "letsgo-aenqueue"))

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Call `function` on a thread, with the context variables of the caller."""
        import asyncio

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool.get(), copy_context().run, function)

    def close(self) -> None:
        """End the threads, each after the call that it is at."""
        if pool := self._pool.take():
            pool.shutdown()
