"""Stops a worker on SIGTERM and SIGINT.

Python runs a signal's handler on the main thread, between two steps of it. A signal does not wake
the main thread if it comes just before the thread begins to wait, or if another thread gets it. So
the main thread of a worker never waits for long.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from letsgo_queue.forking import renew_in_children

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

WATCH_SECONDS = 0.25
"""How long the main thread waits at a time."""


def wait_until(is_over: Callable[[float], bool]) -> None:
    """Wait for something, and miss no signal.

    Args:
        is_over: Waits up to so many seconds, and returns whether it is over.
    """
    while not is_over(WATCH_SECONDS):
        pass


def join(thread: threading.Thread) -> None:
    """Wait for a thread's end, and miss no signal."""

    def has_ended(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    wait_until(has_ended)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first SIGTERM or SIGINT. A second signal does what it did before.

    Python delivers signals to the main thread only. On another thread this does nothing: whoever
    started the thread stops the worker. In a process that a handler forks, signals do what they did
    before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def restore() -> None:
        for number, handler in previous.items():
            if handler is not None:  # None: not set by Python, which cannot set it again
                signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        restore()
        stop()

    renew_in_children(restore)
    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
