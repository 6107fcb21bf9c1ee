"""A call that either a thread of a pool makes, or the caller that waits for it.

A caller does not wait for a free thread: the pool may be busy, the machine may have no more
threads, and a program that is ending starts none (`atexit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Generic, Protocol, TypeVar

_T = TypeVar("_T")


class Pool(Protocol):
    """Threads that make calls: a `ThreadPoolExecutor`, or `DaemonThreads`."""

    def submit(self, call: Callable[[], object], /) -> object:
        """Have a thread make a call.

        Raises:
            RuntimeError: There can be no thread.
        """
        ...


def make_all(functions: Iterable[Callable[[], object]], pool: Pool) -> None:
    """Call functions side by side, and wait for all; the first that raises ends the wait."""
    for call in [Call(each, pool) for each in functions]:
        call.result()


class Call(Generic[_T]):
    """A call that a thread makes as soon as one is free, with the caller's context variables.

    Attributes:
        future: Gets the result if `make` makes the call; it is cancelled with the call.
        has_thread: Whether a thread will make it.
    """

    def __init__(self, function: Callable[[], _T], pool: Pool) -> None:
        """Have a thread of `pool` call `function`, if there can be one."""
        # Emptied when the call is begun or cancelled, so that only one thread gets it. The pool
        # keeps a call until a thread is free, and must not keep what the function refers to.
        self._left = [partial(copy_context().run, function)]
        self.future: Future[_T] = Future()
        self.has_thread = False
        with suppress(RuntimeError):  # the pool may have queued the call all the same
            pool.submit(self.make)
            self.has_thread = True

    def result(self) -> _T:
        """Return the result; make the call here if no thread has begun it. Ask only once."""
        function = self._begin()
        return self.future.result() if function is None else function()

    def make(self) -> None:
        """Make the call, unless another thread has begun it; `future` gets the result."""
        function = self._begin()
        if function is None or not self.future.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  raised where the result is asked for
            self.future.set_exception(error)
            del self  # else this frame would keep the traceback, which keeps this frame
        else:
            self.future.set_result(result)

    def cancel(self) -> None:
        """Cancel the call, unless a thread has begun it."""
        if self.future.cancel():
            self._left.clear()

    def _begin(self) -> Callable[[], _T] | None:
        """Return the function to the first that asks, and None to all others."""
        try:
            return self._left.pop()
        except IndexError:
            return None
