"""The life of a claim, from the delivery of its message to its end.

    delivery    acquire the record, and read the contents beside it: the claim is gone for others
    success     complete the record, then remove the contents; the message is acknowledged after it
    failure     release the record: the claim is back
    crash       the lease runs out with the message's visibility; the next delivery acquires

What a delivery finds, and does:

    record                       contents      meaning           the delivery
    none, or its lease run out   there         to be processed   acquires, and runs the handler
    held by another              any           in progress       ClaimInProgress: comes back later
    done                         any           a duplicate       ClaimAlreadyProcessed; removes them
    handed over, lease run out   gone          a crash           ClaimLost
    none                         gone          nobody can tell   ClaimMissing, ClaimExpired
    any                          damaged       damaged           ClaimCorrupted, and releases

Nothing counts as handled because it was not found: only a receipt says so.

A shared claim is in a message that several queues have. Each queue has a record of its own, and
none removes the contents, which another may still need: they expire. So there is no `handed over`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, get_args

from claimcheck.core.compression import Parts
from claimcheck.core.holds import (
    CONTENTS_SECONDS,
    ClaimHold,
    HandedOverHold,
    Hold,
    expiry_from,
)
from claimcheck.core.store_choice import Stores
from claimcheck.core.ticket import StoredTicket, Ticket
from claimcheck.errors import (
    ClaimAlreadyProcessed,
    ClaimCheckError,
    ClaimCorrupted,
    ClaimExpired,
    ClaimInProgress,
    ClaimLost,
    ClaimMissing,
    ClaimStoreError,
    ConsumerUnknown,
    SettingsInvalid,
)
from claimcheck.stores.base import (
    ClaimFacts,
    ClaimStore,
    Contents,
    Lease,
    Reading,
    Record,
    record_key,
    url_of_label,
)
from letsgo_queue.log import get_logger
from letsgo_queue.tracing import step

logger = get_logger(__name__)

Purge: TypeAlias = Literal["after", "before", "never"]
"""When contents are removed: after the handler, before it, or by their expiry."""


def check_purge(purge: str) -> None:
    """Refuse a value that is not a `Purge`.

    Raises:
        SettingsInvalid: It is not one.
    """
    if purge not in get_args(Purge):
        raise SettingsInvalid(f"purge={purge!r}: give 'after', 'before' or 'never'.")


def acquire_record(store: ClaimStore, key: str, lease: Lease, *, what: str) -> Hold:
    """Acquire a record without contents, for a message that is handled once.

    Args:
        store: Has the record.
        key: Which record.
        lease: The lease to hold it with.
        what: The message, for errors.

    Raises:
        ClaimInProgress: Another delivery holds it.
        ClaimAlreadyProcessed: The message was handled.
        ClaimCorrupted: The record cannot be read.
        ClaimStoreError: The store refused, or did not answer.
    """
    hold = Hold(store, key, lease)
    with step("acquire"), _damage_named(what):
        blocking = _acquire(hold)
    if blocking:
        raise _why_not(blocking, what)
    check_lease(hold, what)
    return hold


def acquire_claim(
    stores: Stores,
    ticket: StoredTicket,
    lease: Lease,
    *,
    what: str,
    purge: Purge,
    consumer: str | None = None,
) -> tuple[ClaimHold, Parts]:
    """Acquire a claim: its record, and its contents, checked against the ticket.

    Args:
        stores: The reader's.
        ticket: The ticket in the message.
        lease: The lease to hold it with.
        what: The message and its claim, for errors.
        purge: When its contents are removed.
        consumer: Whose record it is, if the claim is shared.

    Returns:
        The hold, and the parts of the contents.

    Raises:
        ClaimCheckError: As in the table above; no record is held then.
        ConsumerUnknown: The claim is shared, and there is no `consumer`.
        ClaimStoreError: The store refused, or did not answer.
    """
    store = stores.with_label(ticket.store)
    key = record_of(ticket.id, ticket, consumer, what=what)
    keep = purge == "never" or bool(ticket.shared)
    hold = ClaimHold(store, key, lease, ticket, keep=keep)
    with step("acquire"):
        reading = hold.read()
        try:
            with _damage_named(what):
                return hold, _acquire_and_read(stores, hold, ticket, reading, what)
        finally:
            reading.cancel()


def _acquire_and_read(
    stores: Stores, hold: ClaimHold, ticket: StoredTicket, reading: Reading, what: str
) -> Parts:
    """Acquire a claim whose contents are being read, and return its parts."""
    contents = None
    if blocking := _acquire(hold):
        if blocking.state == "done":
            _remove_what_is_left(hold, reading)
        if blocking.state != "handed_over" or blocking.is_held:
            raise _why_not(blocking, what)
        contents = _take_over(hold, reading, what)
        hold.taken_over = True
    try:
        if contents is None:
            contents = _read(hold, reading)
        check_lease(hold, what)
        if contents is None:
            raise _missing(stores, ticket, what)
        parts = _whole_parts(hold.store, ticket, contents, what)
    except BaseException:
        hold.settle(succeeded=False)
        raise
    hold.note(contents)
    return parts


def find_claim(
    stores: Stores,
    ticket: StoredTicket,
    contents: Contents | None,
    record: Record | None,
    *,
    what: str,
) -> Parts:
    """Return the parts that a delivery would open now. It acquires and changes nothing.

    Args:
        stores: The reader's.
        ticket: The ticket in the message.
        contents: Its contents, as they were read.
        record: Its record, as it was looked up.
        what: The message, for errors.

    Raises:
        ClaimCheckError: As in the table above: a delivery would open nothing.
    """
    if record is not None and (record.state == "done" or record.is_held):
        raise _why_not(record, what)
    if record is not None and record.state == "handed_over" and not _is_whole(contents):
        raise _lost(what)
    if contents is None:
        raise _missing(stores, ticket, what)
    with _damage_named(what):
        return _whole_parts(stores.with_label(ticket.store), ticket, contents, what)


def check_lease(hold: Hold, what: str) -> None:
    """Extend a lease that ran out while its claim was opened: the store may be slow.

    Args:
        hold: The hold on the claim.
        what: The message, for errors.

    Raises:
        ClaimInProgress: Another delivery acquired the claim meanwhile, and its handler may run.
        ClaimStoreError: The store refused, or did not answer.
    """
    if not hold.catch_up():
        raise ClaimInProgress(_in_progress(what), retry_after=0.0)


def keep_here(
    claim: ClaimHold,
    message_type: str | None,
    ticket: StoredTicket,
    parts: Sequence[bytes | memoryview],
) -> HandedOverHold:
    """Hold a claim with its contents kept here, so that a failure can write them back.

    Contents that are written back expire later than those that were there. That tells a removal
    which arrives late to leave them alone.

    Args:
        claim: The hold on the claim.
        message_type: The message's type.
        ticket: The ticket in the message.
        parts: The contents.
    """
    facts = ClaimFacts(
        id=ticket.id,
        type=message_type,
        parts=ticket.parts,
        size=ticket.size,
        stored=ticket.stored,
        created_at=ticket.expires - CONTENTS_SECONDS,
        expires_at=max(claim.expires_at or 0, expiry_from(claim.store.now())),
    )
    return HandedOverHold(claim.store, claim.key, claim.lease, claim, facts, parts)


def hand_over(hold: HandedOverHold, *, what: str) -> None:
    """Remove contents before their handler runs.

    Args:
        hold: The hold on the claim, with its contents. It is over where this raises.
        what: The message and its claim, for errors.

    Raises:
        ClaimInProgress: Another delivery acquired the claim meanwhile.
        ClaimStoreError: The store did not confirm it. The handler must not run: the claim is back,
            or its lease brings it back.
    """
    undo: Hold = hold if hold.claim.taken_over else hold.claim
    try:
        ours = hold.store.hand_over(hold.key, hold.lease.id)
        if ours:
            undo = hold
            hold.remove_contents()
            # If our lease ran out meanwhile, another delivery may have read the contents first.
            ours = hold.extend(hold.lease.seconds)
    except BaseException:
        undo.settle(succeeded=False)
        raise
    if not ours:
        undo.settle(succeeded=False)  # that delivery may have failed before we removed them
        raise ClaimInProgress(_in_progress(what), retry_after=0.0)


def record_of(name: str, ticket: Ticket, consumer: str | None, *, what: str) -> str:
    """Return the key of the record that a delivery of a sealed message acquires.

    Args:
        name: The claim id; or the name that a ticket without a claim has in its place.
        ticket: The message's.
        consumer: The queue that it came from, if that is known.
        what: The message, for errors.

    Raises:
        ConsumerUnknown: The ticket is shared, and there is no `consumer`.
    """
    if not ticket.shared:
        return record_key(name)
    if not consumer:
        raise ConsumerUnknown(
            f"{what} went to several queues, and nothing says which of them it came from. Each "
            "has a record of its own. Tell which queue it is: the record's eventSourceARN, the "
            "worker's queue, or ClaimCheck.open(consumer=...)."
        )
    return record_key(name, consumer)


def sha256_of(parts: Sequence[bytes | memoryview]) -> str:
    """The hex digest of parts, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _acquire(hold: Hold, *, take_over: bool = False) -> Record | None:
    """Ask the store for a record; None if it is ours, else the record in the way."""
    try:
        return hold.store.acquire(hold.key, hold.lease, take_over=take_over)
    except ClaimStoreError as error:
        error.acquiring = True
        raise


