"""The heartbeat: keeps messages invisible for as long as they are in hand.

Whenever half of its visibility timeout has passed, a message is extended by as much again; the
lease of its claim follows. SQS allows 12 hours in all.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from letsgo_queue.errors import LetsGoError
from letsgo_queue.worker.delivery import IncomingMessage

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""How often the heartbeat looks for messages that are due."""

RETRY_SECONDS = 1.0
"""How soon an extension that failed is tried again."""


class Heartbeat:
    """Extends the messages in hand.

    One thread looks for messages that are due, and others extend them: a slow answer to one
    extension makes no other message wait. All start when they are first needed.
    """

    def __init__(self, concurrency: int) -> None:
        """Make a heartbeat.

        Args:
            concurrency: Messages extended at once.
        """
        self._concurrency = concurrency
        self._in_hand: set[IncomingMessage] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, message: IncomingMessage) -> None:
        """Keep a message invisible until it is released.

        A message whose visibility timeout is 0 or not known is left alone.
        """
        timeout = message.seconds_invisible or 0.0
        if timeout <= 0:
            return
        message.visibility_timeout = timeout
        message.extension_due = _half_time(message)
        with self._lock:
            self._in_hand.add(message)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="letsgo-worker-heartbeat", daemon=True
                )
                self._thread.start()

    def release(self, message: IncomingMessage) -> None:
        """Stop looking after a message."""
        with self._lock:
            self._in_hand.discard(message)

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(self._concurrency, "letsgo-worker-heartbeat") as pool:
            while not self._stopping.wait(LOOK_SECONDS):
                for message in self._due():
                    pool.submit(self._extend, message)

    def _due(self) -> list[IncomingMessage]:
        now = time.monotonic()
        with self._lock:
            due = [message for message in self._in_hand if message.extension_due <= now]
        for message in due:
            message.extension_due = math.inf  # until it has been extended
        return due

    def _extend(self, message: IncomingMessage) -> None:
        with message.lock:
            if message.is_over:
                return
            message.extension_due = self._extend_now(message)

    def _extend_now(self, message: IncomingMessage) -> float:
        """Extend a message; when it is due again."""
        if _half_time(message) > time.monotonic():  # its handler extended it
            return _half_time(message)
        if message.longest_extension < 1:
            return math.inf
        try:
            granted = message.extend(message.visibility_timeout)
        except LetsGoError as error:
            logger.warning(
                "message %s could not be kept invisible, and may be delivered to another worker: "
                "%s",
                message.message_id,
                error,
            )
            return time.monotonic() + RETRY_SECONDS if error.retryable else math.inf
        except Exception:  # a defect of a transport or a store; nobody else would try again
            logger.exception("message %s could not be kept invisible", message.message_id)
            return time.monotonic() + RETRY_SECONDS
        return _half_time(message) if granted >= message.visibility_timeout else math.inf


def _half_time(message: IncomingMessage) -> float:
    """When half of its visibility timeout is left."""
    return (message.invisible_until or 0.0) - message.visibility_timeout / 2
