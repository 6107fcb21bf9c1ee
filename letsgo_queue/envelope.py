"""Looks into a body without opening it: finds its type, and whether its payload is sealed.

Only this module reads a body as JSON. A message is `{"type": ..., "payload": ...}`. A sealed
message has `claimCheck` in place of the payload, and nothing else beside `type`.

Other services put an envelope around a message that they send to a queue:

    SNS           {"Type": "Notification", "TopicArn": ..., "Message": "<the message>", ...}
    EventBridge   {"detail-type": ..., "source": ..., "detail": {<the message>}, ...}
    Pipes         {"messageId": ..., "eventSource": "aws:sqs", "body": "<the message>", ...}

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-sqs.html
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType, SimpleNamespace
from typing import Any, Generic, NoReturn, TypeAlias, TypeGuard, TypeVar, cast

from pydantic_core import from_json

from letsgo_queue.aws_pointers import IN_EVERY_POINTER, is_aws_pointer
from letsgo_queue.errors import MessageInvalid

CLAIM_CHECK = "claimCheck"
"""The field that stands in place of `payload` in a sealed message."""

NOT_JSON = 'the body is not JSON. This worker reads {"type": ..., "payload": ...}.'

Body: TypeAlias = str | bytes

DEEPEST_ENVELOPE = 5
"""The levels to search in an envelope: an SNS event has a message at Records, 0, Sns, Message."""

MOST_RECORDS = 10_000
"""The values to look at in one collection, beside its numbers: no batch has more records. Lambda
and Pipes hand over 10,000 at most, of SQS as of Kinesis.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
"""

MOST_VALUES = 200_000
"""The values to look at in each level of an envelope: `MOST_RECORDS` records have fewer fields."""

MOST_ENVELOPES = 3
"""The most nested envelopes that are opened: those of a pipe, SNS and EventBridge, say."""

_BodyT = TypeVar("_BodyT", str, bytes)

_BODIES = ("body", "Body")
_LEAVES = frozenset({int, float, bool, type(None)})
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_COLLECTIONS = (dict, MappingProxyType, *_VIEWS, list, tuple, set, frozenset, deque)
_DETAIL = "detail"
_OF_EVENTBRIDGE = {"detail-type", "source", _DETAIL}
_SIGNS_OF_ENVELOPES = ('"TopicArn"', '"detail-type"', '"eventSource"')


def _name(name: str) -> str:
    """Make a pattern for the name of a field, since JSON may escape each of its characters."""
    return '"' + "".join(rf"(?:{each}|\\u00(?i:{ord(each):02x}))" for each in name) + '"'


@dataclass(frozen=True, slots=True)
class _Signs(Generic[_BodyT]):
    """The signs to look for in a body, since most bodies need no parsing."""

    # A body as LetsGo writes it starts with its type.
    leading_type: re.Pattern[_BodyT]
    type: _BodyT
    claim_check: _BodyT
    # Search for it first: most bodies have none, and a character is found faster than a pattern.
    backslash: _BodyT
    # An escaped letter of the names above; hardly any writer escapes letters.
    escaped_letter: re.Pattern[_BodyT]
    any_claim_check: re.Pattern[_BodyT]
    constant: re.Pattern[_BodyT]


_ESCAPED_LETTER = (
    r"\\u00(?i:" + "|".join(sorted({f"{ord(each):02x}" for each in CLAIM_CHECK + "type"})) + ")"
)
_CONSTANT = r"(?:N(?<![^:\[,\s-]N)aN|I(?<![^:\[,\s-]I)nfinity)(?![^,\]}\s])"
_LEADING_TYPE = r'\{"type":"([^"\\\x00-\x1f]+)"[,}]'

_IN_TEXT = _Signs(
    leading_type=re.compile(_LEADING_TYPE),
    type='"type"',
    claim_check=f'"{CLAIM_CHECK}"',
    backslash="\\",
    escaped_letter=re.compile(_ESCAPED_LETTER),
    any_claim_check=re.compile(_name(CLAIM_CHECK)),
    constant=re.compile(_CONSTANT),
)
_IN_BYTES = _Signs(
    leading_type=re.compile(_LEADING_TYPE.encode()),
    type=_IN_TEXT.type.encode(),
    claim_check=_IN_TEXT.claim_check.encode(),
    backslash=b"\\",
    escaped_letter=re.compile(_ESCAPED_LETTER.encode()),
    any_claim_check=re.compile(_name(CLAIM_CHECK).encode()),
    constant=re.compile(_CONSTANT.encode()),
)


def read_json(body: Body) -> object:
    """Parse a body. Every reader calls this, so that all get the same result.

    Pydantic's parser is the fast one. It refuses over 200 levels, and half of an escaped surrogate
    pair. Both are JSON that LetsGo's clients send, so another parser reads such bodies.

    Raises:
        MessageInvalid: It is not JSON. `NaN` and `Infinity` are not.
    """
    return _read(body, allow_constants=False)


def write_json(value: object) -> str:
    """Write a value as JSON that is short, and can be written as UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if is_text(text):
        return text
    return json.dumps(value, separators=(",", ":"))  # half of a surrogate pair has to be escaped


