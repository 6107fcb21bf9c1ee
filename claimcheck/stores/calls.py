"""Calls that a store makes side by side, on few threads, without ever waiting for a free one.

A store has one small pool for all its callers. A caller that waits for a call makes it itself if no
thread has begun it. So no caller waits for the calls of others, calls may start further calls, and
work goes on when the pool or the program ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from claimcheck.errors import ClaimStoreError
from letsgo_queue.calls import Call
from letsgo_queue.daemon_threads import DaemonThreads

_T = TypeVar("_T")


class Calls:
    """A pool of threads for calls to a store."""

    def __init__(self, threads: int, *, name: str) -> None:
        """Make the pool; a thread starts when there is work for it.

        Args:
            threads: How many there may be.
            name: The name of the threads.
        """
        self._pool = DaemonThreads(threads, name)

    def start(self, function: Callable[[], _T]) -> Call[_T]:
        """Have a thread make a call."""
        return Call(function, self._pool)

    def make_all(self, functions: Sequence[Callable[[], object]]) -> None:
        """Make calls side by side; a call that fails stops no other.

        Raises:
            ClaimStoreError: A call failed; the first error.
        """
        # The last one is made here: a claim of one part needs no other thread.
        calls = [self.start(function) for function in functions[:-1]]
        errors = []
        try:
            for make in (*functions[-1:], *(call.result for call in calls)):
                try:
                    make()
                except ClaimStoreError as error:
                    errors.append(error)
        finally:
            for call in calls:  # of an interruption
                call.cancel()
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Wait for calls that were begun or wait for a thread, and end the threads."""
        self._pool.close()
