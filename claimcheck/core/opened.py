"""A body that was opened, the hold on its claim, and how encoded bytes become a body again."""

from __future__ import annotations

from base64 import b64decode
from types import TracebackType
from typing import Literal, Self, TypeAlias

from claimcheck.core.compression import Parts, decode
from claimcheck.core.encryption import Decrypt
from claimcheck.core.holds import HandedOverHold, Hold
from claimcheck.core.life import sha256_of
from claimcheck.core.notes import HoldNote
from claimcheck.core.ticket import CarriedTicket, SealedMessage
from claimcheck.errors import ClaimCorrupted, TicketInvalid
from letsgo_queue.envelope import type_in

Route: TypeAlias = Literal["inline", "compressed", "stored"]
"""Which way a message goes."""


class Opened:
    """A body as it was given to `seal`, and the hold on its claim.

    As a context manager it completes the claim when the block ends, and releases it when the block
    raises. A refusal of the store is logged there, not raised: lease and expiry settle the claim.

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
        self._hold = hold

    @property
    def size(self) -> int:
        """Bytes of the body."""
        if self._size is not None:
            return self._size
        # A body that was sealed is Unicode; an inline one need not be.
        return len(self.body if self.body.isascii() else self.body.encode(errors="replace"))

    @property
    def is_handed_over(self) -> bool:
        """Whether the contents may be here only (`purge="before"`): no other handler may run."""
        return isinstance(self._hold, HandedOverHold)

    @property
    def has_record(self) -> bool:
        """Whether a record has to be extended and settled."""
        return self._hold is not None

    def note(self) -> HoldNote | None:
        """Return a note by which another process can settle it; None if nothing has to be settled.

        Raises:
            SettingsInvalid: No other process can (`purge="before"`).
        """
        return None if self._hold is None else HoldNote.of(self._hold)

    def without_body(self) -> Opened:
        """The same hold without the body, which may be large."""
        return Opened("", self.route, size=self._size, claim_id=self.claim_id, hold=self._hold)

    def extend(self, seconds: float) -> bool:
        """Hold the claim for this many seconds from now; False if another delivery has it.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        return self._hold is None or self._hold.extend(seconds)

    def complete(self) -> bool:
        """Leave a receipt: the work is done. False if another delivery has the claim by now.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        return self._hold is None or self._hold.complete()

    def release(self) -> bool:
        """Release the claim: the work failed. False if another delivery has it by now.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        return self._hold is None or self._hold.release()

    def settle(self, *, succeeded: bool, patiently: bool = True) -> None:
        """Complete the claim or release it: the work is over. A refusal of the store is logged.

        Args:
            succeeded: Whether the work is done.
            patiently: Whether to try for a receipt again here, for 15 seconds. A caller that can do
                so later gets the error.

        Raises:
            ClaimStoreError: A receipt was refused that may be written later, and not `patiently`.
        """
        if self._hold is not None:
            self._hold.settle(succeeded=succeeded, patiently=patiently)

    def __enter__(self) -> Self:
        """Enter the block; the claim is held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the claim, or release it if the block raised."""
        self.settle(succeeded=kind is None)


def unpack_carried(
    what: str, sealed: SealedMessage, ticket: CarriedTicket, decrypt: Decrypt | None
) -> str:
    """Return the body in a ticket that carries it.

    Args:
        what: The message, for errors.
        sealed: The message as it travelled.
        ticket: Its ticket.
        decrypt: Decrypts the data; None if it is not encrypted.

    Raises:
        TicketInvalid: The data is not base64, or the type inside is another.
        ClaimCorrupted: The data is not what was sealed.
    """
    try:
        data = b64decode(ticket.data, validate=True)
    except ValueError:
        raise TicketInvalid(f"{what}: the data in its ticket is not base64.") from None
    if sha256_of([data]) != ticket.sha256:
        raise ClaimCorrupted(
            f"{what}: the data in its ticket is not what was sealed (its SHA-256 differs)."
        )
    return unpack(what, sealed, [data], decrypt)


def unpack(
    what: str,
    sealed: SealedMessage,
    parts: Parts,
    decrypt: Decrypt | None,
) -> str:
    """Return the body in encoded bytes, and empty their list, so that memory is freed on the way.

    Args:
        what: The message, for errors.
        sealed: The message as it travelled.
        parts: The bytes.
        decrypt: Decrypts the bytes; None if they are not encrypted.

    Raises:
        ClaimCorrupted: The bytes are not a body of the ticket's size.
        TicketInvalid: The type inside is another.
    """
    try:
        if decrypt is not None:
            decrypt(parts)
        text = decode(sealed.ticket.encoding, parts, sealed.ticket.size)
    except ClaimCorrupted as error:
        raise ClaimCorrupted(f"{what}: {error}.") from None
    except UnicodeDecodeError:
        raise ClaimCorrupted(f"{what}: the sealed bytes are not text.") from None
    if sealed.type != type_in(text):
        raise TicketInvalid(
            f"{what}: another type was sealed than the message says it has. It was not handled."
        )
    return text
