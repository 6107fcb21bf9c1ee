"""One handler: reads its signature, and makes the arguments of its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from inspect import Parameter
from typing import Any, TypeAlias

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from letsgo_queue.envelope import may_have_constant, read_json
from letsgo_queue.errors import MessageInvalid, SettingsInvalid
from letsgo_queue.forking import cached_property
from letsgo_queue.message import Message, types_of
from letsgo_queue.middleware import Middleware, middleware_of
from letsgo_queue.worker.delivery import Delivery
from letsgo_queue.worker.gates import UNLIMITED, HandlerLimits
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.retries import RetryPolicy

HandlerFunction: TypeAlias = Callable[..., object]
"""`(message)` or `(message, delivery)`, sync or async. What it returns is not used."""

_MAX_PROBLEMS = 10
_MESSAGE_ONLY = 1
_MESSAGE_AND_DELIVERY = 2

_UNUSABLE = (NameError, AttributeError, TypeError, SyntaxError, PydanticUserError)
"""Raised where an annotation cannot be evaluated, or pydantic cannot validate against it."""


class Handler:
    """A function that handles messages, and the arguments that it takes.

    Attributes:
        function: The function.
        message_type: The type of its messages; None for any.
        retry_policy: In place of the worker's own.
        limits: What its messages wait for, and how long it may run.
    """

    def __init__(
        self,
        function: HandlerFunction,
        *,
        message_type: str | None = None,
        model: type[BaseModel] | None = None,
        retry_policy: RetryPolicy | None = None,
        limits: HandlerLimits = UNLIMITED,
    ) -> None:
        """Look at the signature.

        Args:
            function: The function.
            message_type: The type of its messages; None for any.
            model: Validates messages if the function has no annotation.
            retry_policy: In place of the worker's own.
            limits: What its messages wait for, and how long it may run.

        Raises:
            SettingsInvalid: It takes neither `(message)` nor `(message, delivery)`, or messages of
                another type.
        """
        self.function = function
        self.retry_policy = retry_policy
        self.limits = limits
        self.message_type = message_type
        self._model = model
        parameters = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind not in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
            # A parameter with a default is not for the delivery, unless it is named so.
            and (parameter.default is Parameter.empty or parameter.name in {"message", "delivery"})
        ]
        names = [parameter.name for parameter in parameters]
        if (
            len(names) not in {_MESSAGE_ONLY, _MESSAGE_AND_DELIVERY}
            or any(parameter.kind is Parameter.KEYWORD_ONLY for parameter in parameters)
            or names[0] == "delivery"
            or "message" in names[1:]
        ):
            raise self._wrong_signature(_names_only(inspect.signature(function)))
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise SettingsInvalid(
                f"handler {self.name} is a generator: calling it would run nothing. Remove its "
                "`yield`."
            )
        self._takes_delivery = len(parameters) == _MESSAGE_AND_DELIVERY
        self._message_parameter = names[0]
        with suppress(*_UNUSABLE):  # `adapter` says so, when the worker starts
            self._annotation()

    @property
    def name(self) -> str:
        """The function's name, for people."""
        function = self.function
        return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"

    @cached_property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine; an object may be called as well as a function."""
        called = getattr(type(self.function), "__call__", None)  # noqa: B004  looked at, not tested
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(called)

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """Middleware that decorates the function."""
        return middleware_of(self.function)

    def arguments(self, incoming: IncomingMessage) -> tuple[object, ...]:
        """The arguments of a call: the validated message, and the delivery if it takes one.

        Raises:
            MessageInvalid: The body does not fit the function's annotation.
        """
        message = self._decode(incoming)
        return (message, incoming.delivery) if self._takes_delivery else (message,)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validates a body against the annotation of the function's first parameter.

        Raises:
            SettingsInvalid: A name in the annotation is not defined, pydantic cannot validate it,
                or it is a model of messages of another type.
        """
        try:
            adapter = TypeAdapter(self._annotation())
            adapter.rebuild()  # raises where a model names what is not there
        except _UNUSABLE as error:
            # pydantic's own text ends with a link to its documentation
            why = getattr(error, "message", error)
            raise SettingsInvalid(
                f"handler {self.name}: its annotations cannot be used: {why} What they name must "
                "be there when the worker runs (not only under TYPE_CHECKING), and be something "
                "that pydantic validates."
            ) from error
        return adapter

    def _annotation(self) -> Any:
        signature = inspect.signature(self.function, eval_str=True)
        annotation = signature.parameters[self._message_parameter].annotation
        if annotation is Delivery:
            raise self._wrong_signature(f"({self._message_parameter}: Delivery)")
        if annotation is Parameter.empty or annotation is Message:
            return self._model or Message[Any]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            types = types_of(annotation)
            if types and self.message_type is not None and self.message_type not in types:
                raise SettingsInvalid(
                    f"handler {self.name} is for messages of type {self.message_type!r}, but its "
                    f"message is annotated {annotation.__name__}, which has the type "
                    f"{' or '.join(map(repr, types))}. Change one of the two."
                )
        return annotation

    def _wrong_signature(self, takes: object) -> SettingsInvalid:
        return SettingsInvalid(
            f"handler {self.name} takes {takes}: a handler takes (message) or (message, delivery)."
        )

    def _decode(self, incoming: IncomingMessage) -> object:
        if incoming.sealed:
            raise MessageInvalid(
                f"message {incoming.message_id} of type {incoming.type!r} is a claim check, and "
                f"nothing opened it before the handler {self.name}. Decorate the "
                "handler with @claimcheck.unwrap_claim_check, or give the worker "
                "middleware=[claimcheck.ClaimCheckMiddleware()]."
            )
        try:
            message = self._validate(incoming.body)
        except MessageInvalid as error:
            raise MessageInvalid(f"message {incoming.message_id}: {error}") from None
        except ValidationError as error:
            raise MessageInvalid(
                f"message {incoming.message_id} of type {incoming.type!r} does not fit the handler "
                f"{self.name}: {self._problems(error)}."
            ) from None  # the text of a ValidationError quotes the payload
        inner = message.get("type") if isinstance(message, dict) else getattr(message, "type", None)
        if inner is not None and inner != incoming.type:
            raise MessageInvalid(
                f"message {incoming.message_id} was routed as {incoming.type!r} but has another "
                "type inside. It was not handled."
            )
        return message

    def _validate(self, body: str) -> Any:
        """The message in a body; `read_json` decides whether it is JSON, not pydantic.

        Raises:
            MessageInvalid: The body is not JSON.
            ValidationError: It does not fit.
        """
        if may_have_constant(body):
            read_json(body)  # pydantic takes it for a number
        try:
            return self.adapter.validate_json(body)
        except ValidationError as error:
            if not _is_no_json(error):
                raise
        return self.adapter.validate_python(read_json(body))

    @cached_property
    def _known_names(self) -> frozenset[str]:
        try:
            return frozenset(_property_names(self.adapter.json_schema()))
        except PydanticUserError:  # not every type has a JSON schema
            return frozenset()

    def _problems(self, error: ValidationError) -> str:
        """Say where and how a body does not fit. Keys are content: only the schema's are named."""
        known = self._known_names
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        named = [
            f"{'.'.join(str(p) if isinstance(p, int) or p in known else '*' for p in e['loc'])}"
            f" ({e['type']})".lstrip()
            for e in errors[:_MAX_PROBLEMS]
        ]
        more = len(errors) - len(named)
        return "; ".join([*named, *([f"and {more:,} more"] if more else [])])


def _names_only(signature: inspect.Signature) -> inspect.Signature:
    return inspect.Signature(
        [
            parameter.replace(annotation=Parameter.empty, default=Parameter.empty)
            for parameter in signature.parameters.values()
        ]
    )


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
