"""What a claim and its ticket must be before a handler sees what they hold.

A ticket comes from whoever can write to the queue, and a store can be damaged: nothing is handed on
that is not, byte for byte, what was sealed.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Sequence

from claimcheck.core import ticket as tickets
from claimcheck.core.compression import decode
from claimcheck.core.ticket import CarriedTicket, SealedMessage, StoredTicket
from claimcheck.errors import ClaimCorrupted, ClaimExpired, TicketInvalid
from claimcheck.stores.base import Claim, ClaimHead


def sha256_of(parts: Sequence[bytes | memoryview]) -> str:
    """The hex digest of parts, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def ticket_of(head: ClaimHead) -> StoredTicket:
    """The ticket for a claim."""
    return StoredTicket(
        v=tickets.VERSION,
        encoding=head.encoding,
        size=head.size,
        sha256=head.sha256,
        id=head.id,
        parts=head.parts,
        stored=head.stored,
        expires=head.expires_at,
    )


def describes(ticket: StoredTicket, head: ClaimHead) -> bool:
    """Whether a ticket is that of a claim; when it expires, and who signed it, is not compared."""
    return ticket_of(head) == ticket.model_copy(update={"expires": head.expires_at, "sig": None})


def whole_parts(
    what: str, ticket: StoredTicket, message_type: str | None, claim: Claim, now: float
) -> list[bytes]:
    """The parts of a claim, all there and as sealed.

    Raises:
        TicketInvalid: The ticket describes another claim.
        ClaimExpired: Some have expired.
        ClaimCorrupted: Some are missing, or they are not what was sealed.
    """
    head = claim.head
    if not describes(ticket, head):
        raise TicketInvalid(f"{what}: its ticket does not describe the claim it names.")
    _check_type(what, message_type, head.type)
    parts = [part for part in claim.parts if part is not None]
    if len(parts) != head.parts:
        missing = f"{head.parts - len(parts)} of {head.parts} parts"
        if now >= head.expires_at:
            raise ClaimExpired(f"{what}: {missing} of its claim have expired.")
        raise ClaimCorrupted(
            f"{what}: {missing} are missing. The claim was put back for inspection."
        )
    if sha256_of(parts) != head.sha256:
        raise ClaimCorrupted(
            f"{what}: what is stored is not what was sealed (its SHA-256 differs). The claim was "
            "put back for inspection."
        )
    return parts


def unpack_carried(what: str, sealed: SealedMessage, ticket: CarriedTicket) -> str:
    """The body in a ticket that carries it.

    Raises:
        TicketInvalid: The data is not base64, or the type inside is another.
        ClaimCorrupted: It is not what was sealed.
    """
    try:
        data = b64decode(ticket.data, validate=True)
    except ValueError:
        raise TicketInvalid(f"{what}: the data in its ticket is not base64.") from None
    if hashlib.sha256(data).hexdigest() != ticket.sha256:
        raise ClaimCorrupted(
            f"{what}: the data in its ticket is not what was sealed (its SHA-256 differs)."
        )
    return unpack(what, sealed, [data])


def unpack(what: str, sealed: SealedMessage, parts: list[bytes]) -> str:
    """The body in the encoded bytes, which are taken out of the list.

    Raises:
        TicketInvalid: The type inside is not the one outside.
        ClaimCorrupted: The bytes do not decode to what was sealed.
    """
    try:
        text = decode(sealed.ticket.encoding, parts, sealed.ticket.size)
    except ClaimCorrupted as error:
        raise ClaimCorrupted(f"{what}: {error}.") from None
    except UnicodeDecodeError:
        raise ClaimCorrupted(f"{what}: what was sealed is not text.") from None
    _check_type(what, sealed.type, tickets.type_in(text))
    return text


def _check_type(what: str, outside: str | None, inside: str | None) -> None:
    if outside != inside:
        raise TicketInvalid(
            f"{what}: another type was sealed than the message says it has. It was not handled."
        )
