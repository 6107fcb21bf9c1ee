"""What happens to one message in hand: through middleware and handler, to its end."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from letsgo_queue.delays import DUE_AT, seconds_left, sent_on
from letsgo_queue.errors import LetsGoError, Reject, Retry
from letsgo_queue.events import (
    Event,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageRejected,
    MessageSkipped,
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
        self._chains: dict[Handler, tuple[Middleware, ...]] = {}

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

    def run(self, message: IncomingMessage) -> Outcome:
        """Handle a message on this thread, which waits for an async handler."""
        return message.context.run(self._run, message)

    async def run_async(self, message: IncomingMessage, threads: Executor) -> Outcome:
        """Handle a message whose handler is async, on the event loop.

        Args:
            message: The message.
            threads: Where steps run that may wait for something.
        """

        async def step(function: Callable[[], _T]) -> _T:
            return await _on_thread(function, threads, message.context) if blocks else function()

        passage = Passage(self._around(message), message)
        blocks = passage.blocks or DUE_AT in message.received.attributes
        try:
            if await step(lambda: self._enter(message, passage)):
                await cast("Awaitable[object]", self._call(message))
        except BaseException as error:  # noqa: BLE001  see `_run`
            failure = error
            return await step(lambda: self._leave(message, passage, failure))
        return await step(lambda: self._leave(message, passage, None))

    def process(
        self,
        transport: Transport,
        received: ReceivedMessage,
        *,
        wait: Callable[[Hold], bool],
        lambda_context: object = None,
    ) -> bool:
        """Handle a message to its end, where no loop holds those that have to wait.

        Args:
            transport: The queue.
            received: The message.
            wait: Waits as it is told; False, at once, where the message should not wait here.
            lambda_context: AWS Lambda's context.

        Returns:
            Whether it was settled; False leaves it to the queue's retries.
        """
        message = self.accept(transport, received, lambda_context=lambda_context)
        self.find_handler(message)
        while isinstance(outcome := self.run(message), Hold):
            if not wait(outcome):
                outcome = self.fail(message, outcome.error)
                break
        if outcome:
            try:
                message.transport.delete(message.received)
            except LetsGoError as error:
                self.acknowledged(message, error)
            else:
                self.acknowledged(message, None)
        return outcome

    def _run(self, message: IncomingMessage) -> Outcome:
        passage = Passage(self._around(message), message)
        try:
            if self._enter(message, passage):
                result = self._call(message)
                if inspect.isawaitable(result):
                    self._event_loop.run(result)
        except BaseException as error:  # noqa: BLE001
            # There is nobody above: whatever a handler raises, SystemExit and a cancelled task
            # included, is the failure of its message.
            return self._leave(message, passage, error)
        return self._leave(message, passage, None)

    def _around(self, message: IncomingMessage) -> tuple[Middleware, ...]:
        """The middleware around the message's handler."""
        handler = message.handler
        if handler is None:
            return ()
        around = self._chains.get(handler)
        if around is None:
            around = surrounding(merge(self._middleware, handler.middleware))
            self._chains[handler] = around
        return around

    def _enter(self, message: IncomingMessage, passage: Passage) -> bool:
        """Go in to the handler; False where it must not run."""
        if message.refusal is not None:
            raise message.refusal
        if left := seconds_left(message.received, self._clock()):
            message.transport.send_on(
                message.received, sent_on(message.received, message.type or "", left)
            )
            message.delay_left = left
            return False
        return passage.enter()

    def _call(self, message: IncomingMessage) -> object:
        handler = message.handler
        assert handler is not None, "a message without a handler is refused"
        arguments = handler.arguments(message)
        message.handler_started = True
        return handler.function(*arguments)

    def _leave(
        self, message: IncomingMessage, passage: Passage, error: BaseException | None
    ) -> Outcome:
        """Go out again, and say what becomes of the message."""
        try:
            passage.leave(error)
        except BaseException as raised:  # noqa: BLE001  see `_run`
            if isinstance(raised, LetsGoError):
                seconds = message.next_try(raised)
                if seconds is not None:
                    logger.info(
                        "message %s waits %.1f s in the worker: %s",
                        message.message_id,
                        seconds,
                        raised,
                    )
                    return Hold(seconds, raised)
            message.rejected = self.fail(message, raised)
            return message.rejected
        return True

    def run_scheduled(self, event: Mapping[str, Any]) -> None:
        """Handle a scheduled event; an error of its handler is the caller's.

        Raises:
            HandlerMissing: There is no handler for it.
        """
        outcome = self._registry.scheduled(dict(event))
        if inspect.isawaitable(outcome):
            self._event_loop.run(outcome)

    def give_back(self, message: IncomingMessage, *, seconds: float = 0) -> None:
        """Have a message that was not handled delivered again in so many seconds.

        Raises:
            QueueUnavailable: The queue could not be told; the message comes again later.
        """
        message.end()
        delay = min(math.ceil(seconds), message.longest_extension)
        message.transport.change_visibility(message.received, delay)

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


async def _on_thread(function: Callable[[], _T], threads: Executor, context: Context) -> _T:
    """Call a function on a thread, in the context of the task that waits for it."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[_T] = loop.create_future()

    def start() -> None:
        loop.run_in_executor(threads, context.run, function).add_done_callback(end)

    def end(call: asyncio.Future[_T]) -> None:
        if over.cancelled():
            return
        if (error := call.exception()) is not None:
            over.set_exception(error)
        else:
            over.set_result(call.result())

    # Not before the task has left its context, which one thread at a time may be in.
    loop.call_soon(start)
    return await over
