"""Contents that are removed in the background, when their messages have been handled.

Nobody waits for such a removal, and what is not removed expires. So a removal that fails is logged,
and one that would wait too long is left out: a store that does not answer must not keep a process
from ending. The end of the process waits for the others, as `close` does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from claimcheck.errors import ClaimStoreError
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

THREADS = 4
MOST_WAITING = 1_000
"""How many removals may wait for a thread. Further ones are made by whoever asks."""

LONGEST_WAIT_SECONDS = 30.0


class Removals:
    """Threads that remove contents."""

    def __init__(self) -> None:
        """Make the pool; a thread starts when there is work for it."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="claimcheck-removals")
        self._room = threading.Semaphore(MOST_WAITING)
        # A Lambda function stands still between two invocations, with all its threads.
        self._now = "AWS_LAMBDA_RUNTIME_API" in os.environ

    def add(self, claim_id: str, remove: Callable[[], object]) -> None:
        """Have contents removed soon.

        Args:
            claim_id: Whose they are.
            remove: Removes them.

        Raises:
            ClaimStoreError: There was no room to wait, and the store refused.
        """
        if self._now or not self._room.acquire(blocking=False):
            remove()
            return
        latest = time.monotonic() + LONGEST_WAIT_SECONDS
        try:
            self._pool.submit(self._remove, claim_id, remove, latest)
        except RuntimeError:  # the program is ending, or the machine has no more threads
            self._room.release()
            remove()

    def close(self) -> None:
        """Wait for all removals, and end the threads."""
        self._pool.shutdown()

    def _remove(self, claim_id: str, remove: Callable[[], object], latest: float) -> None:
        self._room.release()
        if time.monotonic() > latest:
            logger.warning("claim %s: its contents are left to expire: too many wait", claim_id)
            return
        try:
            remove()
        except ClaimStoreError as error:
            logger.warning("claim %s: its contents are left to expire: %s", claim_id, error)
