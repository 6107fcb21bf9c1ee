"""Takes one message through middleware and handler, to its end."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from letsgo_queue.delays import seconds_left, sent_on
from letsgo_queue.errors import LetsGoError, Reject, Retry
from letsgo_queue.events import (
    Event,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageRejected,
    MessageSkipped,
)
from letsgo_queue.middleware import Handle, Middleware, merge
from letsgo_queue.transports.base import ReceivedMessage, Transport
from letsgo_queue.worker.acknowledging import Acknowledger
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.envelopes import Envelope, open_envelope
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.failures import settle_failure
from letsgo_queue.worker.handler import Handler
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.registry import Registry
from letsgo_queue.worker.retries import RetryPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hold:
    """A message that cannot be opened yet stays in hand, invisible, and is tried again.

    Attributes:
        seconds: How long it waits.
        error: Why.
    """

    seconds: float
    error: LetsGoError


class Processor:
    """Runs messages through middleware and handler. Safe to use from several threads."""

    def __init__(
        self,
        registry: Registry,
        *,
        middleware: tuple[Middleware, ...],
        emit: Callable[[Event], None],
        event_loop: EventLoopThread,
        retry_policy: RetryPolicy | None = None,
        envelopes: Collection[Envelope] = (),
        heartbeat: Heartbeat | None = None,
        acknowledger: Acknowledger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a processor.

        Args:
            registry: The handlers.
            middleware: Runs around every handler, the first outermost.
            emit: Gets the events.
            event_loop: Runs async handlers.
            retry_policy: For handlers that have none of their own.
            envelopes: Services whose envelopes are opened.
            heartbeat: Keeps messages invisible while they are handled.
            acknowledger: Acknowledges in batches; without one each message is acknowledged before
                `run` returns.
            clock: Seconds since 1970.
        """
        self._registry = registry
        self._middleware = middleware
        self._emit = emit
        self._event_loop = event_loop
        self._retry_policy = retry_policy
        self._envelopes = envelopes
        self._heartbeat = heartbeat
        self._acknowledger = acknowledger
        self._clock = clock

    def accept(
        self, transport: Transport, received: ReceivedMessage, *, context: object | None = None
    ) -> IncomingMessage:
        """Take a message in hand: from now on it is kept invisible.

        Args:
            transport: The queue.
            received: The message.
            context: AWS Lambda's context.
        """
        received = open_envelope(received, self._envelopes)
        message = IncomingMessage(
            received, transport, emit=self._emit, policy=self._retry_policy, context=context
        )
        if self._heartbeat is not None:
            self._heartbeat.hold(message)
        return message

    def process(
        self,
        transport: Transport,
        received: ReceivedMessage,
        *,
        wait: Callable[[Hold], bool],
        context: object | None = None,
    ) -> bool:
        """Handle a message to its end, and wait here as long as it cannot be opened.

        Args:
            transport: The queue.
            received: The message.
            wait: Waits for as long as it is told, and returns True; or returns False at once, to
                have the message fail.
            context: AWS Lambda's context.

        Returns:
            Whether it was settled; False leaves it to the queue's retries.
        """
        message = self.accept(transport, received, context=context)
        while True:
            outcome = self.run(message)
            if isinstance(outcome, bool):
                return outcome
            if not wait(outcome):
                return self.fail(message, outcome.error)

    def run(self, message: IncomingMessage) -> bool | Hold:
        """Handle a message that was accepted.

        Returns:
            Whether it was settled (False leaves it to the queue's retries), or how long to hold it
            before it is run again.
        """
        try:
            self._handle(message)
        except BaseException as error:  # noqa: BLE001
            # Nobody above on this thread could deal with it: whatever a handler raises,
            # SystemExit and a cancelled task included, is the failure of its message.
            if isinstance(error, LetsGoError):
                seconds = message.next_try(error)
                if seconds is not None:
                    logger.info(
                        "message %s waits %.1f s in the worker: %s",
                        message.message_id,
                        seconds,
                        error,
                    )
                    return Hold(seconds, error)
            return self.fail(message, error)
        self.release(message)
        if message.delay_left:
            self._emit(MessageDelayed(**message.facts(), seconds_left=message.delay_left))
        else:
            self._succeed(message)
        return True

    def release(self, message: IncomingMessage) -> None:
        """Keep a message invisible no more."""
        message.end()
        if self._heartbeat is not None:
            self._heartbeat.release(message)

    def give_back(self, message: IncomingMessage, *, seconds: float = 0) -> None:
        """Have a message delivered again in so many seconds.

        Raises:
            QueueUnavailable: The queue could not be told; the message comes again later.
        """
        self.release(message)
        delay = min(math.ceil(seconds), message.longest_extension)
        message.transport.change_visibility(message.received, delay)

    def fail(self, message: IncomingMessage, error: BaseException) -> bool:
        """End a message that was not handled; whether it was settled."""
        self.release(message)
        # An error of our own says all there is to say; a handler's error needs its traceback.
        ours = isinstance(error, Retry | Reject) or not message.handler_started
        expected = isinstance(error, LetsGoError) and ours
        level = logging.WARNING if getattr(error, "retryable", False) else logging.ERROR
        logger.log(
            level,
            "message %s of type %r failed, received %d times: %s",
            message.message_id,
            message.type,
            message.received.receive_count,
            error if expected else type(error).__name__,
            exc_info=None if expected else error,
        )
        outcome: MessageRejected | MessageFailed
        try:
            outcome = settle_failure(message, error)
        except Exception:  # a defect of a retry policy or a transport
            logger.exception("message %s is left to its queue", message.message_id)
            outcome = MessageFailed(**message.facts(), error=error)
        self._emit(outcome)
        return isinstance(outcome, MessageRejected)

    def run_scheduled(self, event: Mapping[str, Any]) -> None:
        """Handle a scheduled event. What its handler raises goes on to the caller.

        Raises:
            HandlerMissing: There is no handler for it.
        """
        outcome = self._registry.scheduled(dict(event))
        if inspect.isawaitable(outcome):
            self._event_loop.run(outcome)

    def _handle(self, message: IncomingMessage) -> None:
        message_type = message.read_envelope()
        if left := seconds_left(message.received, self._clock()):
            message.transport.send_on(
                message.received, sent_on(message.received, message_type, left)
            )
            message.delay_left = left
            return
        handler = self._registry.find(message.message_id, message_type)
        message.policy = handler.retry_policy or self._retry_policy
        middleware = merge(self._middleware, handler.middleware)
        _chain(middleware, self._ending_in(handler))(message)

    def _ending_in(self, handler: Handler) -> Handle:
        def handle(message: IncomingMessage) -> None:
            arguments = handler.arguments(message)
            message.handler_started = True
            outcome = handler.function(*arguments)
            if inspect.isawaitable(outcome):
                self._event_loop.run(outcome)

        return handle

    def _succeed(self, message: IncomingMessage) -> None:
        if self._acknowledger is not None:
            self._acknowledger.add(message, self._acknowledged)
            return
        try:
            message.transport.delete(message.received)
        except LetsGoError as error:
            self._acknowledged(message, error)
        else:
            self._acknowledged(message, None)

    def _acknowledged(self, message: IncomingMessage, error: LetsGoError | None) -> None:
        if error is not None:
            # The work is done; only its acknowledgement is not.
            logger.warning("%s It was handled: expect it a second time.", error)
        if message.handler_started:
            self._emit(MessageHandled(**message.facts()))
        else:
            self._emit(MessageSkipped(**message.facts()))


def _chain(middleware: Sequence[Middleware], handle: Handle) -> Handle:
    for each in reversed(middleware):
        handle = _link(each, handle)
    return handle


def _link(middleware: Middleware, call_next: Handle) -> Handle:
    return lambda message: middleware.handle(message, call_next)
