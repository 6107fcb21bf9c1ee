"""The threads that sync handlers run on: no more than there is work for.

    in hand, in order of arrival ──> threads, up to `concurrency`, each taking the next by itself

Waking a thread costs more than a quick handler does, and threads that are awake slow each other
down. So one thread is woken for quick messages that arrive together, and takes one after the
other. `help` wakes one more thread if a message waits for over `PATIENCE_SECONDS`. If handlers are
slow, each message has a thread of its own at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from queue import SimpleQueue

from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts

PATIENCE_SECONDS = 0.05
"""How long a message may wait behind quick messages while a thread is idle."""

HELP_SECONDS = 0.005
"""How long after one thread the next is woken."""


class HandlerThreads:
    """Runs messages on threads."""

    def __init__(
        self,
        concurrency: int,
        run: Callable[[IncomingMessage], None],
        parts: Parts,
        *,
        name: str = "handler",
    ) -> None:
        """Make no thread yet.

        Args:
            concurrency: Threads at most.
            run: Handles a message; must not raise.
            parts: Starts the threads, and watches them.
            name: The name of the threads.
        """
        self._name = name
        self._concurrency = concurrency
        self._handle = run
        self._parts = parts
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, IncomingMessage]] = deque()  # since when each waits
        self._started = 0
        self._idle = 0
        self._closed = False

    def add(self, messages: Collection[IncomingMessage], *, quick: bool = False) -> None:
        """Have messages handled after those that wait already.

        Args:
            messages: The messages.
            quick: Whether their handlers take no longer than waking a thread does.
        """
        now = time.monotonic()
        with self._changed:
            self._waiting.extend((now, message) for message in messages)
            self._wake(1 if quick else len(messages))

    def help(self) -> float | None:
        """Wake a thread for messages that wait too long.

        Returns:
            Seconds until this should be called again; None if nothing waits.
        """
        with self._changed:
            if not self._waiting or (self._idle == 0 and self._started == self._concurrency):
                return None
            left = self._waiting[0][0] + PATIENCE_SECONDS - time.monotonic()
            if left > 0:
                return left
            self._wake(1)
            return HELP_SECONDS

    def close(self) -> None:
        """Begin no more messages."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _wake(self, count: int) -> None:
        """Have up to `count` more threads look for work."""
        woken = min(count, self._idle)
        self._idle -= woken
        self._changed.notify(woken)
        for _ in range(min(count - woken, self._concurrency - self._started)):
            self._started += 1
            self._parts.start(f"{self._name}-{self._started}", self._work)

    def _work(self) -> None:
        while message := self._next():
            self._handle(message)
            del message  # and with it the body, which may be large

    def _next(self) -> IncomingMessage | None:
        """The next message, as soon as there is one; None at the end."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
            return self._waiting.popleft()[1]


class Slots:
    """Limits how many handlers run at once: a thread that finds no slot waits."""

    def __init__(self, count: int) -> None:
        """Have `count` slots, all of them free."""
        self._free: SimpleQueue[None] = SimpleQueue()  # which costs less than a semaphore
        for _ in range(count):
            self._free.put(None)

    def __enter__(self) -> None:
        """Wait for a slot."""
        self._free.get()

    def __exit__(self, *_: object) -> None:
        """Leave the slot to others."""
        self._free.put(None)
