"""Acknowledging handled messages in batches, without holding any back.

While one request is under way, handled messages gather for the next: a message that comes alone is
acknowledged at once, and many share a request. Where more gather than a request takes, further
threads send full ones.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from letsgo_queue.errors import LetsGoError, QueueUnavailable
from letsgo_queue.transports.base import MAX_BATCH, Transport
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.parts import Parts

logger = logging.getLogger(__name__)

Acknowledged: TypeAlias = Callable[[IncomingMessage, LetsGoError | None], None]
"""Called with a message, and with None or why it could not be acknowledged."""

MAX_THREADS = 5


class Acknowledger:
    """Acknowledges the messages of one queue."""

    def __init__(self, transport: Transport, done: Acknowledged, parts: Parts) -> None:
        """Start nothing yet.

        Args:
            transport: The queue.
            done: Called after each message.
            parts: Starts the threads, and watches them.
        """
        self._transport = transport
        self._done = done
        self._parts = parts
        self._waiting: list[IncomingMessage] = []
        self._changed = threading.Condition()
        self._threads = 0
        self._busy = 0
        self._closed = False

    def add(self, message: IncomingMessage) -> None:
        """Acknowledge a message soon."""
        with self._changed:
            self._waiting.append(message)
            waiting = len(self._waiting)
            if waiting == 1 and self._busy < self._threads:
                self._changed.notify()
            elif self._busy == self._threads and (
                self._threads == 0 or (waiting >= MAX_BATCH and self._threads < MAX_THREADS)
            ):
                self._threads += 1
                self._parts.start(f"acknowledge-{self._threads}", self._run)

    def close(self, seconds: float) -> None:
        """Acknowledge the messages that wait, for so many seconds at most, and end the threads."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._waiting or self._busy:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            rest, self._waiting = self._waiting, []
        for message in rest:
            logger.warning(
                "message %s was handled and could not be acknowledged in time: expect it a second "
                "time.",
                message.message_id,
            )

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                for message, error in zip(batch, self._acknowledge(batch), strict=True):
                    self._done(message, error)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next_batch(self) -> list[IncomingMessage]:
        """The next messages, as soon as there are any; none at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            self._busy += bool(batch)
            return batch

    def _acknowledge(self, batch: Sequence[IncomingMessage]) -> Sequence[LetsGoError | None]:
        try:
            errors = self._transport.delete_batch([message.received for message in batch])
        except Exception as error:  # a defect of a transport; the others must go on
            logger.exception("%d messages were not acknowledged", len(batch))
            return [QueueUnavailable(f"{type(error).__name__}.")] * len(batch)
        if len(batch) == 1 or all(errors):
            return errors  # a queue that does not answer, which has been retried already
        return [
            # The queue may fail entries of a batch one by one; alone, they are tried again.
            self._acknowledge([message])[0] if error is not None and error.retryable else error
            for message, error in zip(batch, errors, strict=True)
        ]