def may_have_constant(body: Body) -> bool:
    """Whether a body may have the value `NaN` or `Infinity`; a text in it may look like one.

    Parsers read these as numbers, though JSON does not have them.
    """
    if isinstance(body, str):
        named = "NaN" in body or "Infinity" in body
        return named and _IN_TEXT.constant.search(body) is not None
    named = b"NaN" in body or b"Infinity" in body
    return named and _IN_BYTES.constant.search(body) is not None


def type_of(body: str, *, whole: bool = False) -> str:
    """Return the type of a message from the queue.

    If the body starts with its type, the rest is not read. The reader checks later that the rest is
    JSON, and has no second type.

    Args:
        body: The body.
        whole: Whether to read all of it, to be sure that it is JSON.

    Raises:
        MessageInvalid: The body is not a JSON object with a string `type`.
    """
    leading = None if whole else _IN_TEXT.leading_type.match(body)
    if leading is not None:
        return leading[1]
    fields = read_json(body)
    message_type = fields.get("type") if isinstance(fields, dict) else None
    if not is_text(message_type):
        raise MessageInvalid(
            'the body has no string `type`. This worker reads {"type": ..., "payload": ...}.'
        )
    return message_type


def type_in(body: Body) -> str | None:
    """Return the type of a LetsGo message, as `type_of` does; None for any other body."""
    if isinstance(body, bytes):
        if leading := _IN_BYTES.leading_type.match(body):
            try:
                return leading[1].decode()
            except UnicodeDecodeError:
                return None
        may_have_one = _may_name(body, _IN_BYTES.type, _IN_BYTES)
    else:
        if leading_text := _IN_TEXT.leading_type.match(body):
            return leading_text[1]
        may_have_one = _may_name(body, _IN_TEXT.type, _IN_TEXT)
    fields = _fields(body) if may_have_one else None
    message_type = fields.get("type") if isinstance(fields, dict) else None
    return message_type if is_text(message_type) else None


def mentions_claim_check(body: Body) -> bool:
    """Whether a body may be sealed, or wrap a sealed message. Asking costs very little."""
    if isinstance(body, bytes):
        return _IN_BYTES.claim_check in body or _escapes_claim_check(body, _IN_BYTES)
    if CLAIM_CHECK not in body:  # searches a long body only once
        return _escapes_claim_check(body, _IN_TEXT)
    return (
        _IN_TEXT.claim_check in body or _escapes_claim_check(body, _IN_TEXT) or may_be_wrapped(body)
    )


def sealed_fields(body: Body) -> Mapping[str, Any] | None:
    """Return the fields of a body that has the shape of a sealed message; None for any other.

    The claim check finds out whether they are well-formed.
    """
    if not mentions_claim_check(body):
        return None
    # NaN is allowed here: a ticket with one is malformed, and still must not pass as unsealed.
    fields = _fields(body, allow_constants=True)
    return fields if isinstance(fields, dict) and has_sealed_shape(fields) else None


def is_sealed(body: Body) -> bool:
    """Whether a body has the shape of a sealed message, well-formed or not."""
    return sealed_fields(body) is not None


