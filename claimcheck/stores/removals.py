"""Contents that are removed in the background, when their messages have been handled.

Nobody waits for such a removal, and what is not removed expires. So a removal that fails is logged,
and one that would wait too long is left out: a store that is busy, or does not answer, must hold up
no handler, and no process that ends.

    a worker, or a program, ends   it waits for what is under way, for two seconds
    in Lambda                      who asks for a removal waits so long, as the function may answer
                                   next: between two invocations it stands still, with all its
                                   threads. A store that does not answer is waited for once
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
"""How many removals may wait for a thread. The contents of further ones are left to expire."""

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
        self._changed = threading.Condition()
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
        with self._changed:
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
        """Wait for all removals; how many are left.

        Nobody waits for those again: the next call waits for later ones.

        Args:
            seconds: How long, at most; by default `FINISH_SECONDS`.
        """
        with self._changed:
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
        with self._changed:
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
        with self._changed:
            self._awaited.discard(removal)
            self._changed.notify_all()


_of_process: PerProcess[WeakSet[Removals]] = PerProcess(WeakSet)
"""All that this process has made. A child removes nothing for its parent."""


def finish() -> None:
    """Wait for all that is being removed in this process, and say what may be left to expire."""
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
