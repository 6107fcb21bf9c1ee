"""Acknowledging handled messages in batches, without holding any back.

While one request is under way, what is handled meanwhile gathers for the next: a message that comes
alone is acknowledged at once, and many share a request. Where more gathers than a request takes,
further threads send full ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from letsgo_queue.errors import LetsGoQueueError, QueueUnavailable
from letsgo_queue.transports.base import MAX_BATCH, Transport
from letsgo_queue.worker.delivery import IncomingMessage

logger = logging.getLogger(__name__)

Acknowledged: TypeAlias = Callable[[IncomingMessage, LetsGoQueueError | None], None]
"""Called with a message and None once it is acknowledged, else with why it is not."""

MOST_WAITING = 100
"""Handled messages that may wait; with so many, the handlers wait too."""

MAX_THREADS = 5


class Acknowledger:
    """Acknowledges the deliveries of one queue, on threads that are started when first needed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiting: list[tuple[IncomingMessage, Acknowledged]] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closing = False

    def add(self, message: IncomingMessage, done: Acknowledged) -> None:
        """Acknowledge a delivery soon; `done` is called on another thread, at the end on this."""
        with self._changed:
            if self._closing:  # a handler that a second signal did not wait for
                done(message, self._acknowledge_alone(message))
                return
            self._changed.wait_for(lambda: len(self._waiting) < MOST_WAITING)
            self._waiting.append((message, done))
            self._start_thread()
            if len(self._waiting) in {1, MAX_BATCH}:  # what the first thread, or another, waits for
                self._changed.notify_all()

    def close(self) -> None:
        """Acknowledge what still waits, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        """Start the first thread, or one more where all are busy and a request could be filled."""
        if self._threads:
            filled = len(self._waiting) >= MAX_BATCH
            if self._busy < len(self._threads) or not filled or len(self._threads) == MAX_THREADS:
                return
        thread = threading.Thread(
            # The first takes what there is, the others full requests only.
            target=self._run,
            args=(MAX_BATCH if self._threads else 1,),
            name="letsgo-worker-acknowledge",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def _run(self, least: int) -> None:
        while batch := self._next_batch(least):
            messages = [message for message, _ in batch]
            for (message, done), error in zip(batch, self._acknowledge(messages), strict=True):
                try:
                    done(message, error)
                except BaseException:  # somebody's listener; without this thread all would wait
                    logger.exception("message %s: a listener failed", message.message_id)
            with self._changed:
                self._busy -= 1

    def _next_batch(self, least: int) -> list[tuple[IncomingMessage, Acknowledged]]:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) >= least or self._closing)
            if len(self._waiting) >= MOST_WAITING:
                self._changed.notify_all()
            batch = self._waiting[:MAX_BATCH]
            del self._waiting[:MAX_BATCH]
            self._busy += 1
            self._start_thread()  # there may be enough for one more
            return batch

    def _acknowledge(self, messages: list[IncomingMessage]) -> list[LetsGoQueueError | None]:
        if len(messages) == 1:
            return [self._acknowledge_alone(messages[0])]
        errors = self._acknowledge_together(messages)
        if all(errors):
            return list(errors)  # a queue that does not answer, which has been retried already
        return [
            # The queue may fail entries of a batch one by one; alone, they are retried.
            self._acknowledge_alone(message) if error is not None and error.retryable else error
            for message, error in zip(messages, errors, strict=True)
        ]

    def _acknowledge_together(
        self, messages: list[IncomingMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        try:
            return self._transport.delete_batch([each.received for each in messages])
        except Exception as error:  # a defect of a transport; without this thread all would wait
            logger.exception("%d messages were not acknowledged", len(messages))
            return [QueueUnavailable(f"{type(error).__name__}.")] * len(messages)

    def _acknowledge_alone(self, message: IncomingMessage) -> LetsGoQueueError | None:
        try:
            self._transport.delete(message.received)
        except LetsGoQueueError as error:
            return error
        except Exception as error:  # as above
            logger.exception("message %s was not acknowledged", message.message_id)
            return QueueUnavailable(f"message {message.message_id}: {type(error).__name__}.")
        return None
