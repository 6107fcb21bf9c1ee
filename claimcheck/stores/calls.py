"""Calls that a store makes side by side, on few threads, without ever waiting for a free one.

A store has one small pool for all its callers. A caller that waits for a call makes it itself if no
thread has begun it. So no caller waits for the calls of others, calls may start further calls, and
work goes on when the pool or the program ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from claimcheck.errors import ClaimStoreError

_T = TypeVar("_T")


class Call(Generic[_T]):
    """A call that a thread makes as soon as one is free."""

    def __init__(self, function: Callable[[], _T], pool: ThreadPoolExecutor) -> None:
        # Emptied when the call is made or cancelled: the pool keeps a cancelled call until a thread
        # has time for it, and with it a part of a claim.
        self._left = [function]
        self._future: Future[_T]
        try:
            self._future = pool.submit(self._make)
        except RuntimeError:  # the pool, or the program, is ending
            self._future = Future()

    def result(self) -> _T:
        """What the call gives, made here if no thread has begun it. Ask once."""
        return self._make() if self._future.cancel() else self._future.result()

    def cancel(self) -> None:
        """Leave it, unless a thread has begun it."""
        if self._future.cancel():
            self._left.clear()

    def _make(self) -> _T:
        return self._left.pop()()


class Calls:
    """A pool of threads for calls to a store."""

    def __init__(self, threads: int, *, name: str) -> None:
        """Make the pool; a thread starts when there is work for it.

        Args:
            threads: How many there may be.
            name: What the threads' names start with.
        """
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def start(self, function: Callable[[], _T]) -> Call[_T]:
        """Have a thread make a call."""
        return Call(function, self._pool)

    def make_all(self, functions: Sequence[Callable[[], object]]) -> None:
        """Make calls side by side: every one, though some fail.

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
        self._pool.shutdown()