def holds_sealed(value: object) -> bool:
    """Whether a value is a sealed message, or an envelope around one: as text, or parsed.

    SNS puts the message into `Message`, EventBridge into `detail`, an answer of boto3 into `Body`.
    The payload of a message is not an envelope: it may quote anything. An iterator is left alone,
    since reading would use it up.

    It looks `DEEPEST_ENVELOPE` levels deep, at up to `MOST_VALUES` values of each level, and at up
    to `MOST_RECORDS` of each collection. Only Python's own collections are searched: to read
    another may run a query. If the code of an object raises an error, nothing is found in it.

    Args:
        value: Anything.
    """
    if isinstance(value, str | bytes) and not _quotes_claim_check(value):
        return False  # as nearly every body
    level = [value]
    for _ in range(DEEPEST_ENVELOPE + 1):
        inside: list[object] = []
        for each in level:
            try:
                parsed = _parsed(each)
                if isinstance(parsed, Mapping) and has_sealed_shape(parsed):
                    return True
                inside += _values_in(parsed, MOST_VALUES - len(inside))
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001  the code of an object may raise anything
                continue
        if not inside:
            break
        level = inside
    return False


def _parsed(value: object) -> object:
    """Return the JSON in a text, the fields of an object, or any other value as it is."""
    if isinstance(value, str | bytes | bytearray):
        text = bytes(value) if isinstance(value, bytearray) else value
        found = _fields(text, allow_constants=True) if _quotes_claim_check(text) else None
        return found if isinstance(found, dict | list) else None
    if isinstance(value, _COLLECTIONS):
        return value
    if isinstance(value, Mapping):  # of Powertools' data classes: the event as it came
        raw = _attribute(value, "raw_event")
        return raw if isinstance(raw, dict) else value
    return _fields_of(value)


def _fields_of(value: Any) -> Mapping[str, object]:
    """Return those fields of an object that may have a message, and are not None."""
    kind = type(value)
    if hasattr(kind, "__pydantic_fields_set__"):  # a model; pydantic need not be loaded for this
        # A model has no set of fields, and no extras, if its own `__init__` does not make them.
        own = vars(value)
        given = {**own, **(_attribute(value, "__pydantic_extra__") or {})}
        names = _attribute(value, "__pydantic_fields_set__")
        fields = {name: given.get(name) for name in (own if names is None else names)}
    elif hasattr(kind, "__dataclass_fields__"):
        fields = {name: _attribute(value, name) for name in kind.__dataclass_fields__}
    elif isinstance(value, SimpleNamespace):
        fields = vars(value)
    else:
        fields = {name: _attribute(value, name) for name in ("type", "payload", *_BODIES)}
    fields = {name: each for name, each in fields.items() if each is not None}
    if "type" in fields and "payload" not in fields and not has_sealed_shape(fields):
        return {name: fields[name] for name in _BODIES if name in fields}  # a record with a type
    return fields


