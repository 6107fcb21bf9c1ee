"""A message's way through its middleware: in, to the handler, and out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from letsgo_queue.attributes import DUE_AT
from letsgo_queue.log import get_logger
from letsgo_queue.middleware import Middleware, Steps
from letsgo_queue.worker.incoming import IncomingMessage

logger = get_logger(__name__)


def surrounding(middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """The middleware that does anything around a handler."""
    return tuple(each for each in middleware if type(each).handle is not Middleware.handle)


class Passage:
    """The middleware that a message is inside of.

    Attributes:
        blocks: Whether going through it may wait for something.
    """

    __slots__ = ("_entered", "_message", "_middleware", "blocks")

    def __init__(self, middleware: Sequence[Middleware], message: IncomingMessage) -> None:
        """Stand before the outermost.

        Args:
            middleware: The first is the outermost.
            message: The message.
        """
        self._middleware = middleware
        self._message = message
        self._entered: list[Steps] = []
        self.blocks = DUE_AT in message.received.attributes or any(
            says(each, each.blocks, message, "it waits for something", unknown=True)
            for each in middleware
        )

    def enter(self) -> bool:
        """Go in; False if a middleware settles the message without its handler."""
        for each in self._middleware:
            steps = each.handle(self._message)
            try:
                next(steps)
            except StopIteration:
                return False
            self._entered.append(steps)
        return True

    def go_on(self, middleware: Sequence[Middleware]) -> bool:
        """Go in through more middleware, inside the first; as `enter`."""
        self._middleware = middleware
        return self.enter()

    def leave(self, error: BaseException | None = None) -> None:
        """Go out again.

        Args:
            error: What was raised inside.

        Raises:
            BaseException: `error`, or the error that a middleware raises instead; nothing if a
                middleware catches it.
        """
        while self._entered:
            error = _leave(self._entered.pop(), error)
        if error is not None:
            raise error


def says(
    middleware: Middleware,
    ask: Callable[[IncomingMessage], bool],
    message: IncomingMessage,
    what: str,
    *,
    unknown: bool,
) -> bool:
    """The answer of a middleware about a message.

    Args:
        middleware: The middleware.
        ask: Its method.
        message: The message.
        what: The question, for the log.
        unknown: The answer if the method raises: a defect of a middleware must neither end the
            worker nor keep the message in hand for ever.
    """
    try:
        return ask(message)
    except Exception:
        logger.exception(
            "message %s: %s does not say whether %s",
            message.message_id,
            type(middleware).__qualname__,
            what,
            extra=message.log_fields,
        )
        return unknown


def _leave(steps: Steps, error: BaseException | None) -> BaseException | None:
    """Leave one middleware, and return the error that goes on to the next one outside."""
    try:
        if error is None:
            next(steps)
        else:
            steps.throw(error)
    except StopIteration:
        return None
    except BaseException as raised:  # noqa: BLE001  whatever it is, the outer ones see it
        return raised
    return RuntimeError("a middleware's `handle` yields more than once")
