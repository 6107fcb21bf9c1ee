"""Takes one message through middleware and handler, to its end."""

from __future__ import annotations

import inspect
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeAlias, cast

from letsgo_queue.attributes import DUE_AT
from letsgo_queue.delays import seconds_left, sent_on
from letsgo_queue.errors import LetsGoError, MessageInvalid, Reject, Retry
from letsgo_queue.events import (
    Listeners,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageHeld,
    MessageRejected,
    MessageSkipped,
    QueueFailed,
)
from letsgo_queue.log import get_logger
from letsgo_queue.middleware import Middleware, merge
from letsgo_queue.settings import DeadLetterErrors
from letsgo_queue.tracebacks import for_log
from letsgo_queue.tracing import tracer
from letsgo_queue.transports.base import ReceivedMessage, Transport
from letsgo_queue.worker.envelopes import open_envelope
from letsgo_queue.worker.event_loop import EventLoopThread, contained
from letsgo_queue.worker.handler import Handler
from letsgo_queue.worker.incoming import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    IncomingMessage,
)
from letsgo_queue.worker.passage import Passage, says, surrounding
from letsgo_queue.worker.receipts import PATIENCE_SECONDS, give_up, pause_before
from letsgo_queue.worker.registry import Registry
from letsgo_queue.worker.retries import RetryPolicy, settle_failure
from letsgo_queue.worker.time_limits import await_within_limit

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A message that cannot be opened yet: it stays in hand, invisible, and is tried again.

    Attributes:
        seconds: How long it waits.
        error: Why.
    """

    seconds: float
    error: LetsGoError


Outcome: TypeAlias = bool | Held
"""True: done, to be acknowledged. False: it failed, and is left to its queue. Or it is held."""

CallHandler: TypeAlias = Callable[[IncomingMessage, Callable[[], object]], object]
"""Calls the handler of a message."""


def _read_first(message: object) -> None:
    """Never called: the real handler is found once middleware has read the message's type."""


_UNREAD = Handler(_read_first)
"""Stands for the handler of a message whose type only middleware can read."""


def _call(_message: IncomingMessage, handler: Callable[[], object]) -> object:
    return handler()


