"""Administers the claims in a store: counts them, finds claims that may go, deletes them.

A claim may go for one of three reasons: somebody names it, it has expired, or it is orphaned. It is
orphaned when its message cannot be anywhere any more, which its age shows without a look at any
queue: a message waits on its queue, then on the dead-letter queue, and after a redrive on the queue
again. These times begin when the message is due, or at its last failure. A failure renews the
contents, but not if they are under 12 hours old: so 12 hours are added. A claim that a delivery
holds never goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from claimcheck.core.cost import WRITE_UNIT_BYTES, Units, part_items
from claimcheck.core.holds import CONTENTS_SECONDS, RENEW_AFTER_SECONDS
from claimcheck.core.prices import REGIONS, Prices
from claimcheck.errors import ClaimCheckError
from claimcheck.stores.base import ClaimStore, record_key
from claimcheck.stores.inventory import Inventory, Page, StoredClaim, StoredRecord
from claimcheck.stores.s3_contents import CONTENTS_DAYS
from letsgo_queue.admin.base import Retention

_DAY_SECONDS = 24 * 3600
_LONGEST = Retention(14 * _DAY_SECONDS, 14 * _DAY_SECONDS)
"""The longest retention periods that SQS allows:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""


def longest_stay(queues: Collection[Retention] = ()) -> int:
    """Seconds from when contents were due, or renewed, until no queue can have their message.

    Args:
        queues: All queues whose messages name claims of a store; none for the longest that SQS has.
    """
    return RENEW_AFTER_SECONDS + max(2 * each.queue + each.dead for each in queues or [_LONGEST])


def look_up(
    inventory: Inventory, claim_id: str
) -> tuple[StoredClaim | None, Sequence[StoredRecord]]:
    """Look up a claim's contents, and its records, which may outlive the contents.

    Args:
        inventory: The store's.
        claim_id: The claim's id, or `CLAIM@CONSUMER` for the record of that consumer only.
    """
    claim = inventory.claim(claim_id.partition("@")[0])
    if claim is not None and "@" not in claim_id:
        return claim, claim.records or ()
    record = inventory.record(key_of(claim_id))
    return claim, [] if record is None else [record]


def key_of(claim_id: str) -> str:
    """Return the key of a record by its name: `CLAIM`, or `CLAIM@CONSUMER` if it is shared."""
    return claim_id if "@" in claim_id else record_key(claim_id)


def moment_of(seconds: float | None) -> datetime | None:
    """Turn a store's time (seconds since 1970) into a datetime; None if no calendar has it."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def ends_at(claim: StoredClaim) -> int | None:
    """Return when contents expire (seconds since 1970); in a bucket its lifecycle rule decides."""
    if claim.kept_in == "s3" and claim.created_at is not None:
        return claim.created_at + CONTENTS_DAYS * _DAY_SECONDS
    return claim.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Chooses the claims that may go.

    Attributes:
        expired: Whether to choose claims that have expired and are still there.
        stay: Choose orphaned claims: messages can exist for so many seconds; see `longest_stay`.
            None chooses no claim by its age.
        ids: Choose only these claims, whatever their age; None chooses no claim by its id.
        consumers: The consumers that share these claims, each with its own record. A store that
            does not find such records by itself (`Inventory.finds_consumers`) is asked for each.
    """

    expired: bool = False
    stay: float | None = None
    ids: Collection[str] | None = None
    consumers: Collection[str] = ()

    def look(self, inventory: Inventory, claim_id: str) -> StoredClaim | None:
        """Look up a claim with its records, also the consumers' records; None if it is gone."""
        claim = inventory.claim(claim_id)
        if claim is None or inventory.finds_consumers or not self.consumers:
            return claim
        asked = (inventory.record(record_key(claim_id, each)) for each in self.consumers)
        records = [*(claim.records or ()), *(each for each in asked if each is not None)]
        return replace(claim, records=records)

    def means(self, claim: StoredClaim, now: float) -> bool:
        """Whether a claim is chosen, and may go now (seconds since 1970)."""
        if claim.is_held(now):
            return False
        if self.ids is not None:
            return claim.id in self.ids
        if self.expired:
            end = ends_at(claim)
            return end is not None and end <= now
        if self.stay is None or claim.expires_at is None:
            return False
        due = claim.expires_at - CONTENTS_SECONDS
        return max(due, claim.created_at or due) + self.stay <= now

    def find(self, store: ClaimStore, inventory: Inventory) -> Iterator[StoredClaim]:
        """Yield the claims that may go, one by one, each with its records."""
        if self.ids is not None:
            named = (self.look(inventory, each) for each in dict.fromkeys(self.ids))
            yield from (claim for claim in named if claim and self.means(claim, store.now()))
            return
        for page in inventory.pages():
            for listed in page.claims:
                claim: StoredClaim | None = listed
                if not self.may_mean(listed, store.now()):
                    continue
                if _is_listed_in_part(listed):
                    claim = inventory.claim(listed.id)
                if claim and self.means(claim, store.now()):
                    yield claim

    def may_mean(self, listed: StoredClaim, now: float) -> bool:
        """Whether a listed claim may go now. A bucket's list tells too little to be sure."""
        if self.ids is not None or self.expired or not _is_listed_in_part(listed):
            return self.means(listed, now)
        return listed.created_at is None or listed.created_at + (self.stay or 0) <= now