@contextmanager
def _damage_named(what: str) -> Iterator[None]:
    """Name the message in the error of a store that finds damage."""
    try:
        yield
    except ClaimCorrupted as error:
        raise ClaimCorrupted(f"{what}: {error}. The claim is left for inspection.") from None


def _read(hold: ClaimHold, reading: Reading) -> Contents | None:
    """The contents of a claim whose record is ours."""
    contents = reading.result()
    if _is_whole(contents):
        return contents
    # That read began before the record was ours. Since then a delivery that failed may have written
    # the contents.
    return hold.read().result()


def _remove_what_is_left(hold: ClaimHold, reading: Reading) -> None:
    """Remove contents that a crash left there although there is a receipt."""
    try:
        if contents := reading.result():
            hold.note(contents)
            hold.remove_contents()
    except (ClaimStoreError, ClaimCorrupted) as error:
        logger.info("claim %s: what may be left of it expires: %s", hold.key, error)


def _take_over(hold: ClaimHold, reading: Reading, what: str) -> Contents:
    """Acquire a claim that a delivery handed over, and whose lease has run out.

    If the contents are whole, that delivery ended before it removed them, or wrote them back, or is
    about to remove them. So they are read again once the record is ours. If they are still whole,
    that delivery finds its lease gone, and does not begin its handler. If not, its handler may have
    begun, and no other may. The record stays `handed_over` all the while.

    Raises:
        ClaimInProgress: Another delivery was quicker.
        ClaimLost: The contents are gone.
        ClaimStoreError: The store refused, or did not answer.
    """
    if not _is_whole(reading.result()):
        raise _lost(what)
    if blocking := _acquire(hold, take_over=True):
        raise _why_not(blocking, what)
    # Consistent: contents that are already gone must not be read from an old copy.
    contents = hold.read(consistent=True).result()
    if contents is None or not _is_whole(contents):
        raise _lost(what)
    return contents


