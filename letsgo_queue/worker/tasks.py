"""The event loop that async handlers run on, all in one thread.

Steps that may wait for something, such as opening a stored message, run on a few threads beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.processing import Outcome, Processor

logger = logging.getLogger(__name__)

BLOCKING_THREADS = 8


class HandlerTasks:
    """Runs messages as tasks of one event loop, which is started when it is first needed."""

    def __init__(
        self,
        processor: Processor,
        finish: Callable[[IncomingMessage, Outcome], None],
        parts: Parts,
    ) -> None:
        """Start nothing yet.

        Args:
            processor: Handles the messages.
            finish: Called with each message and its outcome; must not raise.
            parts: Starts the thread of the loop, and watches it.
        """
        self._processor = processor
        self._finish = finish
        self._parts = parts
        self._loop: asyncio.AbstractEventLoop | None = None
