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
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

from claimcheck.errors import ClaimStoreError
from letsgo_queue.forking import PerProcess, forks_wait
from letsgo_queue.log import get_logger
from letsgo_queue.text import counted

logger = get_logger(__name__)

THREADS = 8
THREAD_NAME = "claimcheck-removals"
MOST_WAITING = 1_000
"""How many removals may wait for a thread. The contents of further ones are left to expire."""

LONGEST_WAIT_SECONDS = 30.0
"""How long one may wait for a thread, and how long `close` waits for all."""

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
    """Threads that remove contents. Each ends when nothing is left to do."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._changed = threading.Condition()
        self._waiting: deque[_Removal] = deque()
        self._threads = 0
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
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                _leave(claim_id, "too many wait")
                return
            removal = _Removal(claim_id, remove, time.monotonic() + LONGEST_WAIT_SECONDS)
            self._waiting.append(removal)
            self._awaited.add(removal)
            starts = self._threads < THREADS
            self._threads += starts
        if starts:
            self._start()
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
        """Wait for all removals, and begin no more of those that took too long."""
        self.wait(LONGEST_WAIT_SECONDS)
        with self._changed:
            left = [*self._waiting]
            self._waiting.clear()
        for removal in left:
            _leave(removal.claim_id, "the store was closed")

    def _start(self) -> None:
        # A daemon: the end of the program does not wait for it, but for `finish`.
        thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # the program is ending, or no more threads fit
            self._run()

    def _run(self) -> None:
        while removal := self._next():
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

    def _next(self) -> _Removal | None:
        with self._changed:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


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
