"""Middleware: a class of small hooks around sending a message and around handling one.

On the sending side the hooks are separate, so that a batch can run them for many messages at once:

    before_send ──> the queue accepts ──> after_send
         └──────────> anything fails ───> send_failed

Around the handler, one hook wraps the rest: it calls on, or does not, and sees what is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from letsgo_queue.events import EnqueueResult, Event
from letsgo_queue.transports.base import OutgoingMessage, Transport
from letsgo_queue.worker.delivery import Delivery

Handle: TypeAlias = Callable[[Delivery], None]
"""The rest of the way to the handler, and the handler."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

_MIDDLEWARE = "__letsgo_middleware__"


@dataclass(frozen=True, slots=True)
class SendContext:
    """Where a message is being sent.

    Attributes:
        transport: The queue.
        emit: Hands an event to the client's listeners.
        has_listeners: Whether there are any: an event that nobody gets need not be made.
    """

    transport: Transport
    emit: Callable[[Event], None]
    has_listeners: bool = True


class Middleware:
    """Base class: every hook does nothing, and a subclass fills in those it needs.

    One instance may serve several clients and workers, on several threads.
    """

    def prepare(self, queue: str) -> None:
        """Called when a worker starts on the queue of that URL. What it raises stops the worker."""

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        """The message to send in place of `message`. What it raises refuses the message."""
        del context
        return message

    def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> EnqueueResult:
        """The result to give in place of `result`; `message` is what `before_send` gave."""
        del message
        return result

    def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
        """Undo `before_send`: the message was not sent, or nobody knows (`SendUncertain`)."""

    def handle(self, delivery: Delivery, call_next: Handle) -> None:
        """Handle a delivery: `call_next(delivery)` goes on to the handler.

        Returning acknowledges the message, with or without the handler having run; raising leaves
        it to the queue's retries.
        """
        call_next(delivery)


def use_middleware(*middleware: Middleware) -> Callable[[FunctionT], FunctionT]:
    """Decorate a handler with middleware of its own, inside that of its worker.

    Where both have middleware of the same class, the handler's replaces the worker's.
    """

    def decorate(function: FunctionT) -> FunctionT:
        setattr(function, _MIDDLEWARE, (*middleware, *middleware_of(function)))
        return function

    return decorate


def middleware_of(function: Callable[..., object]) -> tuple[Middleware, ...]:
    """The middleware that decorates a handler."""
    found: tuple[Middleware, ...] = getattr(function, _MIDDLEWARE, ())
    return found


def merge(outer: tuple[Middleware, ...], inner: tuple[Middleware, ...]) -> tuple[Middleware, ...]:
    """`outer`, less what `inner` has of the same class, then `inner`."""
    replaced = {type(middleware) for middleware in inner}
    return (*(m for m in outer if type(m) not in replaced), *inner)
