"""The heartbeat: keeps messages invisible, and their claims leased, while they are in hand.

When half of its visibility timeout has passed, a message is extended by a whole one. SQS allows 12
hours in all. One request to the queue extends ten messages. Other threads extend the leases at the
store. So a store that does not answer makes no message visible, and a queue that does not answer
ends no lease. An extension that fails, for whatever reason, is tried again until the delivery is
known to have ended. Even then the leases are extended: the handler still runs, and the next
delivery must not run a second one beside it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial

from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import QueueFailed
from letsgo_queue.forking import renew_in_children
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import DeliveryEnded, Transport
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts, SideCalls

logger = get_logger(__name__)

RETRY_SECONDS = 1.0
"""How soon an extension that failed is tried again, while there is time left."""

LATE_RETRY_SECONDS = 15.0
"""How soon it is tried again if the message may be visible: perhaps nobody has received it yet."""

LOOK_SECONDS = 1.0
"""How often the heartbeat looks for messages that are due, while any are in hand."""

MAX_CALLS = 4
"""The most extensions at once at the queue, and as many at the stores."""


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
        # Taken from without a lock: a set's own methods are atomic.
        self._in_hand: set[IncomingMessage] = set()
        self._changed = threading.Condition()
        self._extensions = SideCalls("extend", MAX_CALLS, parts)
        self._leases = SideCalls("lease", MAX_CALLS, parts)
        self._wakes_at = math.inf
        self._started = False
        self._closed = False
        renew_in_children(self._unlock_messages)

    def hold(self, messages: Iterable[IncomingMessage]) -> None:
        """Keep messages invisible until they are dropped.

        A message whose visibility timeout is 0 or not known is left alone.
        """
        with self._changed:
            for message in messages:
                if message.visibility_timeout:
                    self._in_hand.add(message)
                    if message.extension_due < self._wakes_at:
                        self._wakes_at = message.extension_due
                        self._changed.notify()
            if self._in_hand and not self._started:
                self._started = True
                self._parts.start("heartbeat", self._watch)

    def drop(self, message: IncomingMessage) -> None:
        """Extend a message no more."""
        self._in_hand.discard(message)

    def close(self) -> None:
        """End the threads; they wait for no answer."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._extensions.close()
        self._leases.close()

    def _watch(self) -> None:
        """Hand out the extensions that are due, until closed."""
        while (now := self._wait_for_due()) is not None:
            in_hand = list(self._in_hand)
            due = [message for message in in_hand if message.extension_due <= now]
            for message in due:
                message.extension_due = math.inf  # until the call is over
            for start in range(0, len(due), MAX_BATCH):
                self._extensions.add(partial(self._extend, due[start : start + MAX_BATCH]))
            for message in in_hand:
                if message.leases_due <= now:
                    message.leases_due = math.inf
                    self._leases.add(partial(self._extend_leases, message))

    def _wait_for_due(self) -> float | None:
        """Wait until a message is due, and return the time then; None at the end."""
        with self._changed:
            while not self._closed:
                dues = [min(each.extension_due, each.leases_due) for each in list(self._in_hand)]
                self._wakes_at = min(dues, default=math.inf)
                now = time.monotonic()
                if self._wakes_at <= now:
                    return now
                # Attaching a lease does not wake this thread.
                left = min(self._wakes_at - now, LOOK_SECONDS)
                self._changed.wait(left if self._in_hand else None)
            return None

    def _extend(self, messages: Sequence[IncomingMessage]) -> None:
        """Extend messages at the queue, in one request."""
        # Where the lock is taken, the handler extends the message, or the message has ended.
        locked = [message for message in messages if message.lock.acquire(blocking=False)]
        try:
            self._extend_locked(locked)
        except Exception:  # a defect of a transport; it is tried again
            logger.exception("%d messages could not be kept invisible", len(locked))
        finally:
            for message in locked:
                message.lock.release()
            now = time.monotonic()
            for message in messages:
                if message.extension_due == math.inf and message.invisible_until is not None:
                    late = (message.seconds_invisible or 0.0) < 0
                    message.extension_due = now + (LATE_RETRY_SECONDS if late else RETRY_SECONDS)
            self._look_again()

    def _extend_locked(self, messages: Iterable[IncomingMessage]) -> None:
        wanted = [(each, seconds) for each in messages if (seconds := self._seconds_for(each))]
        if not wanted:
            return
        began = time.monotonic()
        errors = self._transport.change_visibility_batch(
            [(message.received, seconds) for message, seconds in wanted]
        )
        for (message, seconds), error in zip(wanted, errors, strict=True):
            if error is None:
                message.extended(began + seconds)
                if seconds < message.visibility_timeout:  # that was all that SQS allows
                    self.drop(message)
            elif message in self._in_hand:
                self._failed(message, error)

    def _seconds_for(self, message: IncomingMessage) -> int:
        """Seconds to extend a message by; 0 if its handler did it, or its 12 hours are over."""
        left = message.seconds_invisible or 0.0
        if message.is_over:
            self.drop(message)
            return 0
        if left > message.visibility_timeout / 2:
            message.extended(time.monotonic() + left)
            return 0
        seconds = min(math.ceil(message.visibility_timeout), message.longest_extension)
        if seconds <= left:  # its 12 hours are over
            self.drop(message)
            return 0
        return seconds

    def _failed(self, message: IncomingMessage, error: LetsGoError) -> None:
        logger.warning(
            "message %s could not be kept invisible while its handler runs, and may be delivered "
            "to another worker: %s",
            message.message_id,
            error,
            extra=message.log_fields,
        )
        if message.has_listeners:
            message.emit(
                QueueFailed(
                    type=message.type, queue=message.queue, call="change_visibility", error=error
                )
            )
        if isinstance(error, DeliveryEnded):
            message.invisible_until = None  # and it is never due again
            if message.begun is None:
                message.is_over = True  # its next delivery handles it

    def _extend_leases(self, message: IncomingMessage) -> None:
        """Extend what middleware has leased for a message."""
        # Its handler may have extended both by more.
        seconds = max(message.visibility_timeout, message.seconds_invisible or 0.0)
        due = time.monotonic() + RETRY_SECONDS
        try:
            message.extend_leases(seconds)
            due += seconds / 2 - RETRY_SECONDS
        except LetsGoError as error:
            logger.warning(
                "message %s: its lease was not extended: %s",
                message.message_id,
                error,
                extra=message.log_fields,
            )
        finally:
            message.leases_due = due
            self._look_again()

    def _unlock_messages(self) -> None:
        # A handler may fork while this thread has the lock of its message, and extend it there.
        for message in self._in_hand:
            message.lock = threading.RLock()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify()
