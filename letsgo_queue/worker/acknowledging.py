"""Acknowledges handled messages in batches, and holds none back.

Messages that are handled while a request is under way gather for the next one. So a message that
comes alone is acknowledged at once, and many share a request. When more gather than one request
takes, more threads send full requests.
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
"""Gets a message, and None once it is acknowledged, or the error that prevented it."""

MOST_WAITING = 100
"""How many handled messages may wait. When so many do, the handlers wait too."""

MAX_THREADS = 5


class Acknowledger:
    """Acknowledges the deliveries of one queue, on threads that start when they are needed."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiting: list[tuple[IncomingMessage, Acknowledged]] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closing = False

    def add(self, message: IncomingMessage, done: Acknowledged) -> None:
        """Acknowledge a delivery soon.

        `done` is called on another thread; after `close`, on this one.
        """
        with self._changed:
            if self._closing:  # a second signal did not wait for its handler
                done(message, self._acknowledge_alone(message))
                return
            self._changed.wait_for(lambda: len(self._waiting) < MOST_WAITING)
            self._waiting.append((message, done))
            self._start_thread()
            if len(self._waiting) in {1, MAX_BATCH}:  # the first thread waits for 1, others for 10
                self._changed.notify_all()

    def close(self) -> None:
        """Acknowledge what still waits, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        """Start the first thread, or one more if all are busy and a request could be filled."""
        if self._threads:
            filled = len(self._waiting) >= MAX_BATCH
            if self._busy < len(self._threads) or not filled or len(self._threads) == MAX_THREADS:
                return
        thread = threading.Thread(
            # The first thread sends what there is, the others send full requests only.
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
                except BaseException:  # a listener's; without this thread all would wait for ever
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
            return list(errors)  # the queue does not answer, and was asked several times already
        return [
            # SQS may fail single entries of a batch; botocore repeats them when they go alone.
            self._acknowledge_alone(message) if error is not None and error.retryable else error
            for message, error in zip(messages, errors, strict=True)
        ]

    def _acknowledge_together(
        self, messages: list[IncomingMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        try:
            errors = self._transport.delete_batch([each.received for each in messages])
            return [error for _, error in zip(messages, errors, strict=True)]
        except Exception as error:  # a defect of a transport; as above
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
