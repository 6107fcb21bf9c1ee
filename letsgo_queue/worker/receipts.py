"""Tries again for the receipts of handled messages that a busy store refused.

When a message is handled, its leases are ended. A claim check then leaves a receipt, which tells a
duplicate. If the store refuses the receipt, this module tries again before the message is
acknowledged. No thread waits meanwhile, and the heartbeat goes on. If all tries fail, the message
is acknowledged without a receipt.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count

from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts, SideCalls
from letsgo_queue.worker.retries import doubled

logger = get_logger(__name__)

PATIENCE_SECONDS = 60.0
"""How long after a handler's end tries begin."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
THREADS = 8


def pause_before(tries: int) -> float:
    """Return the seconds to wait before the next of several tries.

    They are random: a busy store has refused other messages at the same moment.
    """
    return doubled(FIRST_PAUSE_SECONDS, tries, LONGEST_PAUSE_SECONDS) * random.uniform(1, 1.5)


def give_up(message: IncomingMessage, error: LetsGoError) -> None:
    """Log that a message is acknowledged without a receipt."""
    logger.warning(
        "message %s was handled, and its receipt could not be written: %s A duplicate of it will "
        "not be recognised.",
        message.message_id,
        error,
        extra=message.log_fields,
    )


class Receipts:
    """The handled messages of a worker that wait for their receipt."""

    def __init__(self, done: Callable[[IncomingMessage], None], parts: Parts) -> None:
        """Start nothing yet.

        Args:
            done: Called with each message that can be acknowledged, on any thread.
            parts: Starts the threads, and watches them.
        """
        self._done = done
        self._calls = SideCalls("receipt", THREADS, parts)
        self._lock = threading.Lock()
        self._numbers = count()
        self._due: list[tuple[float, int, IncomingMessage]] = []
        self._waiting: dict[IncomingMessage, tuple[float, int]] = {}  # since when, and how often
        self._closed = False

    def add(self, message: IncomingMessage) -> None:
        """Try again for a message; `IncomingMessage.unsettled` says why."""
        with self._lock:
            self._waiting[message] = (time.monotonic(), 0)
        self._plan(message)

    def tend(self) -> float:
        """Begin the tries that are due, and return the seconds until more are."""
        with self._lock:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._calls.add(partial(self._try, heappop(self._due)[2]))
            return self._due[0][0] - now if self._due else math.inf

    def close(self) -> None:
        """Have all messages acknowledged without a receipt, and end the threads."""
        with self._lock:
            self._closed = True
            self._due.clear()
            left = [*self._waiting]
        self._calls.close()
        for message in left:
            self._end(message)

    def _plan(self, message: IncomingMessage) -> None:
        with self._lock:
            if not self._closed and message in self._waiting:
                since, tries = self._waiting[message]
                due = time.monotonic() + pause_before(tries)
                if due <= since + PATIENCE_SECONDS:
                    self._waiting[message] = (since, tries + 1)
                    heappush(self._due, (due, next(self._numbers), message))
                    return
        self._end(message)

    def _try(self, message: IncomingMessage) -> None:
        try:
            message.settle_handled()
        except Exception:  # a defect of a middleware
            self._end(message)
            raise
        if message.unsettled is None:
            self._end(message)
        else:
            self._plan(message)

    def _end(self, message: IncomingMessage) -> None:
        with self._lock:
            if self._waiting.pop(message, None) is None:
                return  # it is acknowledged already
        if message.unsettled is not None:
            give_up(message, message.unsettled)
        self._done(message)
