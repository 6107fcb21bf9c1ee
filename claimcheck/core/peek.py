"""Opens a body to look at it: acquires nothing, and leaves the claim as it is."""

from __future__ import annotations

from collections.abc import Callable

from claimcheck.core.life import find_claim
from claimcheck.core.opened import unpack, unpack_carried
from claimcheck.core.store_choice import Stores
from claimcheck.core.ticket import CarriedTicket, StoredTicket
from claimcheck.core.trust import Trust, named


def peek(
    body: str,
    *,
    stores: Callable[[], Stores],
    trust: Trust,
    max_size: int,
    message_id: str | None = None,
) -> str | None:
    """Return the body that is sealed in another; None if that one is not sealed.

    Args:
        body: The body as it travelled.
        stores: Opens the stores; called only if the body has a claim in it.
        trust: Which tickets are opened.
        max_size: Bytes that a ticket may claim.
        message_id: The message's id, for errors.

    Raises:
        TicketInvalid: Its ticket is malformed, or not to be trusted.
        EncryptionError: It cannot be decrypted here.
        ClaimMissing: The store has no contents of the claim.
        ClaimCorrupted: The bytes are not those that were sealed.
        ClaimStoreError: The store refused, or did not answer.
    """
    sealed = trust.read(body, max_size=max_size, message_id=message_id)
    if sealed is None:
        return None
    what = f"{named(message_id)} of type {sealed.type!r}"
    decrypt = trust.decryption(what, sealed)
    if isinstance(sealed.ticket, CarriedTicket):
        return unpack_carried(what, sealed, sealed.ticket, decrypt)
    ticket: StoredTicket = sealed.ticket
    here = stores()
    store = here.with_label(ticket.store)
    contents = store.read(ticket.id, ticket.parts, stored=ticket.stored).result()
    return unpack(what, sealed, find_claim(here, ticket, contents, None, what=what), decrypt)
