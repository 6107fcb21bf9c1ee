"""What happens to one delivery: from its arrival to its acknowledgement, or to its failure."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from letsgo_queue.delivery import Delivery, Visibility
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid
from letsgo_queue.events import Event, MessageFailed, MessageHandled, MessageSkipped
from letsgo_queue.message import peek
from letsgo_queue.middleware import Handle, Middleware, merge
from letsgo_queue.transports.base import ReceivedMessage, Transport
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.registry import Handler, Registry

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
    started: float = field(default_factory=time.perf_counter)
    type: str | None = None
    handler_started: bool = False

    def facts(self) -> _Facts:
        """What every event of a delivery says."""
        return {
            "type": self.type,
            "queue": self.transport.url,
            "message_id": self.received.message_id,
            "receive_count": self.received.receive_count,
            "duration": time.perf_counter() - self.started,
        }


class Processor:
    """Runs deliveries through middleware and handler. Safe to use from several threads."""

    def __init__(
        self,
        registry: Registry,
        *,
        middleware: tuple[Middleware, ...],
        emit: Callable[[Event], None],
        concurrency: int,
        stopping: threading.Event,
    ) -> None:
        """Make a processor.

        Args:
            registry: The handlers.
            middleware: Runs around every handler, the first outermost.
            emit: Gets the events.
            concurrency: Deliveries in process at once.
            stopping: Set when nothing should wait any longer.
        """
        self._registry = registry
        self._middleware = middleware
        self._emit = emit
        self._stopping = stopping
        self._loop = EventLoopThread()
        self._heartbeat = Heartbeat(concurrency)

    def process(self, transport: Transport, received: ReceivedMessage) -> bool:
        """Handle a delivery, and acknowledge it.

        Returns:
            Whether it was settled; False leaves it to the queue's retries.
        """
        attempt = _Attempt(transport, received)
        try:
            self._handle(attempt)
        except BaseException as error:  # noqa: BLE001
            # On a thread of the pool there is nobody above: whatever a handler raises,
            # SystemExit and a cancelled task included, is the failure of its message.
            self._failed(attempt, error)
            return False
        self._succeeded(attempt)
        return True

    def close(self) -> None:
        """End the threads, once nothing is in process."""
        self._loop.stop()
        self._heartbeat.stop()

    def _handle(self, attempt: _Attempt) -> None:
        delivery = self._delivery(attempt)
        handler = self._registry.find(delivery.message_id, delivery.type)
        middleware = merge(self._middleware, handler.middleware)
        with self._heartbeat.holding(delivery):
            _chain(middleware, self._ending_in(handler, attempt))(delivery)

    def _delivery(self, attempt: _Attempt) -> Delivery:
        received = attempt.received
        try:
            attempt.type = str(peek(received.body)["type"])
        except MessageInvalid as error:
            raise MessageInvalid(f"message {received.message_id}: {error}") from None
        return Delivery(
            type=attempt.type,
            body=received.body,
            received=received,
            queue=attempt.transport.url,
            emit=self._emit,
            pause=lambda seconds: not self._stopping.wait(seconds),
            visibility=Visibility(attempt.transport, received),
        )

    def _ending_in(self, handler: Handler, attempt: _Attempt) -> Handle:
        def handle(delivery: Delivery) -> None:
            arguments = handler.arguments(delivery)
            attempt.handler_started = True
            outcome = handler.function(*arguments)
            if inspect.isawaitable(outcome):
                self._loop.run(outcome)

        return handle

    def _succeeded(self, attempt: _Attempt) -> None:
        try:
            attempt.transport.delete(attempt.received)
        except LetsGoQueueError as error:
            # The work is done; only its acknowledgement is not. It will come again.
            logger.warning("%s Its handler has returned: expect it a second time.", error)
        event = MessageHandled if attempt.handler_started else MessageSkipped
        self._emit(event(**attempt.facts()))

    def _failed(self, attempt: _Attempt, error: BaseException) -> None:
        # An error of our own says all there is to say; what a handler raises needs its traceback.
        expected = hasattr(error, "retryable") and not attempt.handler_started
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
        self._emit(MessageFailed(**attempt.facts(), error=error))


def _chain(middleware: Sequence[Middleware], handle: Handle) -> Handle:
    for each in reversed(middleware):
        handle = _link(each, handle)
    return handle


def _link(middleware: Middleware, call_next: Handle) -> Handle:
    return lambda delivery: middleware.handle(delivery, call_next)
