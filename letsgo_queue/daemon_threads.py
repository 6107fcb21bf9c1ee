"""Threads that make calls, and do not keep a program from ending.

A program that ends waits for Python's own pools. If a server does not answer, a client tries for
more than a minute, and a worker that was told to stop would be killed meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

IDLE_SECONDS = 10.0
"""How long a thread waits for its next call, and then ends."""


class DaemonThreads:
    """A pool of threads that make calls, in order."""

    def __init__(self, most: int, name: str) -> None:
        """Prepare the pool, without starting threads.

        Args:
            most: How many threads there may be.
            name: Their name.
        """
        self._most = most
        self._name = name
        # Entered by itself: a time limit may end a handler inside `Condition`, which is Python.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Callable[[], object]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def submit(self, call: Callable[[], object]) -> None:
        """Have a thread make a call, which must not raise.

        Raises:
            RuntimeError: The pool is closed; or it has no thread, and none can be started, as in a
                program that is ending. The call is not made.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads {self._name} have ended.")
            self._waiting.append(call)
            if self._idle >= len(self._waiting) or len(self._threads) == self._most:
                self._changed.notify()
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            with self._lock:
                self._threads.discard(thread)
                if self._threads:  # one of them makes the call
                    return
                with suppress(ValueError):
                    self._waiting.remove(call)
            raise RuntimeError(f"no thread {self._name} can be started.") from error

    def close(self, *, wait: bool = True) -> None:
        """End the threads when all calls are made.

        Args:
            wait: Whether to wait for that.
        """
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            threads = [*self._threads] if wait else []
        for thread in threads:
            with suppress(RuntimeError):  # a thread that is about to start
                thread.join()

    def _run(self) -> None:
        while call := self._next():
            call()
            del call  # its result may be large

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed, IDLE_SECONDS)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads.discard(threading.current_thread())
            return None
