"""What a message body is, for people: explained without its content, and without taking its claim.

there        a delivery can take the claim
taken        a delivery has it, until its lease ends
gone         it was purged: the message was handled, or this is not the sender's store
expired      nobody fetched it in time
damaged      it is not what the ticket says, or parts of it are missing
unreadable   the store did not say
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from claimcheck.core import ticket as tickets
from claimcheck.core.claim_check import Route
from claimcheck.core.compression import Encoding
from claimcheck.core.signing import Signer
from claimcheck.core.ticket import CarriedTicket, SealedMessage, StoredTicket
from claimcheck.core.verify import describes, unpack_carried
from claimcheck.errors import ClaimCheckError, ClaimCorrupted, TicketInvalid
from claimcheck.stores.base import ClaimHead, ClaimStore, Held

ClaimState: TypeAlias = Literal["there", "taken", "gone", "expired", "damaged", "unreadable"]

USABLE: frozenset[ClaimState] = frozenset({"there", "taken"})
"""The states of a claim that is not lost."""

_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimReport:
    """A claim, as its store has it.

    Attributes:
        id: The claim id.
        store: Where it was looked for.
        state: What was found.
        detail: Why it is in that state; None where there is nothing to say.
        lease_until: When the delivery that took it loses it, in UTC; None unless taken.
        expires_at: When it may be gone, in UTC: as the claim says, since a failure may have renewed
            it; else as the ticket says.
    """

    id: str
    store: str
    state: ClaimState
    detail: str | None = None
    lease_until: datetime | None = None
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyReport:
    """A body from a queue.

    Attributes:
        sealed: Whether the payload was sealed.
        type: The message's type; None where it has none, or the ticket is malformed.
        route: Which way it went; None where the ticket is malformed.
        size: Bytes of the body as it was enqueued; None where the ticket is malformed.
        sent_size: Bytes of the body on the queue, without attributes.
        stored_size: Bytes in the store.
        parts: Parts in the store.
        encoding: How it was encoded; None unless sealed.
        ratio: How many bytes of the original one encoded byte stands for; None unless sealed.
        signed: Whether the ticket carries a signature.
        problem: Why the message itself cannot be opened; None where it can.
        claim: Its claim; None unless stored.
    """

    sealed: bool
    type: str | None = None
    route: Route | None = None
    size: int | None = None
    sent_size: int
    stored_size: int = 0
    parts: int = 0
    encoding: Encoding | None = None
    ratio: float | None = None
    signed: bool = False
    problem: str | None = None
    claim: ClaimReport | None = None

    @property
    def usable(self) -> bool:
        """Whether a worker can open the message, now or when a lease ends."""
        return self.problem is None and (self.claim is None or self.claim.state in USABLE)


def explain(
    body: str,
    *,
    store: Callable[[], ClaimStore],
    max_size: int,
    signer: Signer | None,
    now: float,
) -> BodyReport:
    """Say what a body is.

    Args:
        body: What came from the queue, sealed or not.
        store: Opens the store; called only for a body whose payload is in one.
        max_size: Bytes that a ticket may claim.
        signer: Accepts signatures; None where tickets need none.
        now: Seconds since 1970.
    """
    sent_size = len(body.encode())
    try:
        sealed = tickets.read(body, max_size=max_size)
    except TicketInvalid as error:
        return BodyReport(sealed=True, sent_size=sent_size, problem=f"{error}.")
    if sealed is None:
        return BodyReport(
            sealed=False,
            type=tickets.type_in(body),
            route="inline",
            size=sent_size,
            sent_size=sent_size,
        )
    ticket = sealed.ticket
    problem = None
    if signer is not None and not signer.accepts(sealed.type, ticket):
        problem = "its ticket is not signed with a key that is known here."
    if isinstance(ticket, StoredTicket):
        return BodyReport(
            sealed=True,
            type=sealed.type,
            route="stored",
            size=ticket.size,
            sent_size=sent_size,
            stored_size=ticket.stored,
            parts=ticket.parts,
            encoding=ticket.encoding,
            ratio=ticket.size / ticket.stored,
            signed=ticket.sig is not None,
            problem=problem,
            claim=_look_for(sealed, ticket, store(), now),
        )
    return BodyReport(
        sealed=True,
        type=sealed.type,
        route="compressed",
        size=ticket.size,
        sent_size=sent_size,
        encoding=ticket.encoding,
        ratio=ticket.size / (len(ticket.data) * 3 / 4),
        signed=ticket.sig is not None,
        problem=problem or _problem_of(sealed, ticket),
    )


def _problem_of(sealed: SealedMessage, ticket: CarriedTicket) -> str | None:
    try:
        unpack_carried("the message", sealed, ticket)
    except (TicketInvalid, ClaimCorrupted) as error:
        return str(error)
    return None


def _look_for(
    sealed: SealedMessage, ticket: StoredTicket, store: ClaimStore, now: float
) -> ClaimReport:
    lease_until = None
    expires = ticket.expires
    try:
        found = _find(store, ticket, now)
        if isinstance(found, Held):
            lease_until = _moment(found.until)
        elif found is not None:
            expires = found.expires_at
        state, detail = _judge(found, sealed, ticket, store, now)
    except ClaimCheckError as error:
        state, detail = "unreadable", str(error)
    return ClaimReport(
        id=ticket.id,
        store=store.url,
        state=state,
        detail=detail,
        lease_until=lease_until,
        expires_at=_moment(expires),
    )


def _find(store: ClaimStore, ticket: StoredTicket, now: float) -> ClaimHead | Held | None:
    head = store.look_up(ticket.id, now=now)
    if head is not None:
        return head
    # No part is asked for: this tells a claim that is taken from one that is gone.
    found = store.read(ticket.id, 0, now=now)
    return found if found is None or isinstance(found, Held) else found.head


def _judge(
    found: ClaimHead | Held | None,
    sealed: SealedMessage,
    ticket: StoredTicket,
    store: ClaimStore,
    now: float,
) -> tuple[ClaimState, str | None]:
    if isinstance(found, Held):
        return "taken", None
    if found is None:
        return _judge_missing(ticket, store, now)
    if not describes(ticket, found) or sealed.type != found.type:
        return "damaged", "the ticket does not describe the claim it names."
    missing = found.parts + 1 - store.count_rows(ticket.id, found.parts)
    if missing:
        return "damaged", f"{missing} of {found.parts} parts are missing."
    return "there", None


def _judge_missing(
    ticket: StoredTicket, store: ClaimStore, now: float
) -> tuple[ClaimState, str | None]:
    if store.url == "memory://":
        return "unreadable", "a store in memory is seen only by the process that made it."
    if now >= ticket.expires:
        return "expired", "nobody fetched it in time; the payload is lost."
    return "gone", "the message was handled, or its sender has another CLAIMCHECK_STORE."


def _moment(seconds: float) -> datetime:
    # A ticket comes from whoever can write to the queue, and may name any number.
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)
