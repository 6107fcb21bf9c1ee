"""What happens to one delivery: from its arrival to its acknowledgement, or to its failure."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from letsgo_queue.delays import seconds_left, sent_on
from letsgo_queue.envelope import type_of
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid, Reject, Retry
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
from letsgo_queue.worker.delivery import Delivery, Visibility
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.failures import Failure, Rejected, Retried, settle
from letsgo_queue.worker.heartbeat import Heartbeat, Held
from letsgo_queue.worker.registry import Handler, Registry
from letsgo_queue.worker.retries import RetryPolicy

logger = logging.getLogger(__name__)


class _Facts(TypedDict):
    type: str | None
    queue: str
    message_id: str
    receive_count: int
    duration: float


@dataclass(slots=True)
class _Attempt:
    """How far one delivery has come."""

    transport: Transport
    received: ReceivedMessage
    visibility: Visibility
    held: Held | None = None
    started: float = field(default_factory=time.perf_counter)
    type: str | None = None
    policy: RetryPolicy | None = None
    handler_started: bool = False
    seconds_left: int = 0

    def facts(self) -> _Facts:
        """What every event of a delivery says."""
        return {
            "type": self.type,
            "queue": self.transport.url,
            "message_id": self.received.message_id,
            "receive_count": self.received.receive_count,
            "duration": time.perf_counter() - self.started,
        }


@dataclass(frozen=True, slots=True)
class Accepted:
    """A delivery in hand, which is kept invisible until it is handled or given back."""

    processor: Processor
    attempt: _Attempt

    @property
    def message_id(self) -> str:
        """The message's id."""
        return self.attempt.received.message_id

    def run(self) -> bool:
        """Handle it, and acknowledge it; see `Processor.process`."""
        return self.processor.run(self.attempt)

    def give_back(self) -> None:
        """Have it delivered again at once.

        Raises:
            QueueUnavailable: The queue could not be told; the message comes again later.
        """
        self.processor.release(self.attempt)
        self.attempt.transport.change_visibility(self.attempt.received, 0)


