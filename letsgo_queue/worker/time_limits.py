"""Ends handlers that run for longer than they may.

An async handler is cancelled. In the thread of a sync one an exception is raised, as soon as that
thread runs Python again: nothing interrupts a call that waits in C, for a socket say. Either way
the message fails with `HandlerTimedOut`. A handler that returns all the same has succeeded.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from letsgo_queue.errors import HandlerTimedOut
from letsgo_queue.forking import renew_in_children
from letsgo_queue.text import shown
from letsgo_queue.worker.incoming import IncomingMessage

_IMPORTING = "importlib._bootstrap"

_LOCKING = {
    "contextlib": {"__enter__", "__exit__"},
    "logging": {"acquire", "release", "_acquireLock", "_releaseLock"},
    "threading": {"__enter__", "__exit__", "_release_save", "_acquire_restore"},
}
"""Python's own functions, by module, that an exception may end while they hold a lock. Nothing
would release it, and the next thread to log, for one, would wait for good. So would a thread that
imports, wherever in `_IMPORTING` the exception comes."""

AGAIN_SECONDS = 0.005
"""How soon to look again at a handler that was in such a function."""


class _TimeIsUp(BaseException):
    """Raised in the thread of a handler, whose `except Exception` lets it through."""


class _Running:
    """A sync handler that runs, and when that is to end (on the monotonic clock)."""

    def __init__(self, seconds: float) -> None:
        self.thread = threading.get_ident()
        self.ends = time.monotonic() + seconds
        self.interrupted = False


class TimeLimits:
    """Watches the sync handlers of a worker that have a time limit."""

    def __init__(self) -> None:
        """Watch none yet."""
        self._running: set[_Running] = set()
        self._start_anew()
        renew_in_children(self._start_anew)

    def call(self, message: IncomingMessage, handler: Callable[[], object]) -> object:
        """Call a sync handler, on this thread.

        Raises:
            HandlerTimedOut: It was interrupted.
        """
        seconds = _limit_of(message)
        if seconds is None:
            return handler()
        running = _Running(seconds)
        try:
            try:
                with self._lock:
                    self._running.add(running)
                return handler()
            finally:
                with self._lock:
                    self._running.discard(running)
                if running.interrupted:  # one that has not come yet must never come
                    _raise_in(running.thread, None)
        except BaseException as error:
            if running.interrupted or isinstance(error, _TimeIsUp):
                raise _timed_out(message, seconds) from error
            raise

    def tend(self) -> float:
        """Interrupt the handlers whose time is up, and return the seconds until the next."""
        if not self._running:
            return math.inf
        now = time.monotonic()
        with self._lock:
            for running in [each for each in self._running if each.ends <= now]:
                if _is_locking(running.thread):
                    continue
                _raise_in(running.thread, _TimeIsUp)
                if _is_locking(running.thread):  # it ran on between the look and the raise
                    _raise_in(running.thread, None)
                    continue
                running.interrupted = True
                self._running.discard(running)
            ends = min((each.ends for each in self._running), default=math.inf)
        return max(ends - now, AGAIN_SECONDS)

    def _start_anew(self) -> None:
        # One of Python's own: an exception may come anywhere in a lock that is written in Python.
        self._lock = threading.Lock()


async def await_within_limit(
    message: IncomingMessage, handler: Callable[[], Awaitable[object]]
) -> None:
    """Call an async handler, and await it; its time counts from its start.

    Raises:
        HandlerTimedOut: It was cancelled, as its time was up.
    """
    import asyncio

    seconds = _limit_of(message)
    if seconds is None:
        await handler()
        return
    limit = asyncio.timeout(seconds - (message.handler_duration or 0.0))
    try:
        async with limit:
            await handler()
    except BaseException as error:
        if limit.expired():
            raise _timed_out(message, seconds) from error
        raise


def _limit_of(message: IncomingMessage) -> float | None:
    return None if message.handler is None else message.handler.limits.timeout


def _timed_out(message: IncomingMessage, seconds: float) -> HandlerTimedOut:
    return HandlerTimedOut(
        f"message {message.message_id} of type {shown(message.type)!r}: its handler was ended "
        f"after {seconds:g} s. Raise its `timeout`, or have it do less."
    )


def _is_locking(thread: int) -> bool:
    """Whether a thread is in a function that must not be interrupted."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return False
    module = frame.f_globals.get("__name__", "")
    return module == _IMPORTING or frame.f_code.co_name in _LOCKING.get(module, ())


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have a thread raise an exception soon; None takes back what it has not raised yet."""
    exception = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
