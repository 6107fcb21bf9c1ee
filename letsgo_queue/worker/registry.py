"""The handlers of a worker: which function takes which type, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from letsgo_queue.envelope import NOT_JSON
from letsgo_queue.errors import HandlerMissing, MessageInvalid, SettingsInvalid
from letsgo_queue.message import Message
from letsgo_queue.middleware import Middleware, middleware_of
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.retries import RetryPolicy

HandlerFunction: TypeAlias = Callable[..., None] | Callable[..., Coroutine[Any, Any, None]]
"""`(message)` or `(message, delivery)`, sync or async."""

ScheduledFunction: TypeAlias = (
    Callable[[Mapping[str, Any]], None] | Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]
)
"""Takes the event that EventBridge made, sync or async."""

ScheduledT = TypeVar("ScheduledT", bound=ScheduledFunction)

HandlerT = TypeVar("HandlerT", bound=HandlerFunction)

_MAX_PROBLEMS = 10
_MESSAGE_ONLY = 1
_MESSAGE_AND_DELIVERY = 2


class Handler:
    """A function that handles messages, and what its signature asks for."""

    def __init__(
        self, function: HandlerFunction, *, retry_policy: RetryPolicy | None = None
    ) -> None:
        """Look at the signature.

        Raises:
            SettingsInvalid: It takes neither `(message)` nor `(message, delivery)`.
        """
        everything = inspect.signature(function).parameters.values()
        parameters = [
            parameter
            for parameter in everything
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
            # What has a default is the function's own business, and no place for the delivery.
            and (parameter.default is parameter.empty or parameter.name in {"message", "delivery"})
        ]
        if len(parameters) not in {_MESSAGE_ONLY, _MESSAGE_AND_DELIVERY}:
            raise SettingsInvalid(
                f"handler {_name(function)} takes {len(parameters)} arguments: a handler takes "
                "(message) or (message, delivery)."
            )
        for parameter in everything:
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                raise SettingsInvalid(
                    f"handler {_name(function)} needs {parameter.name}=, which nobody gives: a "
                    "handler takes (message) or (message, delivery)."
                )
        is_generator = inspect.isgeneratorfunction(function)
        if is_generator or inspect.isasyncgenfunction(function):
            raise SettingsInvalid(
                f"handler {_name(function)} is a generator: calling it would run nothing. Remove "
                "its `yield`."
            )
        self.function = function
        self.retry_policy = retry_policy
        self._takes_delivery = len(parameters) == _MESSAGE_AND_DELIVERY
        self._message_parameter = parameters[0].name

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """Middleware that decorates the function."""
        return middleware_of(self.function)

    def arguments(self, incoming: IncomingMessage) -> tuple[object, ...]:
        """What to call the function with: the validated message, and the delivery if it asks.

        Raises:
            MessageInvalid: The body does not fit the function's annotation.
        """
        message = self._decode(incoming)
        return (message, incoming.delivery) if self._takes_delivery else (message,)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validates a body against the annotation of the function's first parameter.

        Raises:
            SettingsInvalid: The annotation names what is not there, or cannot be validated.
        """
        try:
            signature = inspect.signature(self.function, eval_str=True)
            annotation = signature.parameters[self._message_parameter].annotation
            bare = annotation is inspect.Parameter.empty or annotation is Message
            return TypeAdapter(Message[Any] if bare else annotation)
        except (NameError, PydanticUserError) as error:
            raise SettingsInvalid(
                f"handler {_name(self.function)}: its annotations cannot be used: {error} What "
                "they name must be there when the worker runs (not only under TYPE_CHECKING), and "
                "be something that pydantic validates."
            ) from error

    def _decode(self, incoming: IncomingMessage) -> object:
        if incoming.sealed:
            raise MessageInvalid(
                f"message {incoming.message_id} of type {incoming.type!r} is a claim check, and "
                f"nothing opened it before the handler {_name(self.function)}. Decorate the "
                "handler with @claimcheck.unwrap_claim_check, or give the worker "
                "middleware=[claimcheck.ClaimCheckMiddleware()]."
            )
        try:
            message = self.adapter.validate_json(incoming.body)
        except ValidationError as error:
            if _is_no_json(error):
                raise MessageInvalid(f"message {incoming.message_id}: {NOT_JSON}") from None
            raise MessageInvalid(
                f"message {incoming.message_id} of type {incoming.type!r} does not fit the handler "
                f"{_name(self.function)}: {self._problems(error)}."
            ) from None  # the text of a ValidationError quotes the payload
        inner = message.get("type") if isinstance(message, dict) else getattr(message, "type", None)
        if inner is not None and inner != incoming.type:
            raise MessageInvalid(
                f"message {incoming.message_id} was routed as {incoming.type!r} but has another "
                "type inside. It was not handled."
            )
        return message

    @cached_property
    def _known_names(self) -> frozenset[str]:
        try:
            return frozenset(_property_names(self.adapter.json_schema()))
        except PydanticUserError:  # not every type has a JSON schema
            return frozenset()

    def _problems(self, error: ValidationError) -> str:
        """Where and how, in the schema's words only: keys of the payload are content too."""
        known = self._known_names
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        named = [
            f"{'.'.join(str(p) if isinstance(p, int) or p in known else '*' for p in e['loc'])}"
            f" ({e['type']})".lstrip()
            for e in errors[:_MAX_PROBLEMS]
        ]
        more = len(errors) - len(named)
        return "; ".join([*named, *([f"and {more:,} more"] if more else [])])