def _attribute(value: object, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001  the code behind an attribute may raise anything
        return None


def _values_in(value: object, most: int) -> list[object]:
    """Return the values in a value that may be an envelope; none for a message.

    Args:
        value: What may be an envelope.
        most: The most values to look at. Of those that may hold something, `MOST_RECORDS` count.
    """
    if not isinstance(value, _COLLECTIONS):
        return []
    values = cast("Iterable[object]", value)
    if isinstance(value, dict | MappingProxyType):
        values = () if "type" in value else value.values()
    others = (each for each in islice(values, most) if type(each) not in _LEAVES)
    return [*islice(others, MOST_RECORDS)]


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A message in the envelope of another service, or in several.

    Attributes:
        body: The message.
        envelopes: The fields of each envelope, the outermost first.
    """

    body: str = field(repr=False)
    envelopes: tuple[Mapping[str, Any], ...] = field(repr=False)

    def around(self, body: str) -> str:
        """Return the envelopes with another message in them."""
        for envelope in reversed(self.envelopes):
            body = _with_message(envelope, body)
        return body


def may_be_wrapped(body: str) -> bool:
    """Whether a body may be an envelope. Asking costs very little."""
    if _IN_TEXT.leading_type.match(body):
        return False
    return any(sign in body for sign in _SIGNS_OF_ENVELOPES)


def unwrap(body: str, *, most: int = MOST_ENVELOPES) -> Wrapped | None:
    """Return the message in an envelope of SNS, EventBridge or a pipe.

    Args:
        body: A body.
        most: The most nested envelopes to open.

    Returns:
        The message; None if there is no envelope, or no message in it. A body with a `type` is a
        message itself, whatever it looks like.
    """
    fields = _fields(body) if most and may_be_wrapped(body) else None
    if not isinstance(fields, dict) or "type" in fields:
        return None
    inside = _inside(fields)
    if inside is None:
        return None
    if (wrapped := unwrap(inside, most=most - 1)) is not None:
        return Wrapped(wrapped.body, (fields, *wrapped.envelopes))
    if type_in(inside) is None and not is_sealed(inside) and not is_aws_pointer(inside):
        return None
    return Wrapped(inside, (fields,))


def unwrap_sealed(body: str) -> Wrapped | None:
    """Do as `unwrap` for a sealed message or a pointer of AWS's clients; None for any other."""
    wrapped = unwrap(body) if _may_wrap_sealed(body) else None
    if wrapped is None or not (is_sealed(wrapped.body) or is_aws_pointer(wrapped.body)):
        return None
    return wrapped


def _may_wrap_sealed(body: str) -> bool:
    if _IN_TEXT.leading_type.match(body):
        return False
    return (CLAIM_CHECK in body or IN_EVERY_POINTER in body) and may_be_wrapped(body)


def is_event(fields: Mapping[str, Any]) -> bool:
    """Whether fields are those of an event of EventBridge."""
    return fields.keys() >= _OF_EVENTBRIDGE and is_text(fields["detail-type"])


def _slot(fields: Mapping[str, Any]) -> str | None:
    """Return the name of the field that has an envelope's message; None if it is no envelope."""
    if fields.get("Type") == "Notification" and "TopicArn" in fields:
        return "Message"
    if fields.get("eventSource") == "aws:sqs" and "messageId" in fields:
        return "body"
    return _DETAIL if is_event(fields) else None


def _inside(fields: Mapping[str, Any]) -> str | None:
    """Return the message in an envelope, as text; None if there is none."""
    slot = _slot(fields)
    found = None if slot is None else fields.get(slot)
    if slot == _DETAIL:
        return write_json(found) if _is_detail_a_message(found) else None
    return found if is_text(found) else None


def _is_detail_a_message(detail: object) -> bool:
    """Whether a `detail` is a message, and not another event with a `type` of its own."""
    if not isinstance(detail, dict):
        return False
    return has_sealed_shape(detail) or (is_text(detail.get("type")) and "payload" in detail)


def _with_message(envelope: Mapping[str, Any], body: str) -> str:
    """Return an envelope with another message in it."""
    slot = _slot(envelope)
    assert slot is not None
    if slot != _DETAIL:
        return write_json({**envelope, slot: body})
    try:
        read_json(body)
    except MessageInvalid:
        body = write_json(body)
    around = write_json({name: value for name, value in envelope.items() if name != slot})
    # The bytes stay as they are: parsing and writing them might change numbers.
    return f'{around[:-1]},"{slot}":{body}}}'


def has_sealed_shape(fields: Mapping[Any, object]) -> bool:
    """Whether fields are those of a sealed message."""
    return CLAIM_CHECK in fields and fields.keys() <= {"type", CLAIM_CHECK}


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that can be written as UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escapes_claim_check(body: _BodyT, signs: _Signs[_BodyT]) -> bool:
    return _escapes_letters(body, signs) and signs.any_claim_check.search(body) is not None


def _may_name(body: _BodyT, name: _BodyT, signs: _Signs[_BodyT]) -> bool:
    return name in body or _escapes_letters(body, signs)


def _escapes_letters(body: _BodyT, signs: _Signs[_BodyT]) -> bool:
    return signs.backslash in body and signs.escaped_letter.search(body) is not None


def _quotes_claim_check(value: Body) -> bool:
    """Whether text may have a claim check in it, quoted and escaped in any way."""
    if isinstance(value, str):
        return _may_name(value, CLAIM_CHECK, _IN_TEXT)
    return _may_name(value, CLAIM_CHECK.encode(), _IN_BYTES)


def _fields(body: Body, *, allow_constants: bool = False) -> object:
    """Parse the JSON in a body; None if it is not JSON."""
    try:
        return _read(body, allow_constants=allow_constants)
    except MessageInvalid:
        return None


def _read(body: Body, *, allow_constants: bool) -> object:
    try:
        return from_json(body, allow_inf_nan=allow_constants)
    except TypeError:  # a str that is not Unicode
        raise MessageInvalid(NOT_JSON) from None
    except ValueError:
        pass
    try:
        text = body if isinstance(body, str) else body.decode()
        return json.loads(text, parse_constant=None if allow_constants else _refuse_constant)
    except (ValueError, RecursionError):
        raise MessageInvalid(NOT_JSON) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
