"""What happens to one message in hand: through middleware and handler, to its end."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from letsgo_queue.delays import seconds_left, sent_on
from letsgo_queue.errors import LetsGoError, Reject, Retry
from letsgo_queue.events import (
    Event,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageRejected,
    MessageSkipped,
    MessageStarted,
)
from letsgo_queue.middleware import Middleware, merge
from letsgo_queue.transports.base import ReceivedMessage, Transport
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.failures import settle_failure
from letsgo_queue.worker.handler import Handler
from letsgo_queue.worker.passage import Passage, surrounding
from letsgo_queue.worker.registry import Registry
from letsgo_queue.worker.retries import RetryPolicy

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hold:
    """A message that cannot be opened yet stays in hand, invisible, and is tried again.

    Attributes:
        seconds: How long it waits.
        error: Why.
    """

    seconds: float
    error: LetsGoError


Outcome: TypeAlias = bool | Hold
"""Whether a message is done with, and may be acknowledged; or how long to hold it."""


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a processor.

        Args:
            registry: The handlers.
            middleware: Runs around every handler, the first outermost.
            emit: Gets the events.
            event_loop: Runs async handlers.
            retry_policy: For handlers that have none of their own.
            clock: Seconds since 1970.
        """
        self._registry = registry
        self._middleware = middleware
        self._emit = emit
        self._event_loop = event_loop
        self._retry_policy = retry_policy
        self._clock = clock
        self._around: dict[Handler, tuple[Middleware, ...]] = {}

    def accept(
        self, transport: Transport, received: ReceivedMessage, *, lambda_context: object = None
    ) -> IncomingMessage:
        """Take a message in hand.

        Args:
            transport: The queue.
            received: The message.
            lambda_context: AWS Lambda's context.
        """
        return IncomingMessage(
            received,
            transport,
            emit=self._emit,
            policy=self._retry_policy,
            lambda_context=lambda_context,
        )

    def is_async(self, message: IncomingMessage) -> bool:
        """Whether an async handler takes the message; its envelope is read for that."""
        return message.handler is not None and message.handler.is_async

    def find_handler(self, message: IncomingMessage) -> None:
        """Read the envelope of a message, and find its handler.

        What is wrong with either is the message's failure, and shows when it is run.
        """
        try:
            message.handler = self._registry.find(message.message_id, message.read_envelope())
        except LetsGoError as error:
            message.refusal = error
            return
        message.policy = message.handler.retry_policy or self._retry_policy

<<<<<<< HEAD
    def run(self, message: IncomingMessage) -> Outcome:
        """Handle a message; an async handler runs on the event loop, and this waits for it."""
        return message.context.run(self._run, message)

    def _run(self, message: IncomingMessage) -> Outcome:
        passage = None
        try:
            if passage := self._begin(message):
                result = self._enter(message, passage) and self._call(message)
                if inspect.isawaitable(result):
                    self._event_loop.run(result)
        except BaseException as error:  # noqa: BLE001
            # There is nobody above: whatever a handler raises, SystemExit and a cancelled task
            # included, is the failure of its message.
            return self._leave(message, passage, error)
        return self._leave(message, passage, None)

    async def run_async(
        self, message: IncomingMessage, on_thread: Callable[..., Awaitable[Any]]
    ) -> Outcome:
        """Handle a message whose handler is async, on the event loop.

        Args:
            message: The message.
            on_thread: Runs what may wait for something on a thread.
        """

        async def run(step: Callable[..., _T], *arguments: object) -> _T:
            if blocks:
                return cast("_T", await on_thread(message.context.run, step, *arguments))
            return step(*arguments)

        blocks = self._is_delayed(message)
        passage = None
        try:
            passage = await run(self._begin, message)
            if passage is not None:
                blocks = passage.blocks
                if await run(self._enter, message, passage):
                    await cast("Awaitable[object]", self._call(message))
        except BaseException as error:  # noqa: BLE001  as in `run`
            return await run(self._leave, message, passage, error)
        return await run(self._leave, message, passage, None)

    def run_scheduled(self, event: Mapping[str, Any]) -> None:
        """Handle a scheduled event; an error of its handler is the caller's.

        Raises:
            HandlerMissing: There is no handler for it.
        """
        outcome = self._registry.scheduled(event)
        if inspect.isawaitable(outcome):
            self._event_loop.run(outcome)
=======
    def release(self, message: IncomingMessage) -> None:
        """Keep a message invisible no more."""
        message.end()
        if self._heartbeat is not None:
            self._heartbeat.release(message)
>>>>>>> 693c1418dfdfc367f601968586542252fa8ff606

    def give_back(self, message: IncomingMessage, *, seconds: float = 0) -> None:
        """Have a message that was not handled delivered again in so many seconds.

        Raises:
            QueueUnavailable: The queue could not be told; the message comes again later.
        """
<<<<<<< HEAD
        message.end()
        message.transport.change_visibility(message.received, int(seconds))
=======
        self.release(message)
        delay = min(math.ceil(seconds), message.longest_extension)
        message.transport.change_visibility(message.received, delay)
>>>>>>> 693c1418dfdfc367f601968586542252fa8ff606

    def acknowledged(self, message: IncomingMessage, error: LetsGoError | None) -> None:
        """Tell listeners of a message that is done with.

        Args:
            message: The message.
            error: Why it could not be acknowledged.
        """
        if error is not None:
            # The work is done; only its acknowledgement is not.
            logger.warning("%s It was handled: expect it a second time.", error)
        if message.delay_left:
            self._emit(MessageDelayed(**message.facts(), seconds_left=message.delay_left))
        elif message.handler_started:
            self._emit(MessageHandled(**message.facts()))
        elif not message.rejected:
            self._emit(MessageSkipped(**message.facts()))

    def fail(self, message: IncomingMessage, error: BaseException) -> bool:
        """End a message that was not handled; whether it is on the dead-letter queue now."""
        message.end()
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
        except Exception:  # somebody's retry policy or transport; the message must go on
            logger.exception("message %s is left to its queue", message.message_id)
            outcome = MessageFailed(**message.facts(), error=error)
        self._emit(outcome)
        return isinstance(outcome, MessageRejected)
<<<<<<< HEAD
=======

    def run_scheduled(self, event: Mapping[str, Any]) -> None:
        """Handle a scheduled event; an error of its handler is the caller's.

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
>>>>>>> 693c1418dfdfc367f601968586542252fa8ff606
