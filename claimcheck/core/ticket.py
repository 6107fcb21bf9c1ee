"""The ticket: what travels on the queue in place of a payload.

    {"type": "order:new", "claimCheck": {"v": 1, "encoding": "zstd", "size": 1002933,
                                         "sha256": "<hex>", "data": "<base64>"}}
    {"type": "order:new", "claimCheck": {"v": 1, "encoding": "zstd", "size": 1002933,
                                         "sha256": "<hex>", "id": "<claim id>", "parts": 1,
                                         "stored": 286003, "expires": 1796745600}}

`type` stays outside so that a message can be routed without being opened. A ticket comes from
whoever can write to the queue, so every field is checked and bounded before anything is done with
it, and it never says where to look: table and region come from the settings only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from claimcheck.core.compression import Encoding
from claimcheck.errors import TicketInvalid, TicketUnsupported

VERSION = 1
ENCODINGS: frozenset[Encoding] = frozenset({"zstd", "identity"})

MIN_PART_BYTES = 65_536
"""No part but the last is smaller, which bounds how many a ticket may name."""

_FIELD = "claimCheck"
_MARKER = f'"{_FIELD}"'
_MARKER_IN_BYTES = _MARKER.encode()
_LEADING_TYPE = re.compile(r'\{"type":("(?:[^"\\]|\\.)*")[,}]')
_LEADING_TYPE_IN_BYTES = re.compile(_LEADING_TYPE.pattern.encode())
_SHA256 = r"^[0-9a-f]{64}$"
_LATEST = 2**53 - 1


class _Ticket(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: int = Field(ge=VERSION, le=VERSION)  # a Literal[1] would take true for 1
    encoding: Encoding
    size: int = Field(ge=1)
    sha256: str = Field(pattern=_SHA256)
    sig: str | None = Field(default=None, pattern=_SHA256)


class CarriedTicket(_Ticket):
    """A ticket that carries the sealed bytes itself.

    Attributes:
        data: The encoded body in base64.
    """

    data: str = Field(min_length=1, repr=False)


class StoredTicket(_Ticket):
    """A ticket for bytes that are in the store.

    Attributes:
        id: The claim id.
        parts: How many parts there are.
        stored: Bytes of all parts.
        expires: When the claim may be gone (seconds since 1970).
    """

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{22,64}$")
    parts: int = Field(ge=1)
    stored: int = Field(ge=1)
    expires: int = Field(ge=0, le=_LATEST)


Ticket: TypeAlias = CarriedTicket | StoredTicket


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A message whose payload is elsewhere.

    Attributes:
        type: The message's type; None for a body that was no LetsGo message.
        ticket: Where the payload is.
    """

    type: str | None
    ticket: Ticket


def write(message_type: str | None, ticket: Ticket) -> bytes:
    """The body that travels."""
    fields = {} if message_type is None else {"type": message_type}
    return to_json({**fields, _FIELD: ticket}, exclude_none=True)


def may_be_sealed(body: str | bytes) -> bool:
    """Whether a body is worth a closer look; most are not, and this costs next to nothing."""
    return _MARKER in body if isinstance(body, str) else _MARKER_IN_BYTES in body


def looks_sealed(body: str | bytes) -> bool:
    """Whether `read` would take `body` for a sealed message, well-formed or not."""
    return _sealed_fields(body) is not None


def read(body: str, *, max_size: int) -> SealedMessage | None:
    """Read a body from the queue.

    Args:
        body: The body.
        max_size: Bytes that a ticket may claim.

    Returns:
        The sealed message; None if it is not sealed.

    Raises:
        TicketInvalid: It is sealed, but not as it should be.
    """
    fields = _sealed_fields(body)
    if fields is None:
        return None
    message_type = fields.get("type")
    if message_type is not None and not isinstance(message_type, str):
        raise TicketInvalid("its `type` is not text")
    return SealedMessage(message_type, _check(fields[_FIELD], max_size))


def type_in(body: str | bytes) -> str | None:
    """The type of a LetsGo message; None if `body` is something else.

    A body as LetsGo writes it starts with its type, which spares parsing the rest.
    """
    try:
        leading = (
            _LEADING_TYPE.match(body)
            if isinstance(body, str)
            else _LEADING_TYPE_IN_BYTES.match(body)
        )
        if leading:
            return str(from_json(leading[1]))
        fields: object = from_json(body)
    except ValueError:
        return None
    message_type = fields.get("type") if isinstance(fields, dict) else None
    return message_type if isinstance(message_type, str) else None


def _sealed_fields(body: str | bytes) -> dict[str, Any] | None:
    """The fields of a body that has the shape of a sealed message."""
    if not may_be_sealed(body):
        return None
    try:
        fields: object = from_json(body)
    except (ValueError, TypeError):  # TypeError: a str that is not Unicode
        return None
    if isinstance(fields, dict) and _FIELD in fields and fields.keys() <= {"type", _FIELD}:
        return fields
    return None


def _check(fields: object, max_size: int) -> Ticket:
    if not isinstance(fields, dict):
        raise TicketInvalid("its ticket is not an object")
    version, encoding = fields.get("v"), fields.get("encoding")
    newer = isinstance(version, int) and version > VERSION
    if newer or (isinstance(encoding, str) and encoding not in ENCODINGS):
        raise TicketUnsupported(
            "its ticket has a version or an encoding that this version of letsgo-claimcheck does "
            f"not know (it knows version {VERSION} with {', '.join(sorted(ENCODINGS))}). "
            "Upgrade letsgo-claimcheck where messages are received"
        )
    model = CarriedTicket if "data" in fields else StoredTicket
    try:
        ticket = model.model_validate(fields)
    except ValidationError as error:
        known = model.model_fields.keys()
        wrong = {
            str(e["loc"][0]) if e["loc"] and e["loc"][0] in known else "another field"
            for e in error.errors()
        }
        raise TicketInvalid(f"its ticket is malformed ({', '.join(sorted(wrong))})") from None
    _check_sizes(ticket, max_size)
    return ticket


def _check_sizes(ticket: Ticket, max_size: int) -> None:
    if ticket.size > max_size:
        raise TicketInvalid(
            f"its ticket claims {ticket.size:,} bytes, over max_size ({max_size:,}). Raise "
            "max_size if messages may be that large"
        )
    if isinstance(ticket, StoredTicket):
        most_parts = -(-ticket.stored // MIN_PART_BYTES)
        if ticket.stored > ticket.size or ticket.parts > most_parts:
            raise TicketInvalid(
                f"its ticket claims {ticket.parts:,} parts and {ticket.stored:,} stored bytes for "
                f"{ticket.size:,}"
            )
