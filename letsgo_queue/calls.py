"""A call that a thread of a pool makes, or whoever waits for it.

Nobody waits for a thread that is free, or for one that can be started: a pool may be busy, the
machine may have no more threads, and a program that is ending starts none (`atexit`).
"""

from __future__ import annotations

from collections.abc import Callable
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


class Call(Generic[_T]):
    """A call that a thread makes as soon as one is free, with the caller's context variables.

    Attributes:
        future: What the call gives, where `make` makes it; it is cancelled with the call.
        has_thread: Whether a thread will make it.
    """

    def __init__(self, function: Callable[[], _T], pool: Pool) -> None:
        """Have a thread of `pool` call `function`, if there can be one."""
        # Emptied when the call is begun or cancelled, by one of all that try. The pool keeps a call
        # until a thread has time for it, and must not keep what the function has in hand.
        self._left = [partial(copy_context().run, function)]
        self.future: Future[_T] = Future()
        self.has_thread = False
        with suppress(RuntimeError):  # it may be in the pool's queue all the same
            pool.submit(self.make)
            self.has_thread = True

    def result(self) -> _T:
        """The result of the call, which is made here if no thread has begun it. Ask once."""
        function = self._begin()
        return self.future.result() if function is None else function()

    def make(self) -> None:
        """Make it, unless somebody else has begun it; `future` has what it gives."""
        function = self._begin()
        if function is None or not self.future.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  raised where the result is asked for
            self.future.set_exception(error)
            del self  # else the traceback, which has this frame, would keep itself
        else:
            self.future.set_result(result)

    def cancel(self) -> None:
        """Leave it, unless a thread has begun it."""
        if self.future.cancel():
            self._left.clear()

    def _begin(self) -> Callable[[], _T] | None:
        """The function, once."""
        try:
            return self._left.pop()
        except IndexError:
            return None
