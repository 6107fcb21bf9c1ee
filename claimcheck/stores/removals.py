"""Contents that are removed in the background, when their messages have been handled.

A store that is busy, or does not answer, must hold up no handler, and no process that ends. So a
removal that fails is logged, and a removal that would wait too long is skipped: contents expire.

    a worker, or a program, ends   it waits for removals under way, for two seconds
    in Lambda                      `add` waits as long, since all threads stand still between two
                                   invocations. It waits once for a store that does not answer
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from weakref import WeakSet

from claimcheck.errors import ClaimStoreError
from letsgo_queue.daemon_threads import DaemonThreads
from letsgo_queue.forking import PerProcess, forks_wait
from letsgo_queue.log import get_logger
from letsgo_queue.text import counted

logger = get_logger(__name__)

THREADS = 8
THREAD_NAME = "claimcheck-removals"
MOST_WAITING = 1_000
"""How many removals may wait for a thread. Further contents are left to expire."""

LONGEST_WAIT_SECONDS = 30.0
"""How long a removal may wait for a thread, and how long `close` waits for all."""

FINISH_SECONDS = 2.0
"""How long the end of a worker or a program waits for removals."""


@dataclass(frozen=True, slots=True, eq=False)
class _Removal:
    """Contents that are to be removed.

    Attributes:
        claim_id: Whose they are.
        remove: Removes them.
        latest: When to begin at the latest (on the monotonic clock).
    """

    claim_id: str
    remove: Callable[[], object]
    latest: float


class Removals:
    """Threads that remove contents."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._threads = DaemonThreads(THREADS, THREAD_NAME)
        # Entered by itself: a time limit may end a handler inside `Condition`, which is Python.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._awaited: set[_Removal] = set()
        self._stands_still = "AWS_LAMBDA_RUNTIME_API" in os.environ
        self._answers_from = 0.0
        with forks_wait():
            _of_process.get().add(self)

    def add(self, claim_id: str, remove: Callable[[], object]) -> None:
        """Have contents removed soon.

        Args:
            claim_id: Whose they are.
            remove: Removes them.
        """
        removal = _Removal(claim_id, remove, time.monotonic() + LONGEST_WAIT_SECONDS)
        with self._lock:
            if self._waiting >= MOST_WAITING:
                _leave(claim_id, "too many wait")
                return
            self._waiting += 1
            self._awaited.add(removal)
        try:
            self._threads.submit(partial(self._make, removal))
        except RuntimeError:  # the program is ending, or the machine has no more threads
            self._make(removal)
        if self._stands_still and time.monotonic() >= self._answers_from and self.wait():
            self._answers_from = time.monotonic() + LONGEST_WAIT_SECONDS

    def wait(self, seconds: float | None = None) -> int:
        """Wait for all removals, and return how many are left.

        The next call does not wait for these again.

        Args:
            seconds: How long, at most; by default `FINISH_SECONDS`.
        """
        with self._lock:
            most = FINISH_SECONDS if seconds is None else seconds
            self._changed.wait_for(lambda: not self._awaited, most)
            left = len(self._awaited)
            self._awaited.clear()
            return left

    def close(self) -> None:
        """Wait for all removals, for 30 seconds at most, and end the threads."""
        left = self.wait(LONGEST_WAIT_SECONDS)
        self._threads.close(wait=not left)

    def _make(self, removal: _Removal) -> None:
        with self._lock:
            self._waiting -= 1
        try:
            if time.monotonic() > removal.latest:
                _leave(removal.claim_id, "too many wait")
            else:
                removal.remove()
        except ClaimStoreError as error:
            _leave(removal.claim_id, error)
        except Exception:  # a defect; the others are removed all the same
            logger.exception("claim %s: its contents are left to expire", removal.claim_id)
        with self._lock:
            self._awaited.discard(removal)
            self._changed.notify_all()


_of_process: PerProcess[WeakSet[Removals]] = PerProcess(WeakSet)
"""The `Removals` of this process. A child removes nothing for its parent."""


def finish() -> None:
    """Wait for all removals of this process, and log how many are left."""
    with forks_wait():
        made = list(_of_process.get())
    until = time.monotonic() + FINISH_SECONDS
    left = sum(each.wait(max(until - time.monotonic(), 0)) for each in made)
    if left:
        logger.warning(
            "the contents of %s are not removed yet. If this process ends now, they expire.",
            counted(left, "claim"),
        )


def _leave(claim_id: str, why: object) -> None:
    logger.warning("claim %s: its contents are left to expire: %s", claim_id, why)


atexit.register(finish)