class Processor:
    """Runs deliveries through middleware and handler. Safe to use from several threads."""

    def __init__(
        self,
        registry: Registry,
        *,
        middleware: tuple[Middleware, ...],
        emit: Callable[[Event], None],
        pause: Callable[[float], bool],
        event_loop: EventLoopThread,
        retry_policy: RetryPolicy | None = None,
        heartbeat: Heartbeat | None = None,
        acknowledger: Acknowledger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a processor.

        Args:
            registry: The handlers.
            middleware: Runs around every handler, the first outermost.
            emit: Gets the events.
            pause: Waits so many seconds; False, at once, where nothing should wait.
            event_loop: Runs async handlers.
            retry_policy: That of handlers that have none of their own.
            heartbeat: Keeps messages invisible while they are handled.
            acknowledger: Acknowledges in batches; without one each message is acknowledged before
                `process` returns.
            clock: Seconds since 1970.
        """
        self._registry = registry
        self._middleware = middleware
        self._emit = emit
        self._pause = pause
        self._event_loop = event_loop
        self._retry_policy = retry_policy
        self._heartbeat = heartbeat
        self._acknowledger = acknowledger
        self._clock = clock

    def accept(self, transport: Transport, received: ReceivedMessage) -> Accepted:
        """Take a delivery in hand: from now on it is kept invisible."""
        attempt = _Attempt(
            transport,
            received,
            visibility=Visibility(transport, received),
            policy=self._retry_policy,
        )
        if self._heartbeat is not None:
            attempt.held = self._heartbeat.hold(attempt.visibility)
        return Accepted(self, attempt)

    def process(self, transport: Transport, received: ReceivedMessage) -> bool:
        """Handle a delivery, and acknowledge it.

        Returns:
            Whether it was settled; False leaves it to the queue's retries.
        """
        return self.accept(transport, received).run()

    def run(self, attempt: _Attempt) -> bool:
        """Handle a delivery that was accepted; see `process`."""
        try:
            try:
                self._handle(attempt)
            finally:
                self.release(attempt)
        except BaseException as error:  # noqa: BLE001
            # On a thread of the pool there is nobody above: whatever a handler raises,
            # SystemExit and a cancelled task included, is the failure of its message.
            return self._failed(attempt, error)
        if attempt.seconds_left:
            self._emit(MessageDelayed(**attempt.facts(), seconds_left=attempt.seconds_left))
        else:
            self._succeeded(attempt)
        return True

    def release(self, attempt: _Attempt) -> None:
        """Keep a delivery invisible no more."""
        if self._heartbeat is not None:
            self._heartbeat.release(attempt.held)

    def run_scheduled(self, event: Mapping[str, Any]) -> None:
        """Handle a scheduled event; what its handler raises is the caller's.

        Raises:
            HandlerMissing: There is no handler for it.
        """
        outcome = self._registry.scheduled(event)
        if inspect.isawaitable(outcome):
            self._event_loop.run(outcome)

    def _handle(self, attempt: _Attempt) -> None:
        delivery = self._delivery(attempt)
        if left := seconds_left(attempt.received, self._clock()):
            attempt.transport.send_on(
                attempt.received, sent_on(attempt.received, delivery.type, left)
            )
            attempt.seconds_left = left
            return
        handler = self._registry.find(delivery.message_id, delivery.type)
        attempt.policy = handler.retry_policy or self._retry_policy
        middleware = merge(self._middleware, handler.middleware)
        _chain(middleware, self._ending_in(handler, attempt))(delivery)

    def _delivery(self, attempt: _Attempt) -> Delivery:
        received = attempt.received
        try:
            attempt.type = type_of(received.body)
        except MessageInvalid as error:
            raise MessageInvalid(f"message {received.message_id}: {error}") from None
        return Delivery(
            type=attempt.type,
            body=received.body,
            received=received,
            queue=attempt.transport.url,
            emit=self._emit,
            pause=self._pause,
            visibility=attempt.visibility,
        )

    def _ending_in(self, handler: Handler, attempt: _Attempt) -> Handle:
        def handle(delivery: Delivery) -> None:
            arguments = handler.arguments(delivery)
            attempt.handler_started = True
            outcome = handler.function(*arguments)
            if inspect.isawaitable(outcome):
                self._event_loop.run(outcome)

        return handle

    def _succeeded(self, attempt: _Attempt) -> None:
        if self._acknowledger is not None:
            self._acknowledger.add(
                attempt.received, lambda error: self._acknowledged(attempt, error)
            )
            return
        try:
            attempt.transport.delete(attempt.received)
        except LetsGoQueueError as error:
            self._acknowledged(attempt, error)
        else:
            self._acknowledged(attempt, None)

    def _acknowledged(self, attempt: _Attempt, error: LetsGoQueueError | None) -> None:
        if error is not None:
            # The work is done; only its acknowledgement is not.
            logger.warning("%s It was handled: expect it a second time.", error)
        if attempt.handler_started:
            self._emit(MessageHandled(**attempt.facts()))
        else:
            self._emit(MessageSkipped(**attempt.facts()))

    def _failed(self, attempt: _Attempt, error: BaseException) -> bool:
        # An error of our own says all there is to say; what a handler raises needs its traceback.
        ours = isinstance(error, Retry | Reject) or not attempt.handler_started
        expected = hasattr(error, "retryable") and ours
        level = logging.WARNING if getattr(error, "retryable", False) else logging.ERROR
        logger.log(
            level,
            "message %s of type %r failed, received %d times: %s",
            attempt.received.message_id,
            attempt.type,
            attempt.received.receive_count,
            error if expected else type(error).__name__,
            exc_info=None if expected else error,
        )
        failure = Failure(
            transport=attempt.transport,
            received=attempt.received,
            type=attempt.type,
            error=error,
            handler_started=attempt.handler_started,
            seconds=time.perf_counter() - attempt.started,
        )
        try:
            outcome = settle(failure, attempt.policy)
        except Exception:  # somebody's retry policy or transport; the message must go on
            logger.exception("message %s is left to its queue", attempt.received.message_id)
            outcome = Retried(None)
        match outcome:
            case Rejected(reason):
                self._emit(MessageRejected(**attempt.facts(), error=error, reason=reason))
                return True
            case Retried(delay):
                self._emit(MessageFailed(**attempt.facts(), error=error, retry_delay=delay))
                return False


def _chain(middleware: Sequence[Middleware], handle: Handle) -> Handle:
    for each in reversed(middleware):
        handle = _link(each, handle)
    return handle


def _link(middleware: Middleware, call_next: Handle) -> Handle:
    return lambda delivery: middleware.handle(delivery, call_next)
