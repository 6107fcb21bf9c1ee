"""Acknowledging handled messages in batches, without holding any back.

While one request is under way, what is handled meanwhile gathers for the next: a message that comes
alone is acknowledged at once, and many share a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.transports.base import MAX_BATCH, ReceivedMessage, Transport

Acknowledged: TypeAlias = Callable[[LetsGoQueueError | None], None]
"""Called with None once a delivery is acknowledged, else with why it is not."""

MOST_WAITING = 100
"""Handled messages that may wait; with so many, the handlers wait too."""


class Acknowledger:
    """Acknowledges the deliveries of one queue, on a thread that is started when first needed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiting: list[tuple[ReceivedMessage, Acknowledged]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def add(self, message: ReceivedMessage, done: Acknowledged) -> None:
        """Acknowledge a delivery soon; `done` is called on another thread."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="letsgo-worker-acknowledge", daemon=True
                )
                self._thread.start()
            self._changed.wait_for(lambda: len(self._waiting) < MOST_WAITING)
            self._waiting.append((message, done))
            self._changed.notify_all()

    def close(self) -> None:
        """Acknowledge what still waits, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            messages = [message for message, _ in batch]
            for (_, done), error in zip(batch, self._acknowledge(messages), strict=True):
                done(error)

    def _next_batch(self) -> list[tuple[ReceivedMessage, Acknowledged]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            self._changed.notify_all()
            return batch

    def _acknowledge(self, messages: list[ReceivedMessage]) -> list[LetsGoQueueError | None]:
        if len(messages) == 1:
            return [self._acknowledge_alone(messages[0])]
        errors = self._transport.delete_batch(messages)
        return [
            # The queue may fail entries of a batch one by one; alone, they are retried.
            self._acknowledge_alone(message) if error is not None and error.retryable else error
            for message, error in zip(messages, errors, strict=True)
        ]

    def _acknowledge_alone(self, message: ReceivedMessage) -> LetsGoQueueError | None:
        try:
            self._transport.delete(message)
        except LetsGoQueueError as error:
            return error
        return None