def _is_whole(contents: Contents | None) -> bool:
    return contents is not None and None not in contents.parts


def _why_not(record: Record, what: str) -> ClaimCheckError:
    """Return the error that says why a record cannot be acquired."""
    if record.state == "done":
        return ClaimAlreadyProcessed(
            f"{what} was handled before: its receipt says so, and this delivery is a duplicate."
        )
    return ClaimInProgress(_in_progress(what), retry_after=max(record.seconds_left, 0.0))


def _in_progress(what: str) -> str:
    return (
        f"{what} is being handled by another delivery. It is tried again when the lease there ends."
    )


def _lost(what: str) -> ClaimLost:
    return ClaimLost(
        f"{what}: its contents were removed before the handler of an earlier delivery ran "
        "(purge='before'), and that delivery never ended. Check how far the work came, and enqueue "
        "it again if it was not done."
    )


def _missing(stores: Stores, ticket: StoredTicket, what: str) -> ClaimMissing:
    store = stores.with_label(ticket.store)
    is_known = stores.has(ticket.store)
    senders = url_of_label(ticket.store)
    if is_known:
        where = f"the sender's store and this have one name, {senders}"
    elif len(stores.names) == 1:
        where = f"the sender's store is {senders}, and this is {stores.names[0]}"
    else:
        where = f"the sender's store is {senders}, and this reader has {' and '.join(stores.names)}"
    if store.now() >= ticket.expires:
        return ClaimExpired(
            f"{what}: nothing is left of its claim, which was kept until "
            f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(ticket.expires))} UTC ({where}). The "
            "message waited longer than that. If the work was not done, enqueue it again."
        )
    return ClaimMissing(
        f"{what}: the store has neither contents of its claim nor a receipt ({where}). Nobody can "
        "tell whether it was handled, so it is not acknowledged. "
        + (
            store.missing_advice
            if is_known
            else "Give this reader the sender's CLAIMCHECK_STORE, or add that to "
            "CLAIMCHECK_READ_STORES, then redrive the message."
        )
    )


def _whole_parts(store: ClaimStore, ticket: StoredTicket, contents: Contents, what: str) -> Parts:
    parts: Parts = [part for part in contents.parts if part is not None]
    if missing := contents.parts.count(None):
        if store.now() >= contents.expires_at:
            raise ClaimExpired(f"{what}: {missing} of {ticket.parts} parts have expired.")
        raise ClaimCorrupted(f"{missing} of {ticket.parts} parts are missing")
    if (contents.sha256 or sha256_of(parts)) != ticket.sha256:
        raise ClaimCorrupted(
            "the stored bytes are not those that were sealed (their SHA-256 differs)"
        )
    return parts