def _is_listed_in_part(listed: StoredClaim) -> bool:
    """Whether the store tells more of the claim if it is asked for it alone."""
    return listed.records is None or listed.expires_at is None


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The result of deleting a claim.

    Attributes:
        id: The claim id.
        error: Why it is still there; None if it is gone.
    """

    id: str
    error: str | None


def delete_claims(
    store: ClaimStore, inventory: Inventory, ids: Sequence[str], choice: Choice
) -> Iterator[ClaimResult]:
    """Delete the contents of claims, one by one; records stay until they expire.

    Each claim is looked up again just before: it stays if a delivery has acquired or renewed it
    meanwhile. A delivery that begins at that very moment may find the contents gone, and raises
    `ClaimMissing`.

    Args:
        store: The store that has them.
        inventory: Its inventory.
        ids: The claims to delete.
        choice: Must still choose each claim.
    """
    for claim_id in ids:
        try:
            claim = choice.look(inventory, claim_id)
            if claim is None:
                yield ClaimResult(claim_id, "its contents are gone already")
            elif not choice.means(claim, store.now()):
                yield ClaimResult(claim_id, _why_kept(claim, choice, store.now()))
            else:
                inventory.remove(claim)
                yield ClaimResult(claim_id, None)
        except ClaimCheckError as error:  # go on with the other claims
            yield ClaimResult(claim_id, str(error))


def _why_kept(claim: StoredClaim, choice: Choice, now: float) -> str:
    if claim.is_held(now):
        return "a delivery holds it"
    return "it was renewed" if choice.expired else "its message may still be there"


def end_lease(store: ClaimStore, inventory: Inventory, seen: StoredRecord) -> bool:
    """End the lease of a delivery, so that the next delivery can acquire the claim at once.

    The old delivery notices it when it extends its lease, or completes. It may have done its work
    by then, and the next delivery does the work again.

    Args:
        store: The store of the record.
        inventory: Its inventory.
        seen: The record as the user saw it.

    Returns:
        False, with nothing changed, if the record has changed since.
    """
    return inventory.record(seen.key) == seen and store.release(seen.key, seen.lease_id)


def why_not_released(seen: StoredRecord | None, now: float) -> str | None:
    """Say why a record has no lease that anybody may end; None if it has one."""
    if seen is None:
        return "it has no record, so no delivery holds it"
    if seen.state == "done":
        return "it has a receipt: the work is done"
    if seen.state == "handed_over":
        return (
            "its contents were handed over, and are with the delivery only (purge='before'). When "
            "the lease ends, the next delivery says what is lost"
        )
    if seen.state is None:
        return "its record is damaged"
    if not seen.is_held(now):
        return "its lease has run out: the next delivery takes it"
    return None


def state_of(claim: StoredClaim, now: float) -> str:
    """Return the state of a claim, in words."""
    if claim.records is None:
        return "not known"
    record = claim.record(now)
    if record is None:
        return "waiting"
    return state_of_record(record, now)


def state_of_record(record: StoredRecord, now: float) -> str:
    """Return the state of a record, in words."""
    if record.state is None:
        return "damaged"
    if record.state != "done" and not record.is_held(now):
        return "lease ran out"
    return record.state.replace("_", " ")


@dataclass(slots=True)
class Totals:
    """Counts and bytes of the claims in a store.

    Attributes:
        prices: The prices of its region; None if it is not on AWS, or the prices are not known.
        claims: How many claims have contents.
        stored: Bytes of the contents.
        held: Claims that a delivery holds.
        receipts: Receipts, also of claims whose contents are gone.
        dollars_a_month: What the contents cost in a month, in US dollars; None if nobody knows.
    """

    prices: Prices | None
    claims: int = 0
    stored: int = 0
    held: int = 0
    receipts: int = 0
    dollars_a_month: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Begin at zero."""
        self.dollars_a_month = None if self.prices is None else 0.0

    def add(self, claim: StoredClaim, now: float) -> None:
        """Count a claim."""
        self.claims += 1
        self.held += claim.is_held(now)
        stored = claim.stored or 0
        self.stored += stored
        if self.prices is not None and self.dollars_a_month is not None and stored > 0:
            if claim.kept_in == "s3":
                self.dollars_a_month += self.prices.month_of_storage(s3_bytes=stored)
            else:
                in_items = sum(part_items(stored))
                self.dollars_a_month += self.prices.month_of_storage(dynamodb_bytes=in_items)

    def add_records(self, page: Page) -> None:
        """Count the receipts on a page."""
        self.receipts += sum(record.state == "done" for record in page.records)


def prices_of(store: ClaimStore) -> Prices | None:
    """Return the prices of a store's region; None if it is not on AWS, or they are not known."""
    kind, _, place = store.label.partition(":")
    region = place.partition(":")[0]
    return Prices.of(region) if kind in {"dynamodb", "letsgo", "s3"} and region in REGIONS else None


def reading_dollars(inventory: Inventory, prices: Prices | None) -> float | None:
    """Return how many dollars it costs to list a store; None if nobody knows."""
    return None if prices is None else prices.dollars(Units(read_units=inventory.read_units))


def write_units(claim: StoredClaim) -> int:
    """Return the write units to delete a claim's contents: as many as to write them."""
    if claim.kept_in != "dynamodb" or not claim.stored:
        return 0
    return sum(-(-item // WRITE_UNIT_BYTES) for item in part_items(claim.stored))
