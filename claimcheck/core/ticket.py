"""The ticket: what travels on the queue in place of a payload.

    {"type": "order:new", "claimCheck": {"v": 1, "encoding": "zstd", "size": 1002933,
                                         "sha256": "<hex>", "data": "<base64>"}}
    {"type": "order:new", "claimCheck": {"v": 1, "encoding": "zstd", "size": 1002933,
                                         "sha256": "<hex>", "id": "<claim id>", "parts": 1,
                                         "stored": 286003, "expires": 1796745600,
                                         "store": "dynamodb:eu-west-1:letsgo-claims"}}

With `"encryption"` in it the encoded bytes are encrypted; see `encryption`. With `"shared": true`
several queues get copies of the message, and each handles it once: see `life`.

`type` stays outside so that a message can be routed without being opened. Anybody who writes to the
queue can write a ticket, so every field is checked and bounded before it is used. A ticket never
says which server to contact: `store` is only compared with the reader's stores, and tables, regions
and hosts come from the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from claimcheck.core.compression import Encoding
from claimcheck.errors import TicketInvalid, TicketUnsupported
from letsgo_queue.envelope import CLAIM_CHECK, is_text, sealed_fields

VERSION = 1
ENCODINGS: frozenset[Encoding] = frozenset({"zstd", "identity"})
ALGORITHM: Final = "AES-256-GCM"
KEY_KINDS = frozenset({"aes256", "kms"})

MIN_PART_BYTES = 65_536
"""No part but the last is smaller, which bounds how many a ticket may name."""

_SHA256 = r"^[0-9a-f]{64}$"
_TAG = r"^[0-9a-f]{32}$"
# KMS wraps a key in 6,144 bytes at most.
_KEY = r"^(aes256:[0-9a-f]{16}|kms:[A-Za-z0-9+/]{4,8192}={0,2})$"
_ID = r"^[A-Za-z0-9_-]{22,64}$"
_LATEST = 2**53 - 1


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Encrypted(_Fields):
    """How the encoded bytes are encrypted.

    Attributes:
        algorithm: AES-256-GCM.
        key: Which data key: `aes256:` and the key's id, or `kms:` and the wrapped key in base64.
        tag: GCM's tag, which authenticates the bytes.
    """

    algorithm: Literal["AES-256-GCM"]
    key: str = Field(pattern=_KEY)
    tag: str = Field(pattern=_TAG)


class _Ticket(_Fields):
    v: int = Field(ge=VERSION, le=VERSION)  # a Literal[1] would take true for 1
    encoding: Encoding
    size: int = Field(ge=1)
    sha256: str = Field(pattern=_SHA256)
    shared: bool | None = None
    encryption: Encrypted | None = None
    sig: str | None = Field(default=None, pattern=_SHA256)


class CarriedTicket(_Ticket):
    """A ticket that carries the sealed bytes itself.

    Attributes:
        data: The encoded body in base64.
        nonce: 128 random bits or more, in a ticket that is signed or encrypted. Copies of a message
            have the same.
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


@dataclass(frozen=True, slots=True)
class Bound:
    """The facts that encryption binds the bytes of a message to: they decrypt with no others.

    Attributes:
        place: Where they are. It is bound because a stored claim has a receipt: nobody may turn it
            into a ticket that carries the bytes, and has none.
        id: The claim id; for a ticket that carries the bytes, its nonce.
        encoding: How they are encoded.
        size: Bytes of the body.
        type: The message's type; None if it has none.
        store: The label of a stored claim; None for bytes that a ticket carries. Under another
            label a reader would look for the receipt in another store.
        shared: Whether each of several queues has a receipt of its own. If it could be changed, a
            copy would have another receipt.
    """

    place: Literal["carried", "stored"]
    id: str
    encoding: Encoding
    size: int
    type: str | None
    store: str | None = None
    shared: bool = False

    @classmethod
    def of(cls, sealed: SealedMessage) -> Bound:
        """The facts that the bytes of a message must be bound to."""
        ticket = sealed.ticket
        shared = bool(ticket.shared)
        if isinstance(ticket, CarriedTicket):
            nonce = ticket.nonce or ""
            return cls("carried", nonce, ticket.encoding, ticket.size, sealed.type, shared=shared)
        return cls(
            "stored",
            ticket.id,
            ticket.encoding,
            ticket.size,
            sealed.type,
            store=ticket.store,
            shared=shared,
        )

    @property
    def additional_data(self) -> bytes:
        """All of these, a line each. The type comes last: it may have line breaks itself."""
        place = f"{self.place} shared" if self.shared else self.place
        lines = [place, self.id, self.encoding, str(self.size), self.store, self.type]
        return "\n".join(line for line in lines if line is not None).encode()


def write(message_type: str | None, ticket: Ticket) -> bytes:
    """The body that travels."""
    fields = {} if message_type is None else {"type": message_type}
    return to_json({**fields, CLAIM_CHECK: ticket}, exclude_none=True)


def read(body: str | Mapping[str, Any], *, max_size: int) -> SealedMessage | None:
    """Read a body from the queue.

    Args:
        body: The body; or its fields, if it is sealed and was parsed already.
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
    if _is_newer(fields):
        raise TicketUnsupported(
            "its ticket has a version, an encoding or an encryption that this version of "
            f"letsgo-claimcheck does not know (it knows version {VERSION} with "
            f"{', '.join(sorted(ENCODINGS))}, and {ALGORITHM} with keys of "
            f"{', '.join(sorted(KEY_KINDS))}). Upgrade letsgo-claimcheck where messages are "
            "received"
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
    if ticket.encryption and isinstance(ticket, CarriedTicket) and ticket.nonce is None:
        raise TicketInvalid("its ticket is malformed (nonce)")
    _check_sizes(ticket, max_size)
    return ticket


def _is_newer(fields: Mapping[str, object]) -> bool:
    """Whether a ticket needs something that this version does not have."""
    version, encoding, encryption = map(fields.get, ("v", "encoding", "encryption"))
    if isinstance(version, int) and version > VERSION:
        return True
    if isinstance(encoding, str) and encoding not in ENCODINGS:
        return True
    if not isinstance(encryption, Mapping):
        return False
    algorithm, key = encryption.get("algorithm"), encryption.get("key")
    if isinstance(algorithm, str) and algorithm != ALGORITHM:
        return True
    return isinstance(key, str) and key.partition(":")[0] not in KEY_KINDS


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
