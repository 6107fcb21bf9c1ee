"""Middleware: a class of small hooks around sending a message and around handling one.

On the sending side the hooks are separate, so that a batch can run them for many messages at once:

    before_send ──> the queue accepts ──> after_send
         └──────────> anything fails ───> send_failed

Around the handler, one hook is a generator. It yields once, and at the `yield` the other middleware
and the handler run, sync or async. Their errors are raised at the `yield`. One definition serves
both kinds of handler.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeAlias, cast

from typing_extensions import TypeVar

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.events import EnqueueResult, Event
from letsgo_queue.transports.base import OutgoingMessage, Transport

if TYPE_CHECKING:  # a program that only sends does not load the worker
    from letsgo_queue.worker.incoming import IncomingMessage

Steps: TypeAlias = Generator[None, None, None]
"""The result of `handle`: a generator that yields once."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

ResultT_co = TypeVar("ResultT_co", bound=EnqueueResult, default=EnqueueResult, covariant=True)

_MIDDLEWARE = "__letsgo_middleware__"


@dataclass(frozen=True, slots=True)
class SendContext:
    """The context of a send.

    Attributes:
        transport: The queue.
        emit: Hands an event to the client's listeners.
        has_listeners: Whether there are listeners. If not, you need not make events.
    """

    transport: Transport
    emit: Callable[[Event], None]
    has_listeners: bool = True


class Middleware(Generic[ResultT_co]):
    """Base class: every hook does nothing, and a subclass fills in those it needs.

    One instance may serve several clients and workers, on several threads.

    If a middleware gives a result of its own, declare it as `class Mine(Middleware[MyResult])`.
    Then type checkers know that `Client(middleware=[Mine()]).enqueue` returns `MyResult`.

    Attributes:
        kind: Of several middlewares of one kind only the innermost runs; see `inside`. None, the
            default, lets any number of them run.
        runs_ticks_once: Whether it lets each tick of a schedule through in one worker of a fleet
            only.
    """

    kind: ClassVar[str | None] = None
    runs_ticks_once: ClassVar[bool] = False

    def prepare(self, queue: str, /) -> None:
        """Called when a worker starts on the queue of that URL. An error stops the worker."""

    def finish(self) -> None:
        """Called when a worker ends: finish work in the background, within seconds."""

    def inside(self, outer: Middleware, /) -> Middleware:
        """Return the middleware that runs in place of this one, inside `outer` of the same `kind`.

        A handler's middleware is inside its worker's, which is inside its client's. Middleware with
        options takes the options that it leaves unset from `outer`. By default this returns itself.
        """
        del outer
        return self

    def before_send(self, message: OutgoingMessage, context: SendContext, /) -> OutgoingMessage:
        """Return the message to send in place of `message`. An error refuses the message."""
        del context
        return message

    def after_send(self, message: OutgoingMessage, result: EnqueueResult, /) -> ResultT_co:
        """Return the result to give in place of `result`; `before_send` returned this `message`."""
        del message
        return cast("ResultT_co", result)

    def send_failed(self, message: OutgoingMessage, error: Exception, /) -> None:
        """Undo `before_send`: the message was not sent, or nobody knows (`SendUncertain`)."""

    def handle(self, message: IncomingMessage, /) -> Steps:
        """Surround the handling of a message.

            def handle(self, message):
                started = time.monotonic()
                try:
                    yield
                finally:
                    measure(message.type, time.monotonic() - started)

        Everything inside, the handler included, runs at the `yield`, and raises its error there. If
        the generator ends without a `yield`, the message is acknowledged, and its handler does not
        run.
        """
        del message
        yield

    def blocks(self, message: IncomingMessage, /) -> bool:
        """Whether `handle` may wait for something while it surrounds this message.

        If so, it runs on a thread for an async handler, so that the event loop stays free. For a
        sync handler it makes no difference.
        """
        del message
        return True

    def gives_type(self, message: IncomingMessage, /) -> bool:
        """Whether a message without a type has one once `handle` has opened it.

        If so, its handler is looked up inside this middleware. By default the message is refused.
        """
        del message
        return False

    def opened_bytes(self, message: IncomingMessage, /) -> int:
        """Return the bytes that a sealed message's body will have once `handle` has opened it.

        They count towards `Worker(max_opened_bytes=...)`. 0, the default, opens nothing.
        """
        del message
        return 0


def use_middleware(*middleware: Middleware) -> Callable[[FunctionT], FunctionT]:
    """Decorate a handler with middleware of its own, inside that of its worker.

    Where both have middleware of one `kind`, the handler's replaces the worker's.

    Raises:
        SettingsInvalid: One of the arguments is not a middleware.
    """
    check_middleware(middleware)

    def decorate(function: FunctionT) -> FunctionT:
        setattr(function, _MIDDLEWARE, (*middleware, *middleware_of(function)))
        return function

    return decorate


def middleware_of(function: Callable[..., object]) -> tuple[Middleware, ...]:
    """Return the middleware that decorates a handler."""
    found: tuple[Middleware, ...] = getattr(function, _MIDDLEWARE, ())
    return found


def check_handle(middleware: Middleware) -> None:
    """Refuse a middleware whose `handle` cannot surround a handler.

    Raises:
        SettingsInvalid: It is not a generator, so it would never let a message through.
    """
    if not inspect.isgeneratorfunction(inspect.unwrap(type(middleware).handle)):
        raise SettingsInvalid(
            f"{type(middleware).__qualname__}.handle is no generator. Have it `yield` once, where "
            "the handler is to run."
        )


def check_middleware(middleware: object) -> tuple[Middleware, ...]:
    """Check that this is a sequence of middleware, which only a type checker ensures.

    Raises:
        SettingsInvalid: It is not.
    """
    if not isinstance(middleware, Sequence):
        raise SettingsInvalid(
            f"middleware={type(middleware).__qualname__}: give a list of middleware."
        )
    for each in middleware:
        if isinstance(each, type):
            raise SettingsInvalid(
                f"middleware {each.__qualname__} is a class: give an instance of it."
            )
        if not isinstance(each, Middleware):
            raise SettingsInvalid(
                f"middleware {type(each).__qualname__}: its class must inherit from "
                "letsgo_queue.Middleware."
            )
    return tuple(middleware)


def merge(*groups: tuple[Middleware, ...]) -> tuple[Middleware, ...]:
    """Merge groups of middleware, the outermost first; of each `kind` only the innermost stays.

    In a group the last of a kind replaces the others. Between two groups, `inside` of the inner
    middleware merges the two.
    """
    merged: list[Middleware] = []
    for group in groups:
        nearer = _last_of_each_kind(group)
        kinds = {each.kind for each in nearer if each.kind is not None}
        outer = {each.kind: each for each in merged if each.kind in kinds}
        merged = [each for each in merged if each.kind not in kinds]
        merged += [each.inside(outer[each.kind]) if each.kind in outer else each for each in nearer]
    return tuple(merged)


def _last_of_each_kind(group: Sequence[Middleware]) -> Sequence[Middleware]:
    last = {each.kind: position for position, each in enumerate(group)}
    return [each for at, each in enumerate(group) if each.kind is None or last[each.kind] == at]
