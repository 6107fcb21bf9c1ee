"""The heartbeat: keeps messages invisible, and their claims held, for as long as they are in hand.

Whenever half of its visibility timeout has passed, a message is extended by as much again. SQS
allows 12 hours in all. Messages go to the queue ten at a time; their claims go to the store beside
that, so that a store that does not answer makes no message visible, and the other way round. An
extension that fails is tried again while there is time left, whatever it was that failed.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from letsgo_queue.errors import LetsGoError
from letsgo_queue.transports.base import MAX_BATCH, Transport
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.parts import Parts

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How soon an extension that failed is tried again."""

MAX_SENDERS = 4
"""Extensions under way at once; each gives up before the messages that wait for it are due."""


class Heartbeat:
    """Extends the messages of one queue."""

    def __init__(self, transport: Transport, parts: Parts) -> None:
        """Start nothing yet.

        Args:
            transport: The queue.
            parts: Starts the threads, and watches them.
        """
        self._transport = transport
        self._parts = parts
        # Added to and taken from without a lock: a set's own methods are atomic.
        self._in_hand: set[IncomingMessage] = set()
        self._changed = threading.Condition()
        self._work: list[Callable[[], None]] = []
        self._senders = 0
        self._idle = 0
        self._wakes_at = math.inf
        self._started = False
        self._closed = False

    def hold(self, messages: Iterable[IncomingMessage]) -> None:
        """Keep messages invisible until they are released.

        A message whose visibility timeout is 0 or not known is left alone.
        """
        soonest = math.inf
        for message in messages:
            timeout = message.seconds_invisible or 0.0
            if timeout > 0:
                message.visibility_timeout = timeout
                message.extension_due = time.monotonic() + timeout / 2
                soonest = min(soonest, message.extension_due)
                self._in_hand.add(message)
        if soonest < self._wakes_at:
            with self._changed:
                if not self._started:
                    self._started = True
                    self._parts.start("heartbeat", self._watch)
                self._wakes_at = soonest
                self._changed.notify_all()

    def release(self, message: IncomingMessage) -> None:
        """Extend a message no more."""
        self._in_hand.discard(message)

    def in_hand(self) -> Sequence[IncomingMessage]:
        """The messages that are kept invisible."""
        return list(self._in_hand)

    def close(self) -> None:
        """End the threads; they wait for no answer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _watch(self) -> None:
        """Hand out the extensions that are due, until closed."""
        while (due := self._wait_for_due()) is not None:
            for start in range(0, len(due), MAX_BATCH):
                batch = due[start : start + MAX_BATCH]
                self._send(partial(self._extend, batch))
                for message in batch:
                    if message.holds:
                        self._send(partial(_extend_holds, message))

    def _wait_for_due(self) -> list[IncomingMessage] | None:
        """The messages whose time has come; None at the end."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                in_hand = list(self._in_hand)
                if due := [each for each in in_hand if each.extension_due <= now]:
                    for message in due:
                        # Again soon, unless the extension succeeds by then.
                        message.extension_due = now + RETRY_SECONDS
                    return due
                self._wakes_at = min((each.extension_due for each in in_hand), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            return None

    def _extend(self, messages: Sequence[IncomingMessage]) -> None:
        """Extend messages at the queue, in one request."""
        # One that is locked is being extended by its handler, or given back.
        locked = [message for message in messages if message.lock.acquire(blocking=False)]
        try:
            wanted = {message: _seconds_for(message) for message in locked}
            due = [message for message in locked if wanted[message]]
            began = time.monotonic()
            errors = self._transport.change_visibility_batch(
                [(message.received, wanted[message]) for message in due]
            )
            for message, error in zip(due, errors, strict=True):
                if error is None:
                    message.extended(began + wanted[message])
                elif message in self._in_hand:
                    self._failed(message, error)
        finally:
            for message in locked:
                message.lock.release()

    def _failed(self, message: IncomingMessage, error: LetsGoError) -> None:
        logger.warning(
            "message %s could not be kept invisible while its handler runs, and may be delivered "
            "to another worker: %s",
            message.message_id,
            error,
        )
        if not error.retryable:
            message.extension_due = math.inf  # it is no longer ours

    def _send(self, work: Callable[[], None]) -> None:
        """Have a thread make a call."""
        with self._changed:
            self._work.append(work)
            if self._idle == 0 and self._senders < MAX_SENDERS:
                self._senders += 1
                self._parts.start(f"extend-{self._senders}", self._make_calls)
            self._changed.notify_all()

    def _make_calls(self) -> None:
        while True:
            with self._changed:
                while not self._work:
                    if self._closed:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                work = self._work.pop(0)
            work()


def _extend_holds(message: IncomingMessage) -> None:
    try:
        message.extend_holds(message.visibility_timeout)
    except Exception:  # somebody's middleware; it is tried again when the message is due
        logger.exception("message %s: what is held for it was not extended", message.message_id)


def _seconds_for(message: IncomingMessage) -> int:
    """By how long to extend a message; 0 where SQS's 12 hours are over, or its handler did it."""
    left = (message.seconds_invisible or 0.0) - message.visibility_timeout / 2
    if message.is_over or left > 0:
        message.extension_due = math.inf if message.is_over else time.monotonic() + left
        return 0
    return min(math.ceil(message.visibility_timeout), message.longest_extension)
