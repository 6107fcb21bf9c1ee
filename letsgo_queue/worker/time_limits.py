"""Ends handlers that run for longer than they may.

An async handler is cancelled. In the thread of a sync one an exception is raised, as soon as that
thread runs Python again: nothing interrupts a call that waits in C, for a socket say. Either way
the message fails with `HandlerTimedOut`. A handler that returns all the same has succeeded.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Awaitable, Callable

from letsgo_queue.errors import HandlerTimedOut
from letsgo_queue.forking import renew_in_children
from letsgo_queue.text import shown
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.interrupting import interrupt, is_interruption, take_back

AGAIN_SECONDS = 0.005
"""How soon to try again to interrupt a handler that could not be."""


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
                    take_back(running.thread)
        except BaseException as error:
            if running.interrupted or is_interruption(error):
                raise _timed_out(message, seconds) from error
            raise

    def tend(self) -> float:
        """Interrupt the handlers whose time is up, and return the seconds until the next."""
        if not self._running:
            return math.inf
        now = time.monotonic()
        with self._lock:
            for running in [each for each in self._running if each.ends <= now]:
                if interrupt(running.thread):
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
