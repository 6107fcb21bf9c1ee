"""One message on its way to the queue, through the middleware: alone or in a batch."""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from letsgo_queue.attributes import attributes_size, check_attributes
from letsgo_queue.delays import for_one_send
from letsgo_queue.errors import SendFailed, SettingsInvalid
from letsgo_queue.events import EnqueueResult, Listeners, MessageNotSent, MessageSent
from letsgo_queue.log import get_logger
from letsgo_queue.middleware import Middleware, SendContext
from letsgo_queue.sending.options import Options
from letsgo_queue.tracing import tracer
from letsgo_queue.transports.base import OutgoingMessage, Transport

logger = get_logger(__name__)


class Sending:
    """A message from the caller, until the queue accepts or refuses it.

    `apply` the options and `prepare` it, send `outgoing`, then call `sent` or `failed`.

    Attributes:
        outgoing: The message, as far as the options and the middleware have changed it.
        span: Traces it.
    """

    def __init__(
        self,
        message_type: str,
        body: bytes,
        *,
        queue: str,
        middleware: tuple[Middleware, ...],
        listeners: Listeners,
    ) -> None:
        """Note what the caller gave.

        Args:
            message_type: The message's type.
            body: The body as UTF-8.
            queue: URL of the queue; empty while it is not known.
            middleware: Runs for the message, the first outermost.
            listeners: Hear whether it was sent.
        """
        self.outgoing = OutgoingMessage(type=message_type, body=body)
        # The size and not the body: a body is freed once middleware has replaced it by a smaller
        # one.
        self._body_size_given = len(body)
        self._queue = queue
        self._middleware = middleware
        self._listeners = listeners
        self._prepared: list[tuple[Middleware, OutgoingMessage]] = []
        self._started = time.perf_counter()
        self.span = tracer().enqueue(message_type, queue)

    def __enter__(self) -> Self:
        """Begin a block in which an error means that the message is not sent."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell the middleware and the listeners of an error."""
        if isinstance(error, Exception):
            self.failed(error)
        elif error is not None:
            self.failed(SendFailed("it was not sent: it was interrupted", retryable=True))

    def apply(self, options: Options, transport: Transport, now: float) -> None:
        """Apply the options.

        Raises:
            MessageInvalid: The queue does not take one of them, or needs one more.
        """
        self._queue = transport.url
        self.outgoing = options.apply(self.outgoing.type, self.outgoing.body, transport, now)

    def prepare(self, transport: Transport) -> None:
        """Run the middleware. If one refuses the message, those before it undo their part."""
        context = SendContext(transport, self._listeners.emit, bool(self._listeners))
        with self, self.span.running():
            for middleware in self._middleware:
                given = self.outgoing
                message = middleware.before_send(given, context)
                _check_returned(message, OutgoingMessage, middleware, "before_send")
                self._prepared.append((middleware, message))
                if message.attributes is not given.attributes:
                    message = replace(message, attributes=check_attributes(message.attributes))
                self.outgoing = message
        self.outgoing = self.span.stamp(for_one_send(self.outgoing), transport)

    def sent(self, message_id: str) -> EnqueueResult:
        """Note that the queue has the message under that id, and return the result of the send.

        A middleware that raises now is logged: the caller must not take the message for refused.
        """
        self.span.sent(self.outgoing, message_id)
        result = EnqueueResult(message_id=message_id, queue=self._queue)
        for middleware, its_message in reversed(self._prepared):
            try:
                returned = middleware.after_send(its_message, result)
                _check_returned(returned, EnqueueResult, middleware, "after_send")
                result = returned
            except Exception:
                logger.exception("message %s was sent; %s failed", message_id, middleware)
        if self._listeners:
            of_attributes = attributes_size(self.outgoing.attributes)
            self._listeners.emit(
                MessageSent(
                    type=self.outgoing.type,
                    queue=self._queue,
                    message_id=message_id,
                    size=self._body_size_given + of_attributes,
                    attributes_size=of_attributes,
                    sent_size=self.outgoing.size,
                    stored_size=self.outgoing.stored_size,
                    route=self.outgoing.route,
                    duration=time.perf_counter() - self._started,
                    result=result,
                )
            )
        return result

    def failed(self, error: Exception) -> None:
        """Note that the message was not sent, or that nobody knows. Log middleware that raises."""
        for middleware, its_message in reversed(self._prepared):
            try:
                middleware.send_failed(its_message, error)
            except Exception:
                logger.exception("%s could not undo its part", middleware)
        self.span.failed(error)
        of_attributes = attributes_size(self.outgoing.attributes)
        self._listeners.emit(
            MessageNotSent(
                type=self.outgoing.type,
                queue=self._queue,
                size=self._body_size_given + of_attributes,
                attributes_size=of_attributes,
                error=error,
            )
        )


def _check_returned(value: object, expected: type, middleware: Middleware, hook: str) -> None:
    """Refuse a hook's result of another class: mostly None, from a forgotten `return`."""
    if not isinstance(value, expected):
        raise SettingsInvalid(
            f"{type(middleware).__qualname__}.{hook} returned {type(value).__name__}: have it "
            f"return an {expected.__name__}."
        )
