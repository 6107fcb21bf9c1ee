"""Messages, and how they look on the queue.

A message is `{"type": ..., "payload": ...}`, as LetsGo has it. On the queue it is compact JSON in
UTF-8, non-ASCII not escaped, with no field added, so that any other consumer reads it.
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
from pydantic_core import PydanticSerializationError, from_json, to_json

from letsgo_queue.errors import MessageInvalid

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass

    @dataclass_transform(
        kw_only_default=True, frozen_default=True, field_specifiers=(Field, PrivateAttr)
    )
    class _FrozenModel(ModelMetaclass):
        """Tells type checkers that a message and every subclass of it is frozen.

        They read `frozen` neither from a base class nor from `model_config`. A subclass may narrow
        the type of a field, as `type: Literal[...]` does, only where nobody can assign to it.
        """
else:
    _FrozenModel = type(BaseModel)

PayloadT_co = TypeVar("PayloadT_co", covariant=True)

_RESERVED_PREFIX = "letsgo:"

# Each starts with one literal byte, which is what `re` finds fastest.
_NON_CHARACTER = re.compile(rb"\xef(?=\xbf[\xbe\xbf])")  # U+FFFE and U+FFFF in UTF-8
_NAN = re.compile(rb"N(?<![^:\[,]N)aN(?![^,\]}])")  # where a value may stand
_INFINITY = re.compile(rb"I(?<![^:\[,-]I)nfinity(?![^,\]}])")

MAX_DEPTH = 200
"""How deep arrays and objects may nest: what the worker's JSON parser reads."""
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_BRACKETS_AT_ONCE = MAX_DEPTH // 2


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
        payload: The content: anything that pydantic writes as JSON. None in a message that has
            none, if the type allows it.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    type: str
    if TYPE_CHECKING:
        payload: PayloadT_co
    else:
        # LetsGo's client drops a payload that is undefined, and its worker handles that.
        payload: PayloadT_co = Field(default=None, validate_default=True)


AnyMessage: TypeAlias = BaseModel | Mapping[str, Any]
"""What `enqueue` takes: a `Message`, another pydantic model with a `type`, or a mapping."""

MessageT = TypeVar("MessageT", bound=AnyMessage)


def encode(message: AnyMessage) -> tuple[str, bytes]:
    """Check a message and write it as it travels.

    Returns:
        The message's type, and its body as UTF-8.

    Raises:
        MessageInvalid: No usable `type`, content that is not JSON, or characters SQS refuses.
    """
    model = message if isinstance(message, BaseModel) else None
    message_type = check_type(_type_in(message) if model is None else getattr(model, "type", None))
    try:
        if model is None:
            body = to_json(message, by_alias=True)
        elif type(model).model_dump_json is not BaseModel.model_dump_json:
            body = model.model_dump_json(by_alias=True, warnings=False).encode()
        else:
            # As `model_dump_json` does it, which makes text of these bytes: a second copy.
            body = model.__pydantic_serializer__.to_json(model, by_alias=True, warnings=False)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        # The serialiser's own text may quote the payload.
        raise MessageInvalid(
            f"message of type {message_type!r} cannot be written as JSON "
            f"({type(error).__name__}): it holds a value that is not JSON, text that is not "
            "Unicode, a reference to itself, or far too many levels."
        ) from None
    _check_numbers(message_type, body)
    _check_depth(message_type, body)
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
        raise MessageInvalid(
            f"a message needs a non-empty string `type`, not {type(message_type).__name__}: "
            '{"type": "order:new", "payload": ...}.'
        )
    if message_type.startswith(_RESERVED_PREFIX) and message_type not in set(LetsGoMessageType):
        raise MessageInvalid(
            f"message type {message_type!r}: the prefix {_RESERVED_PREFIX!r} is reserved for "
            f"LetsGo's own types ({', '.join(LetsGoMessageType)}). Choose another."
        )
    return message_type


def types_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The types that the messages of a model can have; empty where they can have any."""
    field = model.model_fields.get("type")
    if field is None:
        return ()
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    plain = (_plain(value) for value in (field.default, *values))
    return tuple(dict.fromkeys(value for value in plain if isinstance(value, str)))


def fixed_type(model: type[BaseModel]) -> str | None:
    """The type that a model gives to its messages: the default of `type`, or its only value."""
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


def _check_numbers(message_type: str, body: bytes) -> None:
    """Refuse numbers that JSON does not have; parses only if one may stand outside of text."""
    if _NAN.search(body) or _INFINITY.search(body):
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError:
            raise MessageInvalid(
                f"message of type {message_type!r} contains NaN or Infinity, which JSON does not "
                "have. Send null or text instead."
            ) from None


def _check_depth(message_type: str, body: bytes) -> None:
    """Refuse what would be sent but never read; counts brackets, and parses only if in doubt."""
    brackets = body.translate(_ONE_KIND, _NOT_BRACKETS)
    if len(brackets) <= MAX_DEPTH:
        return
    depth = 0
    for start in range(0, len(brackets), _BRACKETS_AT_ONCE):
        some = brackets[start : start + _BRACKETS_AT_ONCE]
        opening = some.count(b"[")
        # As deep as it can get among these, in whichever order they are.
        if depth + opening > MAX_DEPTH:
            break
        depth += 2 * opening - len(some)
    else:
        return
    try:
        from_json(body)
    except ValueError:
        raise MessageInvalid(
            f"message of type {message_type!r} nests over {MAX_DEPTH} levels deep, which a "
            "worker cannot read. Flatten it, or send the deep part as text."
        ) from None
