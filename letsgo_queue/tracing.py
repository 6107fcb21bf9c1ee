"""Tells a tracer each step of a message, as it happens.

    SendSpan       from `enqueue` to the queue's answer
    ProcessSpan    from the first middleware to the acknowledgement
    step           a part of either: seal, store, acquire, open, complete, release

The queue, the worker and the claim check call these functions. By default nobody listens: then each
call costs next to nothing, and no tracing library is loaded. `letsgo_queue.otel` has a tracer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from letsgo_queue.events import Event
    from letsgo_queue.transports.base import OutgoingMessage, Transport
    from letsgo_queue.worker.incoming import IncomingMessage

Step: TypeAlias = Literal["seal", "store", "acquire", "open", "complete", "release"]

Running: TypeAlias = AbstractContextManager[object]
"""Surrounds the code that a span measures. It notes an error raised there, and lets it pass."""

NOTHING: Running = nullcontext()


class SendSpan:
    """The span of a message on its way to the queue. This class traces nothing."""

    __slots__ = ()

    def running(self) -> Running:
        """Surround the sending of the message: spans begun there are inside this one."""
        return NOTHING

    def stamp(self, message: OutgoingMessage, transport: Transport) -> OutgoingMessage:
        """Return the message with the context of this span, if there is room for it."""
        del transport
        return message

    def sent(self, message: OutgoingMessage, message_id: str) -> None:
        """Note that the queue has the message, under that id."""

    def failed(self, error: Exception) -> None:
        """Note that the message was not sent, or that nobody knows."""


class ProcessSpan:
    """The span of one try to handle a delivery. This class traces nothing.

    Attributes:
        is_recording: Whether a tracer records it.
    """

    __slots__ = ()

    is_recording: bool = False

    def handler_begins(self) -> None:
        """Note that the handler is about to be called, in this context."""

    def handler_ended(self, error: BaseException | None) -> None:
        """Note that the handler has returned, or raised `error`."""

    def saw(self, event: Event) -> None:
        """Note an event of the delivery; most events end the try."""

    def end(self) -> None:
        """Note that the try has ended, if no event said so."""


class Tracer:
    """Hears of messages. This class does nothing."""

    def step(self, name: Step) -> Running:
        """Surround a part of the code that the current span measures."""
        del name
        return NOTHING

    def enqueue(self, message_type: str, queue: str) -> SendSpan:
        """Begin the span of a message that was given to a client.

        Args:
            message_type: Its type.
            queue: URL of the queue; empty if it is not known yet.
        """
        del message_type, queue
        return _UNTRACED_SEND

    def send(self, spans: Sequence[SendSpan], queue: str) -> Running:
        """Surround the request that sends messages."""
        del spans, queue
        return NOTHING

    def process(self, message: IncomingMessage) -> ProcessSpan:
        """Begin the span of a try to handle a delivery, in the context of its handler."""
        del message
        return UNTRACED

    def acknowledge(self, spans: Sequence[ProcessSpan], queue: str) -> Running:
        """Surround the request that acknowledges deliveries."""
        del spans, queue
        return NOTHING


UNTRACED = ProcessSpan()
_UNTRACED_SEND = SendSpan()


class _Process:
    """The tracer of this process."""

    def __init__(self) -> None:
        self.tracer = Tracer()


_process = _Process()


def tracer() -> Tracer:
    """The tracer of this process."""
    return _process.tracer


def step(name: Step) -> Running:
    """Surround a part of the code that the current span measures."""
    return _process.tracer.step(name)


def use(tracer: Tracer) -> Callable[[], None]:
    """Have `tracer` hear of all messages of this process.

    Returns:
        A function that ends it.
    """
    before, _process.tracer = _process.tracer, tracer

    def stop() -> None:
        _process.tracer = before

    return stop
