"""Tells a tracer what happens to a message, as it happens.

    SendSpan       from `enqueue` to the queue's answer
    ProcessSpan    from the first middleware to the acknowledgement
    step           a part of either: seal, store, acquire, open, complete, release

The queue, the worker and the claim check call what is here. By default nobody listens: then each
call costs next to nothing, and no tracing library is loaded. `letsgo_queue.otel` brings a tracer.
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
"""Around the code that a span measures. What is raised there is noted, and goes on."""

NOTHING: Running = nullcontext()


class SendSpan:
    """A message on its way to the queue. This one is not traced."""

    __slots__ = ()

    def running(self) -> Running:
        """Around what happens to the message on its way: spans begun there are inside this one."""
        return NOTHING

    def stamp(self, message: OutgoingMessage, transport: Transport) -> OutgoingMessage:
        """The message with the context of this span, if there is room for it."""
        del transport
        return message

    def sent(self, message: OutgoingMessage, message_id: str) -> None:
        """The queue has the message under that id."""

    def failed(self, error: Exception) -> None:
        """The message was not sent, or nobody knows."""


class ProcessSpan:
    """One try to handle a delivery. This one is not traced.

    Attributes:
        is_recording: Whether somebody wants to hear of it.
    """

    __slots__ = ()

    is_recording: bool = False

    def handler_begins(self) -> None:
        """The handler is about to be called, in this context."""

    def handler_ended(self, error: BaseException | None) -> None:
        """The handler has returned, or raised `error`."""

    def saw(self, event: Event) -> None:
        """Something happened to the delivery; most events end the try."""

    def end(self) -> None:
        """The try has ended, if no event said so."""


class Tracer:
    """Hears of messages. This one does nothing."""

    def step(self, name: Step) -> Running:
        """Around a part of what the current span measures."""
        del name
        return NOTHING

    def enqueue(self, message_type: str, queue: str) -> SendSpan:
        """A message was given to a client.

        Args:
            message_type: Its type.
            queue: URL of the queue; empty where it is yet to be found.
        """
        del message_type, queue
        return _UNTRACED_SEND

    def send(self, spans: Sequence[SendSpan], queue: str) -> Running:
        """Around the request that sends messages."""
        del spans, queue
        return NOTHING

    def process(self, message: IncomingMessage) -> ProcessSpan:
        """A worker begins with a delivery, in the context of its handler."""
        del message
        return UNTRACED

    def acknowledge(self, spans: Sequence[ProcessSpan], queue: str) -> Running:
        """Around the request that acknowledges deliveries."""
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
    """Around a part of what the current span measures."""
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
