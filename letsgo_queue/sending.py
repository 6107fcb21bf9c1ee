"""One message on its way to the queue, through the middleware: alone or in a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from letsgo_queue.delays import for_one_send
from letsgo_queue.events import Event, MessageSent
from letsgo_queue.middleware import Middleware, SendContext
from letsgo_queue.result import EnqueueResult
from letsgo_queue.transports.base import OutgoingMessage, Transport


class Sending:
    """A message that was checked; `prepare` it, send `outgoing`, then call `sent` or `failed`."""

    def __init__(
        self,
        message: OutgoingMessage,
        transport: Transport,
        middleware: Sequence[Middleware],
        emit: Callable[[Event], None],
    ) -> None:
        self._message = message
        self._transport = transport
        self._middleware = middleware
        self._emit = emit
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
        context = SendContext(self._transport, self._emit)
        try:
            for middleware in self._middleware:
                self._message = middleware.before_send(self._message, context)
                self._prepared.append((middleware, self._message))
        except Exception as error:
            self.failed(error)
            raise

    def sent(self, message_id: str) -> EnqueueResult:
        """The queue has it under that id."""
        result = EnqueueResult(message_id=message_id, queue=self._transport.url)
        for middleware, its_message in reversed(self._prepared):
            result = middleware.after_send(its_message, result)
        self._emit(
            MessageSent(
                type=self._message.type,
                queue=self._transport.url,
                message_id=message_id,
                size=self._message.size,
                duration=time.perf_counter() - self._started,
            )
        )
        return result

    def failed(self, error: Exception) -> None:
        """It was not sent, or nobody knows."""
        for middleware, its_message in reversed(self._prepared):
            middleware.send_failed(its_message, error)
