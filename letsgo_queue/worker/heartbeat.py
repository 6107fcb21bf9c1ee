"""The heartbeat: keeps messages invisible for as long as their handlers run.

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
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS
from letsgo_queue.worker.delivery import IncomingMessage

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How soon an extension that failed is tried again, while there is time left."""


class Heartbeat:
    """Extends the messages in hand.

    One thread watches for those that are due, and others extend them, so that a slow answer to one
    extension makes no other message wait. All are started when first needed.
    """

    def __init__(self, concurrency: int) -> None:
        """Make a heartbeat.

        Args:
            concurrency: Messages extended at once.
        """
        self._concurrency = concurrency
        self._in_hand: set[IncomingMessage] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf

    def hold(self, message: IncomingMessage) -> None:
        """Keep a message invisible until it is released.

        A message whose visibility timeout is 0 or not known is left alone.
        """
        timeout = message.seconds_invisible or 0.0
        if timeout <= 0:
            return
        message.visibility_timeout = timeout
        message.extension_due = time.monotonic() + timeout / 2
        with self._changed:
            self._in_hand.add(message)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="letsgo-worker-heartbeat", daemon=True
                )
                self._thread.start()
            elif message.extension_due < self._wakes_at:
                self._changed.notify()

    def release(self, message: IncomingMessage) -> None:
        """Extend a message no more.

        Waits for an extension under way: one after the end would hide a message that is to come
        again.
        """
        with message.lock:
            message.is_over = True
        with self._changed:
            self._in_hand.discard(message)

    def stop(self) -> None:
        """End the thread, once no message is in hand any more."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(self._concurrency, "letsgo-worker-heartbeat") as pool:
            while due := self._wait_for_due():
                for message in due:
                    pool.submit(self._extend, message)

    def _wait_for_due(self) -> list[IncomingMessage]:
        """The messages whose time has come; none at the end."""
        with self._changed:
            while self._thread is not None:
                now = time.monotonic()
                if due := [each for each in self._in_hand if each.extension_due <= now]:
                    for message in due:
                        message.extension_due = math.inf  # until it has been extended
                    return due
                self._wakes_at = min(
                    (each.extension_due for each in self._in_hand), default=math.inf
                )
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            return []

    def _extend(self, message: IncomingMessage) -> None:
        with message.lock:
            if message.is_over:
                return
            half = message.visibility_timeout / 2
            left = message.seconds_invisible or 0.0
            # A handler may have extended it by itself.
            due_in = left - half if left > half else self._extend_now(message)
        with self._changed:
            message.extension_due = time.monotonic() + due_in
            self._changed.notify()

    def _extend_now(self, message: IncomingMessage) -> float:
        """Extend a message; in how many seconds it is due again."""
        timeout = message.visibility_timeout
        # SQS refuses what goes beyond 12 hours from the receive.
        most = math.floor(MAX_VISIBILITY_SECONDS - message.seconds_in_hand)
        if most < 1:
            return math.inf
        try:
            message.extend(min(math.ceil(timeout), most))
        except LetsGoError as error:
            logger.warning(
                "message %s could not be kept invisible while its handler runs, and may be "
                "delivered to another worker: %s",
                message.message_id,
                error,
            )
            return RETRY_SECONDS if error.retryable else math.inf
        return timeout / 2 if timeout < most else math.inf
