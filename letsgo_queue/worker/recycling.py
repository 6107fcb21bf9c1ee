"""Ends a worker's process when it has handled enough messages, or has grown too large.

Some libraries leak. A process that ends after its work in hand is done, and is started again, costs
nothing that anybody notices.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from letsgo_queue.events import Event, MessageStarted
from letsgo_queue.worker.log import get_logger

logger = get_logger(__name__)

MEGABYTE = 1024 * 1024
LOOK_SECONDS = 1.0
"""How often the memory is looked at, at most."""

_STATM = Path("/proc/self/statm")


class Recycling:
    """A listener that stops workers when a limit is reached.

    Attributes:
        is_due: Whether one was reached.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        *,
        max_messages: int | None = None,
        max_memory: float | None = None,
    ) -> None:
        """Count from now on.

        Args:
            stop: Stops the workers.
            max_messages: Messages to begin; those that are in hand then are handled as well.
            max_memory: Megabytes of memory that the process may have.
        """
        self.is_due = False
        self._stop = stop
        self._max_messages = max_messages
        self._max_memory = max_memory
        self._begun = 0
        self._look_at = 0.0
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Count a message that is begun, and look at what others have left behind."""
        with self._lock:
            self._begun += isinstance(event, MessageStarted)
            reason = None if self.is_due else self._reason()
            if reason is None:
                return
            self.is_due = True
        logger.info("this process is recycled: %s", reason)
        self._stop()

    def _reason(self) -> str | None:
        if self._max_messages is not None and self._begun >= self._max_messages:
            return f"it has begun {self._begun} messages"
        now = time.monotonic()
        if self._max_memory is not None and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            megabytes = resident_bytes() / MEGABYTE
            if megabytes > self._max_memory:
                return f"it has {megabytes:.0f} MB of memory"
        return None


def resident_bytes() -> int:
    """The memory that this process has; where the system does not say, the most that it had."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
