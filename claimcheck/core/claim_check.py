"""Sealing and opening: the claim check itself, for any queue that carries text.

seal    up to threshold ─────────────────────────> inline       as it is
        compressed, if the queue takes that ─────> compressed   the ticket carries it
        else ────────────────────────────────────> stored       the ticket has its key

open    takes the claim, so that it is gone for everyone else, and gives the body
        ├── purge      the work is done: the claim is removed
        ├── put_back   the work failed: the claim is there again
        └── neither    a crash: the lease runs out, and the next delivery takes it
"""

from __future__ import annotations

import codecs
import math
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self, TypeAlias

from claimcheck.core import ticket as tickets
from claimcheck.core.compression import encode, size_of
from claimcheck.core.life import Hold, LeasedHold, NoHold, Purge, check_purge, purge_before, settle
from claimcheck.core.signing import Signer
from claimcheck.core.ticket import CarriedTicket, SealedMessage, StoredTicket, Ticket
from claimcheck.core.untaken import gone, in_progress
from claimcheck.core.verify import sha256_of, ticket_of, unpack, unpack_carried, whole_parts
from claimcheck.errors import (
    BodyInvalid,
    BodyTooLarge,
    SettingsInvalid,
    TicketForged,
    TicketInvalid,
)
from claimcheck.stores.base import PART_BYTES, ClaimHead, ClaimStore, Held, Lease

Route: TypeAlias = Literal["inline", "compressed", "stored"]
"""Which way a message goes."""

DEFAULT_THRESHOLD = 250_000
"""Bytes up to which a message travels untouched; under the 262,144 that every SQS queue takes."""

DEFAULT_MAX_SIZE = 64 * 1024 * 1024
DEFAULT_LEASE_SECONDS = 120

ANY_QUEUE_BYTES = 262_144
"""What to assume of a queue that does not say: SQS's limit before August 2025."""

EXPIRY_SECONDS = 15 * 24 * 3600
"""Longer than SQS keeps any message (14 days), counted from its delivery."""

RENEW_AFTER_SECONDS = 12 * 3600
"""How old a claim is when a failure renews it: not with every retry, since that writes its parts
again; and often enough that it outlives the message, for which a move to the dead-letter queue, or
back, starts up to 14 days anew."""

_CLAIM_ID_BYTES = 18  # 144 bits, 24 characters
_CHECKED_AT_ONCE = 65_536
_MOST_AROUND_DATA = 400
"""Bytes of a ticket beside the data it carries, with a signature and a type of usual length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A body, ready to travel.

    Attributes:
        body: What goes on the queue, as UTF-8.
        route: Which way it goes.
        size: Bytes of the body as given.
        claim_id: The claim in the store; None unless stored.
        parts: Parts in the store.
        stored: Bytes in the store.
    """

    body: bytes = field(repr=False)
    route: Route
    size: int
    claim_id: str | None = None
    parts: int = 0
    stored: int = 0


class Opened:
    """A body as it was given to `seal`, and the hold on its claim.

    As a context manager it purges the claim when the block ends and puts it back when the block
    raises. There a refusal of the store is logged, not raised: the claim's lease and expiry settle
    it.

    Attributes:
        body: The body.
        route: Which way it came.
        claim_id: The claim it was in, if it was stored.
    """

    def __init__(
        self,
        body: str,
        route: Route,
        *,
        size: int | None = None,
        claim_id: str | None = None,
        hold: Hold | None = None,
    ) -> None:
        self.body = body
        self.route = route
        self.claim_id = claim_id
        self._size = size
        self._hold = hold or NoHold()

    @property
    def size(self) -> int:
        """Bytes of the body."""
        if self._size is not None:
            return self._size
        # What came inline need not be Unicode; what was sealed is.
        return len(self.body if self.body.isascii() else self.body.encode(errors="replace"))

    def extend(self, until: float) -> bool:
        """Hold the claim until then (seconds since 1970); False if another delivery has it."""
        return self._hold.extend(until)

    def purge(self) -> bool:
        """The work is done: remove the claim. False if another delivery has it by now."""
        return self._hold.purge()

    def put_back(self) -> bool:
        """The work failed: have the claim there again. False if another delivery has it by now."""
        return self._hold.put_back()

    def settle(self, *, succeeded: bool) -> None:
        """The work is over: purge the claim or put it back; what the store refuses is logged."""
        settle(self._hold, self.claim_id, succeeded=succeeded)

    def __enter__(self) -> Self:
        """Nothing more: the claim is held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Purge, or put back where the block raised."""
        self.settle(succeeded=kind is None)


