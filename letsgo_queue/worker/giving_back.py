"""Gives back what a worker does not handle: messages to their queue, claims to their store."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence

from letsgo_queue.delays import sent_on
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import MessageGivenBack
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import Transport
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.incoming import EXTENSION_SECONDS, IncomingMessage
from letsgo_queue.worker.parts import Parts, SideCalls

logger = get_logger(__name__)

RELEASE_SECONDS = 2.0
"""How long a worker that ends waits for claims to be released."""

RELEASE_THREADS = 8

LAST_EXTENSION_SECONDS = 1.0
"""How long a worker that ends waits for an unfinished extension of a message that it gives back."""


class GivingBack:
    """Gives messages back.

    Attributes:
        deadline: After this, messages are left to their visibility timeouts (on the monotonic
            clock).
    """

    def __init__(self, transport: Transport, heartbeat: Heartbeat, parts: Parts) -> None:
        """Give nothing back yet.

        Args:
            transport: The queue.
            heartbeat: Keeps the messages invisible until then.
            parts: Starts the threads that release claims.
        """
        self.deadline = math.inf
        self._transport = transport
        self._heartbeat = heartbeat
        self._parts = parts

    def give_back(self, messages: Sequence[IncomingMessage], *, seconds: float = 0) -> None:
        """Have messages that were not handled delivered again, in order.

        Args:
            messages: The messages.
            seconds: Seconds until then.
        """
        for start in range(0, len(messages), MAX_BATCH):
            if time.monotonic() > self.deadline:
                logger.warning("%d messages come again later", len(messages) - start)
                return
            self._give_back(messages[start : start + MAX_BATCH], seconds)

    def give_back_late(
        self, message: IncomingMessage, behind: Sequence[IncomingMessage] = ()
    ) -> None:
        """Give back a message that waited for a limit for as long as SQS hides one.

        If its next receive would make it a dead letter, it is sent on instead, and its receives
        are counted anew. On a FIFO queue it would lose its place so, and is given back. One that
        another worker has received meanwhile is only let go.

        Args:
            message: The message.
            behind: Those in line behind it, which go back with it.
        """
        if message.is_over:  # its next delivery handles it
            self._heartbeat.drop(message)
            self.give_back(behind)
            return
        if message.longest_extension > 0 and self._is_last(message):
            self._heartbeat.drop(message)
            message.end()
            again = sent_on(message.received, message.type or "", 0)
            try:
                self._transport.send_on(message.received, again)
            except LetsGoError as error:
                logger.warning("%s", error, extra=message.log_fields)
            else:
                _log_late(message, "sent on, so that it does not become a dead letter")
                return
        _log_late(message, "given back, which uses up a receive")
        self.give_back((message, *behind))

    def _is_last(self, message: IncomingMessage) -> bool:
        """Whether one more receive makes it a dead letter, and it may be sent on instead."""
        if self._transport.fifo:
            return False
        try:
            most = self._transport.max_receives()
        except LetsGoError:
            return False
        return most is not None and message.received.receive_count >= most

    def _give_back(self, batch: Sequence[IncomingMessage], seconds: float) -> None:
        # An extension that is under way would hide them again.
        stops = self.deadline < math.inf
        until = time.monotonic() + (LAST_EXTENSION_SECONDS if stops else EXTENSION_SECONDS)
        for message in batch:
            self._heartbeat.drop(message)
            message.end(wait=max(until - time.monotonic(), 0))
        changes = [
            (message.received, min(math.ceil(seconds), message.longest_extension))
            for message in batch
        ]
        try:
            errors = self._transport.change_visibility_batch(changes)
            for message, error in zip(batch, errors, strict=True):
                if error is not None:
                    logger.warning(
                        "message %s comes again later: %s",
                        message.message_id,
                        error,
                        extra=message.log_fields,
                    )
        except Exception:  # a defect of a transport; the others must be given back too
            logger.exception("%d messages come again later", len(batch))

    def report(self, messages: Collection[IncomingMessage]) -> None:
        """Log that messages which were begun are given back, and why."""
        for message in messages:
            logger.warning(
                "message %s of type %s is given back: %s after %.0f s",
                message.message_id,
                message.type,
                _why_begun(message),
                message.seconds_in_hand,
                extra=message.log_fields,
            )
            if message.handler_started and message.has_listeners:
                message.emit(MessageGivenBack(**message.facts()))
            message.span.end()

    def release_claims(self, messages: Collection[IncomingMessage]) -> None:
        """Release the claims of messages that were begun."""
        calls = SideCalls("release", RELEASE_THREADS, self._parts)
        for message in messages:
            if message.leases:
                calls.add(message.give_back_leases)
        calls.wait(time.monotonic() + RELEASE_SECONDS)
        calls.close()


def _log_late(message: IncomingMessage, done: str) -> None:
    logger.warning(
        "message %s of type %s waited %.0f s for a limit of its handler, or of this worker, and is "
        "%s: SQS hides a message for 12 hours at most. Raise the limit, or start more workers.",
        message.message_id,
        message.type,
        message.seconds_in_hand,
        done,
        extra=message.log_fields,
    )


def _why_begun(message: IncomingMessage) -> str:
    """Why a message that was begun has not ended."""
    if message.handler_runs:
        return "its handler still runs"
    if message.waits_since < math.inf:
        return "its store does not answer"
    return "its middleware has not ended" if message.handler_started else "no handler was free"
