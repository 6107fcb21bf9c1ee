"""What a body is, without opening it: its type, and whether its payload was sealed.

This is the one place that looks into a body. A message is `{"type": ..., "payload": ...}`; a sealed
one has `claimCheck` in place of the payload, and nothing else beside `type`. Nobody but the claim
check can use a sealed one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic_core import from_json

from letsgo_queue.errors import MessageInvalid

CLAIM_CHECK = "claimCheck"
"""The field that stands in place of `payload` in a sealed message."""

NOT_JSON = 'the body is not JSON. This worker reads {"type": ..., "payload": ...}.'

Body: TypeAlias = str | bytes

DEEPEST_ENVELOPE = 5
"""How deep an envelope may have a message: an event of SNS has it in Records, 0, Sns, Message."""

_MARKER = f'"{CLAIM_CHECK}"'
_MARKER_IN_BYTES = _MARKER.encode()

# A body as LetsGo writes it starts with its type, which spares parsing the rest.
_LEADING_TYPE = re.compile(r'\{"type":"([^"\\\x00-\x1f]+)"[,}]')
_LEADING_TYPE_IN_BYTES = re.compile(_LEADING_TYPE.pattern.encode())

# JSON may write any character of the marker as an escape; that is the same field. Most bodies have
# no backslash, and one character is found ten times faster than four.
_ESCAPED_MARKER = re.compile(
    '"' + "".join(rf"(?:{each}|\\u00{ord(each):02x})" for each in CLAIM_CHECK) + '"', re.IGNORECASE
)
_ESCAPED_MARKER_IN_BYTES = re.compile(_ESCAPED_MARKER.pattern.encode(), re.IGNORECASE)


def type_of(body: str, *, whole: bool = False) -> str:
    """The type of a message from the queue.

    Where the body starts with its type, only what could contradict it is looked at: whether the
    rest is JSON is left to whoever reads it.

    Args:
        body: The body.
        whole: Whether to read all of it, to be sure that it is JSON.

    Raises:
        MessageInvalid: The body is not a JSON object with a string `type`.
    """
    leading = None if whole else _LEADING_TYPE.match(body)
    if leading and body.find('"type"', leading.end()) < 0 and not mentions_claim_check(body):
        return leading[1]
    fields = _fields(body)
    if fields is None:
        raise MessageInvalid(NOT_JSON)
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise MessageInvalid(
            'the body has no string `type`. This worker reads {"type": ..., "payload": ...}.'
        )
    return str(fields["type"])


def type_in(body: Body) -> str | None:
    """The type of a LetsGo message; None if `body` is something else."""
    if isinstance(body, str):
        if leading := _LEADING_TYPE.match(body):
            return leading[1]
    elif in_bytes := _LEADING_TYPE_IN_BYTES.match(body):
        try:
            return in_bytes[1].decode()
        except UnicodeDecodeError:
            return None
    fields = _fields(body)
    message_type = fields.get("type") if isinstance(fields, dict) else None
    return message_type if isinstance(message_type, str) else None


def mentions_claim_check(body: Body) -> bool:
    """Whether a body may be sealed; most are not, and this costs next to nothing."""
    if isinstance(body, str):
        if "\\" in body and "\\u00" in body and _ESCAPED_MARKER.search(body):
            return True
        return _MARKER in body
    if b"\\" in body and b"\\u00" in body and _ESCAPED_MARKER_IN_BYTES.search(body):
        return True
    return _MARKER_IN_BYTES in body


def sealed_fields(body: Body) -> Mapping[str, Any] | None:
    """The fields of a body that has the shape of a sealed message; None for any other body.

    Whether what is in them is well-formed is left to the claim check.
    """
    if not mentions_claim_check(body):
        return None
    fields = _fields(body)
    return fields if isinstance(fields, dict) and has_sealed_shape(fields) else None


def is_sealed(body: Body) -> bool:
    """Whether a body has the shape of a sealed message, well-formed or not."""
    return sealed_fields(body) is not None


def holds_sealed(value: object, *, depth: int = DEEPEST_ENVELOPE) -> bool:
    """Whether a value is a sealed message, or an envelope around one: as text, or parsed.

    SNS has one in its `Message`, EventBridge in its `detail`, an answer of boto3 in a `Body`. The
    payload of a message is no envelope: what it quotes is its own.

    Args:
        value: Anything.
        depth: How deep to look into it.
    """
    if isinstance(value, str | bytes):
        if not (CLAIM_CHECK in value if isinstance(value, str) else CLAIM_CHECK.encode() in value):
            return False
        value = _fields(value)
    if isinstance(value, Mapping):
        if has_sealed_shape(value):
            return True
        value = () if "type" in value else tuple(value.values())
    if not isinstance(value, list | tuple):
        return False
    return depth > 0 and any(holds_sealed(each, depth=depth - 1) for each in value)


def has_sealed_shape(fields: Mapping[Any, object]) -> bool:
    """Whether fields are those of a sealed message."""
    return CLAIM_CHECK in fields and fields.keys() <= {"type", CLAIM_CHECK}


def _fields(body: Body) -> object:
    """The JSON in a body; None where there is none."""
    try:
        return from_json(body)
    except (ValueError, TypeError):  # TypeError: a str that is not Unicode
        return None