class ClaimCheck:
    """Seals bodies and opens them again. Safe to share between threads."""

    def __init__(
        self,
        store: ClaimStore,
        *,
        threshold: int = DEFAULT_THRESHOLD,
        inline_limit: int | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        purge: Purge = "after",
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        signing_key: str | Sequence[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a claim check.

        Args:
            store: Where claims are kept.
            threshold: Bytes of body and attributes up to which a message travels untouched.
            inline_limit: Bytes that the queue accepts, instead of asking it.
            max_size: Bytes that a body may have, sealed or opened.
            purge: When a claim's bytes are removed. `before`: a handler that fails puts them back,
                a process that is killed loses them. `never`: they expire; for several consumers.
            lease_seconds: How long a claim is held where the delivery does not say.
            signing_key: Signs tickets, and refuses those that are not signed: one key, or several
                of which the first signs and all are accepted. At least 16 bytes each.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: A number is not positive, `purge` is not known, or a key is too short.
        """
        numbers = {"threshold": threshold, "max_size": max_size, "lease_seconds": lease_seconds}
        if inline_limit is not None:
            numbers["inline_limit"] = inline_limit
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise SettingsInvalid(f"{name}={value}: give a number above 0.")
        check_purge(purge)
        self.store = store
        self._threshold = threshold
        self._inline_limit = inline_limit
        self._max_size = max_size
        self._purge = purge
        self._lease_seconds = lease_seconds
        keys = [signing_key] if isinstance(signing_key, str) else signing_key
        self._signer = Signer(keys) if keys else None
        self._clock = clock

    def seal(
        self,
        body: str | bytes,
        *,
        type: str | None = None,
        attributes_size: int = 0,
        queue_limit: Callable[[], int | None] | None = None,
        delay_seconds: float = 0,
    ) -> Sealed:
        """Make a body small enough for the queue.

        Args:
            body: Any text; bytes are taken as UTF-8.
            type: The message's type, for errors; what travels is the one in the body.
            attributes_size: Bytes of the message attributes, which count as well.
            queue_limit: Asks the queue how many bytes it accepts (None: it will not say); called
                only where that decides.
            delay_seconds: Seconds until the message can be received; its claim lives longer by so
                much.

        Raises:
            BodyInvalid: Empty, not text, or of another type than given.
            BodyTooLarge: Over `max_size`.
            ClaimStoreError: The claim could not be written; nothing is left of it.
        """
        data = _to_bytes(body)
        if len(data) > self._max_size:
            raise BodyTooLarge(
                f"message of type {type!r} is {len(data):,} bytes; max_size allows "
                f"{self._max_size:,}. Raise max_size on both sides, or send less.",
                size=len(data),
                limit=self._max_size,
            )
        size = len(data)
        # What already looks sealed is sealed again: opening gives back exactly what was given.
        if size + attributes_size <= self._threshold and not tickets.looks_sealed(data):
            return Sealed(body=data, route="inline", size=size)
        inside = tickets.type_in(data)
        if type not in {None, inside}:
            raise BodyInvalid(
                f"the body is to be sealed as a message of type {type!r} but says {inside!r}: "
                "whoever opens it would refuse it. Leave the type out."
            )
        limit = self._limit(queue_limit) - attributes_size
        encoding, parts = encode(data, part_bytes=PART_BYTES, aim=_carried_bytes(limit))
        stored = size_of(parts)
        sha256 = sha256_of(parts)
        if _base64_size(stored) <= limit:
            carried = self._write(
                inside,
                CarriedTicket(
                    v=tickets.VERSION,
                    encoding=encoding,
                    size=size,
                    sha256=sha256,
                    data=b64encode(b"".join(parts)).decode(),
                ),
            )
            if len(carried) <= limit:
                return Sealed(body=carried, route="compressed", size=size)
        now = int(self._clock())
        head = ClaimHead(
            id=secrets.token_urlsafe(_CLAIM_ID_BYTES),
            parts=len(parts),
            stored=stored,
            size=size,
            sha256=sha256,
            encoding=encoding,
            type=inside,
            created_at=now,
            expires_at=now + int(delay_seconds) + EXPIRY_SECONDS,
        )
        self.store.write(head, parts)
        return Sealed(
            body=self._write(inside, ticket_of(head)),
            route="stored",
            size=size,
            claim_id=head.id,
            parts=head.parts,
            stored=head.stored,
        )

    def discard(self, sealed: Sealed) -> None:
        """Remove what sealing stored, for a body that was not sent.

        Raises:
            ClaimStoreError: It could not be removed; it expires.
        """
        if sealed.claim_id is not None:
            self.store.discard(sealed.claim_id, sealed.parts)

    def open(
        self,
        body: str,
        *,
        message_id: str | None = None,
        lease_id: str | None = None,
        lease_until: float | None = None,
        receive_count: int = 1,
        purge: Purge | None = None,
    ) -> Opened:
        """Give back the body that was sealed, and take its claim.

        Args:
            body: What came from the queue, sealed or not.
            message_id: The message's id, for errors.
            lease_id: What this delivery holds the claim with, the same for each try of one
                delivery; by default a new one. At least 128 random bits.
            lease_until: When the message can be received again (seconds since 1970); its claim is
                held as long. By default, or where that has passed, `lease_seconds` from now.
            receive_count: How often the message has been received, this time included.
            purge: In place of the claim check's own.

        Raises:
            TicketInvalid: It is sealed, but its ticket is malformed or describes another claim.
            ClaimInProgress: Another delivery holds the claim.
            ClaimAlreadyProcessed: The message was handled; this is a duplicate.
            ClaimExpired: Nobody fetched the claim in time.
            ClaimLost: The claim is gone, and whether the message was handled cannot be told.
            ClaimCorrupted: What is there is not what was sealed; the claim is put back.
            ClaimStoreError: The claim could not be read.
        """
        try:
            sealed = tickets.read(body, max_size=self._max_size)
        except TicketInvalid as error:
            raise type(error)(f"message {message_id or '(no id)'}: {error}.") from None
        if sealed is None:
            return Opened(body, "inline")
        what = f"message {message_id or '(no id)'} of type {sealed.type!r}"
        if self._signer is not None and not self._signer.accepts(sealed.type, sealed.ticket):
            raise TicketForged(
                f"{what}: its ticket is not signed with a key that this worker has. Where the "
                "sender is one of yours, give both the same signing_key."
            )
        if isinstance(sealed.ticket, CarriedTicket):
            text = unpack_carried(what, sealed, sealed.ticket)
            return Opened(text, "compressed", size=sealed.ticket.size)
        what = f"{what} (claim {sealed.ticket.id})"
        now = self._clock()
        if lease_until is None or lease_until <= now:
            # A lease that has ended would hold the claim from nobody.
            lease_until = now + self._lease_seconds
        return self._open_stored(
            what,
            sealed,
            sealed.ticket,
            lease=Lease(lease_id or secrets.token_urlsafe(_CLAIM_ID_BYTES), lease_until),
            now=now,
            receive_count=receive_count,
            purge=purge or self._purge,
        )

    def _open_stored(
        self,
        what: str,
        sealed: SealedMessage,
        ticket: StoredTicket,
        *,
        lease: Lease,
        now: float,
        receive_count: int,
        purge: Purge,
    ) -> Opened:
        if purge == "never":
            found = self.store.read(ticket.id, ticket.parts, now=now)
        else:
            found = self.store.take(ticket.id, ticket.parts, lease, now=now)
        if isinstance(found, Held):
            raise in_progress(what, found.until - now)
        if found is None:
            raise gone(what, ticket, now, receive_count, purge)
        leased = LeasedHold(self.store, found.head, lease, _renewed(found.head, now))
        hold: Hold = NoHold() if purge == "never" else leased
        try:
            parts = whole_parts(what, ticket, sealed.type, found, now)
            # Each may be freed once it is read, unless it may have to be written again.
            kept = [*parts] if purge == "before" else []
            del found
            text = unpack(what, sealed, parts)
            if purge == "before":
                purged = purge_before(what, leased, kept)
                if purged is None:
                    raise in_progress(what, 0.0)
                hold = purged
        except BaseException:
            settle(hold, ticket.id, succeeded=False)
            raise
        return Opened(text, "stored", size=ticket.size, claim_id=ticket.id, hold=hold)

    def _write(self, message_type: str | None, ticket: Ticket) -> bytes:
        if self._signer is not None:
            signature = self._signer.sign(message_type, ticket)
            ticket = ticket.model_copy(update={"sig": signature})
        return tickets.write(message_type, ticket)

    def _limit(self, queue_limit: Callable[[], int | None] | None) -> int:
        if self._inline_limit is not None:
            return self._inline_limit
        return (queue_limit() if queue_limit else None) or ANY_QUEUE_BYTES


def _renewed(head: ClaimHead, now: float) -> int | None:
    """When a claim is to expire if the work on it fails; None while it is young."""
    expires_at = int(now) + EXPIRY_SECONDS
    return expires_at if expires_at - head.expires_at >= RENEW_AFTER_SECONDS else None


def _to_bytes(body: str | bytes) -> bytes:
    if not body:
        raise BodyInvalid("the body is empty: there is nothing to send, and SQS refuses it.")
    try:
        if isinstance(body, str):
            return body.encode()
        if not body.isascii():
            _check_utf8(body)
    except UnicodeError:
        raise BodyInvalid("the body is not text: it cannot be written as UTF-8.") from None
    return body


def _check_utf8(body: bytes) -> None:
    """Decode it a piece at a time: as one text it may take four times the memory."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _CHECKED_AT_ONCE):
        end = start + _CHECKED_AT_ONCE
        decode(body[start:end], final=end >= len(body))


def _base64_size(size: int) -> int:
    return (size + 2) // 3 * 4


def _carried_bytes(limit: int) -> int:
    """Encoded bytes that a ticket of `limit` bytes carries, with some room to spare."""
    return (limit - _MOST_AROUND_DATA) // 4 * 3
