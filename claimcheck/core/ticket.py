"""The ticket: what travels on the queue in place of a payload.

    {"type": "order:new", "claimCheck": {"v": 1, "encoding": "zstd", "size": 1002933,
                                         "sha256": "<hex>", "data": "<base64>"}}
    {"type": "order:new", "claimCheck": {"v": 1, "encoding": "zstd", "size": 1002933,
                                         "sha256": "<hex>", "id": "<claim id>", "parts": 1,
                                         "stored": 286003, "expires": 1796745600,
                                         "store": "dynamodb:eu-west-1:letsgo-claims"}}

`type` stays outside so that a message can be routed without being opened. Anybody who writes to the
queue can write a ticket, so every field is checked and bounded before anything is done with it. A
ticket never says which server to contact: `store` is a name to compare with, and tables, regions
and hosts come from the settings only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from claimcheck.core.compression import Encoding
from claimcheck.errors import TicketInvalid, TicketUnsupported
from letsgo_queue.envelope import CLAIM_CHECK, is_text, sealed_fields

VERSION = 1
ENCODINGS: frozenset[Encoding] = frozenset({"zstd", "identity"})

MIN_PART_BYTES = 65_536
"""No part but the last is smaller, which bounds how many a ticket may name."""

_SHA256 = r"^[0-9a-f]{64}$"
_ID = r"^[A-Za-z0-9_-]{22,64}$"
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
        nonce: 128 random bits or more, in a signed ticket: copies of a message have it in common.
    """

    nonce: str | None = Field(default=None, pattern=_ID)
    data: str = Field(min_length=1, repr=False)


class StoredTicket(_Ticket):
    """A ticket for bytes that are in the store.

    Attributes:
        id: The claim id.
        parts: How many parts there are.
        stored: Bytes of all parts.
        expires: When the claim may be gone (seconds since 1970).
        store: The label of the store that the sender wrote to.
    """

    id: str = Field(pattern=_ID)
    parts: int = Field(ge=1)
    stored: int = Field(ge=1)
    expires: int = Field(ge=0, le=_LATEST)
    store: str = Field(pattern=r"^[\x20-\x7e]{1,200}$")


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
    return to_json({**fields, CLAIM_CHECK: ticket}, exclude_none=True)


def read(body: str | Mapping[str, Any], *, max_size: int) -> SealedMessage | None:
    """Read a body from the queue.

    Args:
        body: The body; or, where it is sealed and was parsed already, its fields.
        max_size: Bytes that a ticket may claim.

    Returns:
        The sealed message; None if it is not sealed.

    Raises:
        TicketInvalid: It is sealed, but not as it should be.
    """
    fields = sealed_fields(body) if isinstance(body, str) else body
    if fields is None:
        return None
    message_type = fields.get("type")
    if message_type is not None and not is_text(message_type):
        raise TicketInvalid("its `type` is not text")
    return SealedMessage(message_type, _check(fields[CLAIM_CHECK], max_size))


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
