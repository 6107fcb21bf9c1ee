"""The third contract of a store: an inventory, for commands and the console.

An inventory only reads. `ContentsStore.remove` removes contents, and `RecordStore.release` ends a
lease, with the lease that was read here. Both change nothing that another delivery has changed
meanwhile.

A value in a store may be damaged, or not be known without asking for each claim. Then it is None
here, so that a listing goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, TypeAlias, cast, get_args, runtime_checkable

from claimcheck.errors import ClaimStoreError
from claimcheck.stores.base import ClaimStore, State

KeptIn: TypeAlias = Literal["dynamodb", "s3", "sqlite", "memory"]
"""The service that keeps the contents of a claim, on which the cost of a month depends."""

PAGE_CLAIMS = 1_000
"""Claims on a page, where the store has no pages of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A record, as people look at it.

    Attributes:
        key: Its key, `<claim id>@<consumer>`.
        state: Its state; None if it is not known here.
        lease_until: When its lease ends (seconds since 1970); None if it has no lease.
        lease_id: The lease that wrote it last, with which the record can be released.
    """

    key: str
    state: State | None
    lease_until: float | None
    lease_id: str = field(repr=False)

    @classmethod
    def read(cls, key: str, *, state: object, lease_until: object, lease_id: object) -> Self:
        """Make a record of what a store has, whatever that is."""
        known = cast("State", state) if state in get_args(State) else None
        return cls(
            key=key,
            state=known,
            lease_until=None if known == "done" else number_or_none(lease_until),
            lease_id=lease_id if isinstance(lease_id, str) else "",
        )

    @property
    def claim_id(self) -> str:
        """Whose record it is."""
        return self.key.partition("@")[0]

    @property
    def consumer(self) -> str:
        """Which consumer's, where several have the claim; else empty."""
        return self.key.partition("@")[2]

    def is_held(self, now: float) -> bool:
        """Whether a delivery may hold it now; a damaged record counts as held."""
        if self.state == "done":
            return False
        return self.state is None or self.lease_until is None or self.lease_until > now


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClaim:
    """Contents in a store, with the records that are known with them.

    Attributes:
        id: The claim id.
        type: The message's type; None if it has none, or if that is not known here.
        parts: How many parts there are.
        size: Bytes of the body that was sealed.
        stored: Bytes of all parts.
        created_at: When it was sealed, in S3 when it was written (seconds since 1970).
        expires_at: When the contents may be removed (seconds since 1970), as the sender or a
            delivery set it. S3 removes them later, by a rule, and says this of one claim only.
        kept_in: The service that keeps the contents.
        records: Its records, as far as they are known; None if they were not looked for.
    """

    id: str
    type: str | None
    parts: int | None
    size: int | None
    stored: int | None
    created_at: int | None
    expires_at: int | None
    kept_in: KeptIn
    records: Sequence[StoredRecord] | None

    def is_held(self, now: float) -> bool:
        """Whether a delivery may hold it now, as far as its records are known."""
        return any(record.is_held(now) for record in self.records or ())

    def record(self, now: float) -> StoredRecord | None:
        """The most telling record: a held one, else a receipt, else any."""
        records = sorted(
            self.records or (), key=lambda each: (not each.is_held(now), each.state != "done")
        )
        return records[0] if records else None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what a store has.

    Attributes:
        claims: Contents, with their records where these cost little to look up.
        records: Records that the store came across: each of them is on one page, also those of the
            claims above.
    """

    claims: Sequence[StoredClaim] = ()
    records: Sequence[StoredRecord] = ()


class Inventory(Protocol):
    """What is in a store. Every method raises `ClaimStoreError` when the store refuses."""

    @property
    def newest_first(self) -> bool:
        """Whether pages begin with what was written last; else the order means nothing."""
        ...

    @property
    def lists_records(self) -> bool:
        """Whether pages have records; S3 would have to be asked for each."""
        ...

    @property
    def finds_consumers(self) -> bool:
        """Whether `claim` finds every record of a shared claim.

        A DynamoDB table finds a record by its whole key only, and that has the consumer's name.
        """
        ...

    @property
    def read_units(self) -> float:
        """About how many read units DynamoDB bills for all pages; 0 if it bills none."""
        ...

    def pages(self) -> Iterator[Page]:
        """Everything, page by page. What is written or removed meanwhile may be missed."""
        ...

    def claim(self, claim_id: str) -> StoredClaim | None:
        """Return contents and all that is known of them; None if they are gone. Reads consistently.

        For a shared claim the records of its consumers are left out, unless `finds_consumers`.
        """
        ...

    def record(self, key: str) -> StoredRecord | None:
        """A record; None if there is none."""
        ...

    def remove(self, claim: StoredClaim) -> None:
        """Remove contents where they are. It is no error if they are gone already."""
        ...


@runtime_checkable
class HasInventory(Protocol):
    """A store that has an inventory."""

    def inventory(self) -> Inventory:
        """What is in the store."""
        ...


def inventory_of(store: ClaimStore) -> Inventory:
    """What is in a store.

    Raises:
        ClaimStoreError: The store has no inventory.
    """
    if not isinstance(store, HasInventory):
        raise ClaimStoreError(
            f"claim store {store.url} cannot list its claims: it has no method `inventory`. Its "
            "package says how to look into it."
        )
    return store.inventory()


def number_or_none(value: object) -> float | None:
    """A number that a store has, if it is one."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def whole_or_none(value: object) -> int | None:
    """A number without what is after its point, if it is one."""
    number = number_or_none(value)
    return None if number is None else int(number)


def text_or_none(value: object) -> str | None:
    """A text that a store has, if it is one."""
    return value if isinstance(value, str) else None