class Registry:
    """The handlers of a worker, by message type."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None
        self._scheduled: ScheduledFunction | None = None

    def add(
        self,
        message_type: str,
        function: HandlerFunction,
        *,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        """Register `function` for a type.

        Raises:
            SettingsInvalid: The type has a handler already, or the signature does not fit.
        """
        if message_type in self._handlers:
            raise SettingsInvalid(
                f"type {message_type!r} has the handler "
                f"{_name(self._handlers[message_type].function)} already; a type has one."
            )
        self._handlers[message_type] = Handler(function, retry_policy=retry_policy)

    def set_default(
        self, function: HandlerFunction, *, retry_policy: RetryPolicy | None = None
    ) -> None:
        """Register `function` for all types without a handler.

        Raises:
            SettingsInvalid: There is a default already, or the signature does not fit.
        """
        if self._default is not None:
            raise SettingsInvalid(
                f"the default handler is {_name(self._default.function)} already; there is one."
            )
        self._default = Handler(function, retry_policy=retry_policy)

    @property
    def scheduled(self) -> ScheduledFunction:
        """The handler of scheduled events.

        Raises:
            HandlerMissing: There is none.
        """
        if self._scheduled is None:
            raise HandlerMissing(
                "a scheduled event came, for which this worker has no handler. Register one with "
                "@worker.scheduled, or remove the schedule."
            )
        return self._scheduled

    def set_scheduled(self, function: ScheduledFunction) -> None:
        """Register `function` for scheduled events.

        Raises:
            SettingsInvalid: There is one already, or it takes not `(event)`.
        """
        if self._scheduled is not None:
            raise SettingsInvalid(
                f"the handler of scheduled events is {_name(self._scheduled)} already; there is "
                "one."
            )
        try:
            inspect.signature(function).bind({})
        except TypeError:
            raise SettingsInvalid(
                f"handler {_name(function)}: a handler of scheduled events takes (event)."
            ) from None
        self._scheduled = function

    def find(self, message_id: str, message_type: str) -> Handler:
        """The handler for a message.

        Raises:
            HandlerMissing: No handler for its type, and no default.
        """
        handler = self._handlers.get(message_type, self._default)
        if handler is None:
            known = ", ".join(map(repr, sorted(self._handlers))) or "none"
            raise HandlerMissing(
                f"message {message_id} has type {message_type!r}, for which this worker has no "
                f"handler (it has: {known}). It is left to the queue's retries; register one with "
                "@worker.handler or @worker.default."
            )
        return handler

    def middleware(self) -> list[Middleware]:
        """The middleware of all handlers."""
        return [each for handler in self._all() for each in handler.middleware]

    def prepare(self) -> None:
        """Resolve every annotation now, so that a mistake shows before the first message."""
        for handler in self._all():
            _ = handler.adapter

    def _all(self) -> list[Handler]:
        return [*self._handlers.values(), *([self._default] if self._default else [])]


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"


def _is_no_json(error: ValidationError) -> bool:
    """Whether the body as a whole is at fault, and not a field of a type that holds JSON."""
    if error.error_count() > 1:
        return False
    [only] = error.errors(include_url=False, include_input=False, include_context=False)
    return not only["loc"] and only["type"] in {"json_invalid", "string_unicode"}


def _property_names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for value in schema.values():
            yield from _property_names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _property_names(value)
