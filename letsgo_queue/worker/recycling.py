"""Ends a worker's process when it has handled enough messages, or has grown too large.

Some libraries leak. A process that ends once its work in hand is done, and is started again, costs
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
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

MEGABYTE = 1024 * 1024
LOOK_SECONDS = 1.0
"""How often the memory is looked at."""

_STATM = Path("/proc/self/statm")


class Recycling:
    """Stops workers when a limit is reached. To count messages it listens to the workers.

    Attributes:
        is_due: Whether a limit was reached.
    """

    def __init__(
        self, stop: Callable[[], None], *, max_messages: int | None, max_memory: int | None
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
        self._begun = 0
        self._lock = threading.Lock()
        if max_memory is not None:
            name = "letsgo-worker-memory"
            threading.Thread(target=self._watch, args=(max_memory,), name=name, daemon=True).start()

    def __call__(self, event: Event) -> None:
        """Count a message that is begun."""
        if not isinstance(event, MessageStarted):
            return
        with self._lock:
            self._begun += 1
            enough = self._begun == self._max_messages
        if enough:
            self._recycle(f"it has begun {self._begun} messages")

    def _watch(self, max_memory: int) -> None:
        while (megabytes := resident_bytes() / MEGABYTE) <= max_memory:
            time.sleep(LOOK_SECONDS)
        self._recycle(f"it has {megabytes:.0f} MB of memory")

    def _recycle(self, reason: str) -> None:
        logger.info("this process is recycled: %s", reason)
        self.is_due = True
        self._stop()


def resident_bytes() -> int:
    """The memory that this process has; if the system does not say, the most that it had."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