class Processor:
    """Runs messages through middleware and handler. Safe to use from several threads.

    Attributes:
        listeners: Hear the events of the worker.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        middleware: tuple[Middleware, ...],
        event_loop: EventLoopThread,
        listeners: Listeners | None = None,
        retry_policy: RetryPolicy | None = None,
        dead_letter_errors: DeadLetterErrors = "place",
        handled_level: int = logging.DEBUG,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a processor.

        Args:
            registry: The handlers.
            middleware: Runs around every handler, the first outermost.
            event_loop: Runs async handlers.
            listeners: Hear the events.
            retry_policy: For handlers that have none of their own.
            dead_letter_errors: How much dead letters say of errors.
            handled_level: The level at which a message that was handled is logged.
            clock: Seconds since 1970.
        """
        self._registry = registry
        self._middleware = middleware
        self.listeners = Listeners() if listeners is None else listeners
        self._event_loop = event_loop
        self._retry_policy = retry_policy
        self._with_text = dead_letter_errors == "full"
        self._handled_level = handled_level
        self._clock = clock
        self._pid = os.getpid()
        self._around: dict[Handler, tuple[Middleware, ...]] = {}

    def accept(
        self,
        transport: Transport,
        received: ReceivedMessage,
        *,
        lambda_context: object = None,
    ) -> IncomingMessage:
        """Take a message in hand, and find its handler.

        Raises nothing: a message without a handler fails when it is run, for its `refusal`.

        Args:
            transport: The queue.
            received: The message.
            lambda_context: AWS Lambda's context.
        """
        unreadable: MessageInvalid | None = None
        try:
            received = open_envelope(received)
        except Exception as error:  # noqa: BLE001  a defect there fails its message only
            unreadable = _unreadable(received, error)
        message = IncomingMessage(
            received,
            transport,
            listeners=self.listeners,
            policy=self._retry_policy,
            lambda_context=lambda_context,
            clock=self._clock,
        )
        if unreadable is not None:
            message.refusal = unreadable
            return message
        try:
            message.handler = self._registry.find(message.message_id, message.read_type())
        except LetsGoError as error:
            if not self._leave_unread(message, error):
                message.refusal = error
        except Exception as error:  # noqa: BLE001  as above
            message.refusal = _unreadable(received, error)
        else:
            message.policy = message.handler.retry_policy or self._retry_policy
        return message

    def run(self, message: IncomingMessage, call: CallHandler = _call) -> Outcome:
        """Handle a message on this thread, which waits for an async handler.

        Args:
            message: The message.
            call: Calls the handler.
        """
        return message.context.run(self._run, message, call)

    def passage(self, message: IncomingMessage) -> Passage:
        """The way of a message through the middleware around its handler."""
        return Passage(self._surrounding(message), message)

    def _leave_unread(self, message: IncomingMessage, error: LetsGoError) -> bool:
        """Leave a message without a type to middleware that can read it; False if none can."""
        if not isinstance(error, MessageInvalid):
            return False
        for middleware in (self._middleware, *self._registry.middleware()):
            if any(
                says(each, each.gives_type, message, "it gives it a type", unknown=False)
                for each in middleware
            ):
                message.unread = surrounding(merge(self._middleware, middleware))
                message.handler = _UNREAD
                return True
        return False

    def _find_handler(self, message: IncomingMessage, passage: Passage) -> bool:
        """Find the handler of a message whose type middleware has just read, and go in to it.

        Raises:
            LetsGoError: It still has no type, or there is no handler for it.
        """
        if message.handler is not _UNREAD:
            return True
        handler = self._registry.find(message.message_id, message.read_type())
        message.handler = handler
        message.policy = handler.retry_policy or self._retry_policy
        kinds = {each.kind for each in message.unread if each.kind is not None}
        return passage.go_on(
            [
                each
                for each in self._surrounding(message)
                if each not in message.unread and each.kind not in kinds
            ]
        )

    def _surrounding(self, message: IncomingMessage) -> tuple[Middleware, ...]:
        handler = message.handler
        if handler is None or message.refusal is not None:
            return ()
        if handler is _UNREAD:
            return message.unread
        around = self._around.get(handler)
        if around is None:
            around = surrounding(merge(self._middleware, handler.middleware))
            self._around[handler] = around
        return around

    def opened_bytes(self, message: IncomingMessage) -> int:
        """Return the bytes that its body will have once opened; 0 if it is not sealed."""
        if not message.sealed:
            return 0
        try:
            return sum(each.opened_bytes(message) for each in self._surrounding(message))
        except Exception:  # a defect of a middleware
            logger.exception(
                "message %s: its opened size is not known",
                message.message_id,
                extra=message.log_fields,
            )
            return 0

    def enter(self, message: IncomingMessage, passage: Passage) -> Callable[[], object] | None:
        """Go through the middleware, in to the handler.

        Returns:
            Calls the handler; None if the handler must not run.

        Raises:
            BaseException: Why the message failed on the way.
        """
        message.begun = time.monotonic()
        message.check_in_hand()
        message.span = tracer().process(message)
        if message.refusal is not None:
            raise message.refusal
        if DUE_AT in message.received.attributes and (
            left := seconds_left(message.received, self._clock())
        ):
            message.transport.send_on(
                message.received, sent_on(message.received, message.type or "", left)
            )
            message.delay_left = left
            message.is_gone = True
            return None
        if not passage.enter() or not self._find_handler(message, passage):
            return None
        handler = message.handler
        assert handler is not None, "a message without a handler is refused"
        arguments = handler.arguments(message)
        message.waits_since = math.inf
        return partial(_start, message, handler, arguments)

    async def call_async(
        self, message: IncomingMessage, handler: Callable[[], object]
    ) -> BaseException | None:
        """Call a handler, await it, and return what it raises, SystemExit included.

        SystemExit raised in a task would end the event loop, and all that runs on it.
        """
        start = cast("Callable[[], Awaitable[object]]", handler)
        error = await contained(await_within_limit(message, start))
        message.end_handler(error)
        self._end_fork(error)
        return error

    def leave(
        self, message: IncomingMessage, passage: Passage, error: BaseException | None
    ) -> Outcome:
        """Go out through the middleware, and say what becomes of the message.

        Args:
            message: The message.
            passage: The way out.
            error: What was raised inside.
        """
        if message.opened_bytes:
            message.waits_since = time.monotonic()
        try:
            return self._settle(message, passage, error)
        except BaseException:  # a listener's, say: the message must not stay in hand
            logger.exception(
                "message %s is left to its queue", message.message_id, extra=message.log_fields
            )
            message.span.end()
            return False

    def run_to_end(
        self,
        transport: Transport,
        received: ReceivedMessage,
        *,
        wait: Callable[[Held], bool],
        lambda_context: object = None,
    ) -> bool:
        """Handle a message and acknowledge it, on this thread, which waits while it is held.

        Args:
            transport: The queue.
            received: The message.
            wait: Waits the seconds that it is given, and returns True; or returns False at once,
                and the message fails.
            lambda_context: AWS Lambda's context.

        Returns:
            Whether it was settled; False leaves it to the queue's retries.
        """
        message = self.accept(transport, received, lambda_context=lambda_context)
        while isinstance(outcome := self.run(message), Held):
            if not wait(outcome):
                outcome = self.fail(message, outcome.error)
                break
        if outcome:
            self.acknowledge(message, wait=wait)
        return outcome

    def acknowledge(self, message: IncomingMessage, *, wait: Callable[[Held], bool]) -> None:
        """Remove a finished message from its queue.

        Args:
            message: The message.
            wait: As in `run_to_end`.
        """
        if message.is_gone:
            return
        _settle_again(message, wait)
        try:
            message.transport.delete(message.received)
        except LetsGoError as error:
            self.acknowledged(message, error)
        else:
            self.acknowledged(message, None)

    def _run(self, message: IncomingMessage, call: CallHandler) -> Outcome:
        passage = self.passage(message)
        failure: BaseException | None = None
        try:
            if handler := self.enter(message, passage):
                result = call(message, handler)
                if inspect.isawaitable(result):
                    self._event_loop.run(result)
        except BaseException as error:  # noqa: BLE001
            # Whatever a handler raises fails its message only, SystemExit and a cancelled task
            # included: nobody above on this thread could deal with it.
            failure = error
        message.end_handler(failure)
        self._end_fork(failure)
        return self.leave(message, passage, failure)

    def _settle(
        self, message: IncomingMessage, passage: Passage, error: BaseException | None
    ) -> Outcome:
        try:
            passage.leave(error)
        except BaseException as raised:  # noqa: BLE001  see `_run`
            message.settle_leases(succeeded=False)
            if isinstance(raised, LetsGoError) and not message.is_over:
                seconds = message.next_try(raised)
                if seconds is not None:
                    logger.log(
                        _level_of_hold(raised, seconds),
                        "message %s waits %.1f s in the worker: %s",
                        message.message_id,
                        seconds,
                        raised,
                        extra=message.log_fields,
                    )
                    if message.has_listeners:
                        message.emit(MessageHeld(**message.facts(), error=raised, seconds=seconds))
                    return Held(seconds, raised)
            return self.fail(message, raised)
        message.settle_handled()
        if message.delay_left and message.has_listeners:
            message.emit(MessageDelayed(**message.facts(), seconds_left=message.delay_left))
        return True

    def _end_fork(self, error: BaseException | None) -> None:
        """End this process if a handler forked it: the message is the parent's."""
        if os.getpid() == self._pid:
            return
        code: object = error
        if isinstance(error, SystemExit):
            code = error.code
        elif error is not None:
            traceback.print_exception(*for_log(error))
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))

    def run_scheduled(self, event: Mapping[str, Any]) -> None:
        """Handle a scheduled event. What its handler raises goes on to the caller.

        Raises:
            HandlerMissing: There are several handlers, and none is for the event's rule.
        """
        handler = self._registry.find_scheduled(event)
        if handler is None:
            logger.warning(
                "a scheduled event is ignored: this worker has no handler for it. Register one "
                "with @worker.scheduled, or remove the schedule."
            )
            return
        outcome = handler.function(dict(event))
        if inspect.isawaitable(outcome):
            self._event_loop.run(outcome)

    def acknowledged(self, message: IncomingMessage, error: LetsGoError | None) -> None:
        """Tell the log and the listeners of a finished message.

        Args:
            message: The message.
            error: Why it could not be acknowledged.
        """
        if error is not None:
            # The work is done; only its acknowledgement is not.
            logger.warning(
                "%s It was handled: expect it a second time.", error, extra=message.log_fields
            )
        elif logger.isEnabledFor(self._handled_level):
            logger.log(
                self._handled_level,
                "message %s of type %s was %s in %.3f s",
                message.message_id,
                message.type,
                "handled" if message.handler_started else "skipped",
                message.seconds_in_hand,
                extra=message.log_fields,
            )
        if not message.has_listeners:
            return
        if error is not None:
            message.emit(
                QueueFailed(type=message.type, queue=message.queue, call="acknowledge", error=error)
            )
        if message.handler_started:
            message.emit(MessageHandled(**message.facts()))
        else:
            message.emit(MessageSkipped(**message.facts(), reason=message.skip_reason))

    def fail(self, message: IncomingMessage, error: BaseException) -> bool:
        """End a message that was not handled; True if it is on the dead-letter queue now."""
        if message.is_over:  # the worker gave it back, and cancelled its handler
            return False
        message.end()
        # An error of ours before the handler says everything. A handler's error needs a traceback,
        # without its text, which may quote the payload.
        ours = isinstance(error, LetsGoError)
        expected = ours and (isinstance(error, Retry | Reject) or not message.handler_started)
        level = logging.WARNING if getattr(error, "retryable", False) else logging.ERROR
        logger.log(
            level,
            "message %s of type %s failed in delivery %d: %s%s%s",
            message.message_id,
            message.type,
            message.received.receive_count,
            type(error).__name__,
            ": " if ours else "",
            error if ours else "",
            exc_info=None if expected else error,
            extra=message.log_fields,
        )
        outcome: MessageRejected | MessageFailed
        try:
            outcome = settle_failure(message, error, with_text=self._with_text)
        except Exception:  # a defect of a retry policy or a transport
            logger.exception(
                "message %s is left to its queue", message.message_id, extra=message.log_fields
            )
            outcome = MessageFailed(**message.facts(), error=error)
        message.is_gone = isinstance(outcome, MessageRejected)
        message.emit(outcome)
        return message.is_gone


