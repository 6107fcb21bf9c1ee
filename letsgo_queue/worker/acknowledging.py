"""Acknowledges handled messages in batches, without holding any back.

While one request is under way, handled messages gather for the next. So a single message is
acknowledged at once, and many share a request. If more gather than a request takes, further threads
send full requests.

A queue that does not answer is asked again while the message stays invisible: else it would be
handled a second time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from letsgo_queue.errors import LetsGoError, QueueUnavailable
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.log import get_logger
from letsgo_queue.tracing import tracer
from letsgo_queue.transports.base import Transport
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts

logger = get_logger(__name__)

Acknowledged: TypeAlias = Callable[[Sequence[IncomingMessage], Sequence[LetsGoError | None]], None]
"""Called with messages, and for each with None or why it could not be acknowledged."""

MAX_THREADS = 5

PATIENCE_SECONDS = 60.0
"""How long after its first failed request an acknowledgement is tried again."""

AGAIN_SECONDS = 1.0
"""The pause of a thread whose request failed."""


class Acknowledger:
    """Acknowledges the messages of one queue."""

    def __init__(self, transport: Transport, done: Acknowledged, parts: Parts) -> None:
        """Start nothing yet.

        Args:
            transport: The queue.
            done: Called after each request; must not raise.
            parts: Starts the threads, and watches them.
        """
        self._transport = transport
        self._done = done
        self._parts = parts
        self._waiting: deque[IncomingMessage] = deque()
        self._tried_until: dict[IncomingMessage, float] = {}  # messages whose request failed
        self._changed = threading.Condition()
        self._threads = 0
        self._busy = 0
        self._closed = False

    def add(self, message: IncomingMessage) -> None:
        """Acknowledge a message soon; after `close`, before this returns."""
        with self._changed:
            if not self._closed:
                self._waiting.append(message)
                self._start_thread()
                # The first thread waits for any message, and the others for a full request.
                if len(self._waiting) in {1, MAX_BATCH}:
                    self._changed.notify_all()
                return
        self._done([message], self._acknowledge([message]))

    def close(self, deadline: float) -> None:
        """Acknowledge the messages that wait, and end the threads.

        Args:
            deadline: When to give up (on the monotonic clock).
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while (self._waiting or self._busy) and not self._parts.broken:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        if self._parts.broken:  # there may be no thread
            self._run(1, until=deadline)
        for message in self._waiting:
            logger.warning(
                "message %s was handled and could not be acknowledged in time: expect it a second "
                "time.",
                message.message_id,
                extra=message.log_fields,
            )

    def _start_thread(self) -> None:
        """Start the first thread, or one more if all are busy and a request would be full."""
        full = len(self._waiting) >= MAX_BATCH
        if self._closed:
            return
        if self._threads == 0 or (full and self._busy == self._threads < MAX_THREADS):
            least = MAX_BATCH if self._threads else 1
            self._threads += 1
            self._parts.start(f"acknowledge-{self._threads}", lambda: self._run(least))

    def _run(self, least: int, *, until: float = math.inf) -> None:
        while time.monotonic() < until and (batch := self._next_batch(least)):
            again: list[IncomingMessage] = []
            try:
                outcomes = [*zip(batch, self._acknowledge(batch), strict=True)]
                again = [each for each, error in outcomes if self._may_succeed(each, error)]
                ended = {each: error for each, error in outcomes if each not in again}
                for each in ended:
                    self._tried_until.pop(each, None)
                self._done([*ended], [*ended.values()])
            finally:
                with self._changed:
                    self._waiting.extend(again)
                    self._busy -= 1
                    self._changed.notify_all()
                    if again:
                        self._changed.wait_for(lambda: self._closed, AGAIN_SECONDS)

    def _may_succeed(self, message: IncomingMessage, error: LetsGoError | None) -> bool:
        """Whether to try the acknowledgement of a message once more."""
        if error is None or not error.retryable or self._closed:
            return False
        now = time.monotonic()
        until = self._tried_until.setdefault(message, now + PATIENCE_SECONDS)
        return now < until and (message.seconds_invisible or 0.0) > 0

    def _next_batch(self, least: int) -> list[IncomingMessage]:
        """The next messages, as soon as there are enough; none at the end."""
        with self._changed:
            while len(self._waiting) < least and not self._closed:
                self._changed.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
            self._busy += bool(batch)
            self._start_thread()  # there may be enough for one more
            return batch

    def _acknowledge(self, batch: Sequence[IncomingMessage]) -> Sequence[LetsGoError | None]:
        try:
            with tracer().acknowledge([message.span for message in batch], self._transport.url):
                errors = self._transport.delete_batch([message.received for message in batch])
            return [error for _, error in zip(batch, errors, strict=True)]
        except Exception as error:  # a defect of a transport; the others must go on
            logger.exception("%d messages were not acknowledged", len(batch))
            failure = QueueUnavailable(f"{type(error).__name__}.", retryable=False)
            return [failure] * len(batch)
