"""Messages, and how they are written on the queue.

A message is `{"type": ..., "payload": ...}`, as in LetsGo. On the queue it is compact JSON in
UTF-8, without escapes for non-ASCII characters or added fields, so that any other consumer reads
it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    TypeAlias,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from letsgo_queue.errors import MessageInvalid
from letsgo_queue.whole import LossError, encode_mapping, encode_model

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass

    @dataclass_transform(
        kw_only_default=True, frozen_default=True, field_specifiers=(Field, PrivateAttr)
    )
    class _FrozenModel(ModelMetaclass):
        """Tells type checkers that a message and every subclass of it is frozen.

        They read `frozen` neither from a base class nor from `model_config`. A subclass may narrow
        the type of a field, as `type: Literal[...]` does, only if nobody can assign to it.
        """
else:
    _FrozenModel = type(BaseModel)

PayloadT_co = TypeVar("PayloadT_co", covariant=True)

_RESERVED_PREFIX = "letsgo:"

# It starts with one literal byte, which is what `re` finds fastest.
_NON_CHARACTER = re.compile(rb"\xef(?=\xbf[\xbe\xbf])")  # U+FFFE and U+FFFF in UTF-8


class LetsGoMessageType(StrEnum):
    """The message types that LetsGo itself sends; other types may not start with `letsgo:`."""

    CONTACT = "letsgo:contact"
    STRIPE = "letsgo:stripe"
    TENANT_NEW = "letsgo:tenant:new"
    TENANT_DELETED = "letsgo:tenant:deleted"


class Message(BaseModel, Generic[PayloadT_co], metaclass=_FrozenModel):
    """A message with a typed payload. It is frozen, and so are its subclasses.

        class OrderNew(Message[Order]):
            type: Literal["order:new"] = "order:new"

    Attributes:
        type: The kind of message. The worker finds the handler by it.
        payload: The content: anything that pydantic writes as JSON. None in a message without a
            payload, if the type allows it.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    type: str
    if TYPE_CHECKING:
        payload: PayloadT_co
    else:
        # LetsGo's client drops a payload that is undefined, and its worker handles that.
        payload: PayloadT_co = Field(default=None, validate_default=True)


AnyMessage: TypeAlias = BaseModel | Mapping[str, Any]
"""A message for `enqueue`: a `Message`, another pydantic model with a `type`, or a mapping."""

MessageT = TypeVar("MessageT", bound=AnyMessage)


def encode(message: AnyMessage) -> tuple[str, bytes]:
    """Check a message and write it as it travels.

    Returns:
        The message's type, and its body as UTF-8.

    Raises:
        MessageInvalid: No usable `type`, content that would not arrive as it is, or characters
            SQS refuses.
    """
    model = message if isinstance(message, BaseModel) else None
    message_type = check_type(_type_in(message) if model is None else getattr(model, "type", None))
    try:
        body = encode_mapping(message) if model is None else encode_model(model, message_type)
    except LossError as error:
        raise MessageInvalid(f"message of type {message_type!r}: {error}") from None
    if not body.isascii() and _NON_CHARACTER.search(body):
        raise MessageInvalid(
            f"message of type {message_type!r} contains U+FFFE or U+FFFF, which SQS refuses. "
            "Remove them, or send the text base64 encoded."
        )
    return message_type, body


def check_type(message_type: object) -> str:
    """Check a message's type.

    Raises:
        MessageInvalid: Not a non-empty string, or `letsgo:...` that is not LetsGo's own.
    """
    if not isinstance(message_type, str) or not message_type:
        found = "an empty string" if message_type == "" else type(message_type).__name__
        raise MessageInvalid(
            f"a message needs a non-empty string `type`, not {found}: "
            '{"type": "order:new", "payload": ...}.'
        )
    if message_type.startswith(_RESERVED_PREFIX) and message_type not in set(LetsGoMessageType):
        raise MessageInvalid(
            f"message type {message_type!r}: the prefix {_RESERVED_PREFIX!r} is reserved for "
            f"LetsGo's own types ({', '.join(LetsGoMessageType)}). Choose another."
        )
    return message_type


def types_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the types that a model's messages can have; empty if they can have any type."""
    field = model.model_fields.get("type")
    if field is None:
        return ()
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    plain = (_plain(value) for value in (field.default, *values))
    return tuple(dict.fromkeys(value for value in plain if isinstance(value, str)))


def fixed_type(model: type[BaseModel]) -> str | None:
    """Return the type that a model gives its messages: the default of `type`, or its only value."""
    types = types_of(model)
    has_default = bool(types) and _plain(model.model_fields["type"].default) == types[0]
    return types[0] if has_default or len(types) == 1 else None


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _type_in(message: object) -> object:
    if isinstance(message, Mapping):
        return message.get("type")
    raise MessageInvalid(
        f"a message is a letsgo_queue.Message or a mapping with `type` and `payload`, "
        f"not {type(message).__name__}."
    )