def _unreadable(received: ReceivedMessage, error: Exception) -> MessageInvalid:
    """Log a defect that the reading of a message met, and return why the message fails."""
    logger.error("message %s could not be read", received.message_id, exc_info=error)
    return MessageInvalid(
        f"message {received.message_id} could not be read: {type(error).__name__}. The log says "
        "more."
    )


def _settle_again(message: IncomingMessage, wait: Callable[[Held], bool]) -> None:
    """Try again to end the leases of a handled message, while there is time."""
    latest = time.monotonic() + PATIENCE_SECONDS
    for tries in count():
        if (error := message.unsettled) is None:
            return
        pause = pause_before(tries)
        if time.monotonic() + pause > latest or not wait(Held(pause, error)):
            give_up(message, error)
            return
        message.settle_handled()


def _start(message: IncomingMessage, handler: Handler, arguments: Sequence[object]) -> object:
    message.start_handler()
    return handler.function(*arguments)


def _level_of_hold(error: LetsGoError, seconds: float) -> int:
    """The level at which to log that a message waits: an error if somebody has to act."""
    if error.retry_after is not None:  # another delivery has it: all is well
        return logging.INFO
    if not error.retryable:
        return logging.ERROR
    return (
        logging.WARNING if seconds in {FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS} else logging.INFO
    )
