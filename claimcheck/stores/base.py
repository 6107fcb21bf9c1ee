"""The contract that every claim store keeps.

A claim is a head and its parts. The states of a claim are those of its head:

    written ──take──> leased ──purge───> gone
       ^                │ │
       └───put_back─────┘ └─ the lease runs out: as good as written
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from claimcheck.core.compression import Encoding

PART_BYTES = 390_000
"""Bytes of data in one part. DynamoDB takes 400 KB (409,600 bytes) in an item, names and key
included: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHead:
    """What a store knows of a claim beside its data.

    Attributes:
        id: The claim id, 128 random bits or more.
        parts: How many parts there are.
        stored: Bytes of all parts.
        size: Bytes of the body that was sealed.
        sha256: Hex digest of the parts, in order.
        encoding: How the parts are encoded.
        type: The message's type, if it has one.
        created_at: When it was sealed (seconds since 1970).
        expires_at: When it may be removed (seconds since 1970).
    """

    id: str
    parts: int
    stored: int
    size: int
    sha256: str
    encoding: Encoding
    type: str | None
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one delivery to a claim.

    Attributes:
        id: Random; purging and putting back need it.
        until: When it ends (seconds since 1970).
    """

    id: str
    until: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim with its data.

    Attributes:
        head: What it is.
        parts: The data; None for a part that is missing.
    """

    head: ClaimHead
    parts: Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Held:
    """A claim that another delivery has taken.

    Attributes:
        until: When its lease ends (seconds since 1970).
    """

    until: float


class ClaimStore(Protocol):
    """Keeps claims. Safe to use from several threads and processes.

    Every method raises `ClaimStoreError` when the store refuses, `ClaimStoreUnavailable` when it
    does not answer.
    """

    @property
    def url(self) -> str:
        """Names the store in errors and reports."""
        ...

    def write(self, head: ClaimHead, parts: Sequence[bytes | memoryview]) -> None:
        """Write a claim, or write it again, not taken.

        Where it fails, what was written is removed, or left to expire.
        """
        ...

    def take(self, claim_id: str, parts: int, lease: Lease, *, now: float) -> Claim | Held | None:
        """Take a claim for a delivery: mark it deleted, lease it, and read it.

        Args:
            claim_id: Which claim.
            parts: How many parts the ticket names; read beside the head.
            lease: What the delivery holds it with; taking it again with the same lease succeeds.
            now: Seconds since 1970; a lease that ended by then does not count.

        Returns:
            The claim; `Held` if another lease is running; None if it is gone.
        """
        ...

    def read(self, claim_id: str, parts: int, *, now: float) -> Claim | Held | None:
        """Read a claim and leave it as it is; otherwise as `take`."""
        ...

    def extend(self, claim_id: str, lease: Lease) -> bool:
        """Have the lease end at `lease.until`; False if it is no longer ours."""
        ...

    def renew(self, claim_id: str, parts: int, lease: Lease, *, expires_at: int) -> bool:
        """Have a claim we hold expire later; False if the lease is no longer ours."""
        ...

    def put_back(self, claim_id: str, lease: Lease) -> bool:
        """Undo `take`; False, with nothing changed, if the lease is no longer ours."""
        ...

    def purge(self, claim_id: str, parts: int, lease: Lease) -> bool:
        """Remove a claim we hold; False, with nothing changed, if the lease is no longer ours.

        The head goes first: from then on the message counts as handled, and parts that a crash
        leaves behind expire.
        """
        ...

    def discard(self, claim_id: str, parts: int) -> None:
        """Remove a claim that nobody was told of."""
        ...

    def look_up(self, claim_id: str, *, now: float) -> ClaimHead | None:
        """What a reader of the key finds: nothing if the claim is gone or taken."""
        ...

    def count_rows(self, claim_id: str, parts: int) -> int:
        """How many rows of a claim are there, head and parts, taken or not."""
        ...

    def close(self) -> None:
        """Release connections. The store may not be used afterwards."""
        ...
