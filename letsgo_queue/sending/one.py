"""One message on its way to the queue, through the middleware: alone or in a batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from letsgo_queue.attributes import attributes_size
from letsgo_queue.delays import for_one_send
from letsgo_queue.errors import SendFailed
from letsgo_queue.events import EnqueueResult, Listeners, MessageNotSent, MessageSent
from letsgo_queue.middleware import Middleware, SendContext
from letsgo_queue.transports.base import OutgoingMessage, Transport

logger = logging.getLogger(__name__)


class Sending:
    """A message that was checked; `prepare` it, send `outgoing`, then call `sent` or `failed`."""

    def __init__(
        self,
        message: OutgoingMessage,
        transport: Transport,
        middleware: Sequence[Middleware],
        listeners: Listeners,
    ) -> None:
        self._message = message
        # Not the body itself: it is freed once a middleware has put a smaller one in its place.
        self._size_given = len(message.body)
        self._transport = transport
        self._middleware = middleware
        self._listeners = listeners
        self._prepared: list[tuple[Middleware, OutgoingMessage]] = []
        self._started = time.perf_counter()

    @property
    def size(self) -> int:
        """Bytes of body and attributes, as far as the middleware has come."""
        return self._message.size

    @property
    def outgoing(self) -> OutgoingMessage:
        """What goes on the queue."""
        return for_one_send(self._message)

    def prepare(self) -> None:
        """Run the middleware; where one refuses the message, those before it undo their part."""
        context = SendContext(self._transport, self._listeners.emit, bool(self._listeners))
        try:
            for middleware in self._middleware:
                self._message = middleware.before_send(self._message, context)
                self._prepared.append((middleware, self._message))
        except BaseException as error:
            self.failed(error if isinstance(error, Exception) else _interrupted())
            raise

    def sent(self, message_id: str) -> EnqueueResult:
        """The queue has it under that id.

        A middleware that raises now is logged: the caller must not take the message for refused.
        """
        result = EnqueueResult(message_id=message_id, queue=self._transport.url)
        for middleware, its_message in reversed(self._prepared):
            try:
                result = middleware.after_send(its_message, result)
            except Exception:
                logger.exception("message %s was sent; %r failed", message_id, middleware)
        if self._listeners:
            self._listeners.emit(
                MessageSent(
                    type=self._message.type,
                    queue=self._transport.url,
                    message_id=message_id,
                    size=self._size_given,
                    attributes_size=attributes_size(self._message.attributes),
                    sent_size=self._message.size,
                    duration=time.perf_counter() - self._started,
                    result=result,
                )
            )
        return result

    def failed(self, error: Exception) -> None:
        """It was not sent, or nobody knows. A middleware that raises now is logged."""
        for middleware, its_message in reversed(self._prepared):
            try:
                middleware.send_failed(its_message, error)
            except Exception:
                logger.exception("%r could not undo its part", middleware)
        self._listeners.emit(not_sent(self._message, self._transport.url, self._size_given, error))


def _interrupted() -> SendFailed:
    return SendFailed("it was not sent: the sending was interrupted", retryable=True)


def not_sent(message: OutgoingMessage, queue: str, size: int, error: Exception) -> MessageNotSent:
    """What listeners get of a message that was not sent.

    Args:
        message: The message, as far as the middleware came with it.
        queue: URL of the queue.
        size: Bytes of the body as given.
        error: Why.
    """
    return MessageNotSent(
        type=message.type,
        queue=queue,
        size=size,
        attributes_size=attributes_size(message.attributes),
        error=error,
    )
