"""Records for a store that replaces a value only if nobody has changed it since it was read.

Many services can do that: S3 with `If-Match`, Redis after `WATCH`, a database with a version
column. Such a store needs three methods, and `SwappingRecords` makes a `RecordStore` of them. A
change reads the record, decides, and writes. If another delivery was quicker, it begins anew. Every
record names the lease that wrote it. So after a lost answer, reading the record again tells whether
the write arrived.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, Self, cast

from claimcheck.errors import ClaimCorrupted, ClaimStoreUnavailable
from claimcheck.stores.base import RECORD_SECONDS, Lease, Record, State
from claimcheck.stores.inventory import StoredRecord

LARGEST_RECORD = 4_096
"""Every record has fewer bytes: no store reads more."""

_TRIES = 20
"""How often a change begins anew. Each time another delivery changed the record."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record as a store has it.

    Attributes:
        data: Its bytes.
        version: Tells whether it is as it was read: an ETag, a number, or the bytes themselves.
    """

    data: bytes = field(repr=False)
    version: object


class SwappingRecords(ABC):
    """A `RecordStore` that a subclass makes of three methods, and of its clock.

    Attributes:
        url: Names the store in errors, as the settings do.
    """

    url: str

    @property
    def records_at(self) -> object:
        """See `ClaimStore.records_at`: no other store is known to have the same records."""
        return self

    @abstractmethod
    def now(self) -> float:
        """See `RecordStore.now`."""

    @abstractmethod
    def get_record(self, key: str, *, failed: str) -> Found | None:
        """Read a record, with every change that was answered before.

        Args:
            key: Which record: printable ASCII; part of it may have come with a message.
            failed: Says what did not happen if this fails, for the text of the error.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """

    @abstractmethod
    def put_record(
        self, key: str, data: bytes, *, found: Found | None, expires_at: float, failed: str
    ) -> bool:
        """Write a record, if it is as it was found.

        Args:
            key: Which record.
            data: Its bytes.
            found: The record that must be there; None if no record may be there.
            expires_at: When the store may remove it (seconds since 1970).
            failed: As for `get_record`.

        Returns:
            Whether it was written. False, with nothing changed, if something else is there.
        """

    @abstractmethod
    def delete_record(self, key: str, *, found: Found, failed: str) -> bool:
        """Remove a record, if it is as it was found, or gone.

        Returns:
            Whether it is gone now.
        """

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        failed = f"record {key} was not acquired"
        # Most claims have no record yet: one request.
        if self._put(key, self._leased(lease), None, failed):
            return None
        blocking: Record | None = None

        def change(kept: _Kept | None) -> _Kept | None:
            nonlocal blocking
            blocking = None
            if kept is None:
                return self._leased(lease)
            record = kept.record(self.now())
            may_end = record.state == "leased" or (record.state == "handed_over" and take_over)
            if may_end and (record.seconds_left <= 0 or kept.lease_id == lease.id):
                return self._leased(lease, kept)
            blocking = record
            return None

        self._change(key, change, failed)
        return blocking

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""

        def change(kept: _Kept | None) -> _Kept | None:
            if kept is None or not self._is_held_with(kept, lease.id):
                return None
            return self._leased(lease, kept)

        return self._change(key, change, f"record {key} was not extended")

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed; see `RecordStore.hand_over`."""

        def change(kept: _Kept | None) -> _Kept | None:
            if kept is None or not self._is_held_with(kept, lease_id):
                return None
            return replace(kept, state="handed_over", expires_at=self._expiry())

        return self._change(key, change, f"record {key} was not handed over")

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; see `RecordStore.release`."""
        failed = f"record {key} was not released"
        for _ in range(_TRIES):
            found = self.get_record(key, failed=failed)
            if found is None:
                return True
            if not self._is_held_with(_Kept.read(found.data), lease_id):
                return False
            if self.delete_record(key, found=found, failed=failed):
                return True
        raise self._contended(failed)

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done; see `RecordStore.complete`."""

        def change(kept: _Kept | None) -> _Kept | None:
            if kept is not None:
                kept.record(self.now())  # raises where it is damaged
                if kept.lease_id != lease_id:
                    return None
            return _Kept(state="done", lease_id=lease_id, lease_until=0, expires_at=self._expiry())

        return self._change(key, change, f"record {key} was not completed")

    def look_up(self, key: str) -> Record | None:
        """The record as it is; see `RecordStore.look_up`."""
        found = self.get_record(key, failed=f"record {key} was not looked up")
        return None if found is None else _Kept.read(found.data).record(self.now())

    def _change(
        self, key: str, change: Callable[[_Kept | None], _Kept | None], failed: str
    ) -> bool:
        """Read a record, and write what `change` returns; False if that is None."""
        for _ in range(_TRIES):
            found = self.get_record(key, failed=failed)
            wanted = change(None if found is None else _Kept.read(found.data))
            if wanted is None:
                return False
            if self._put(key, wanted, found, failed):
                return True
        raise self._contended(failed)

    def _put(self, key: str, kept: _Kept, found: Found | None, failed: str) -> bool:
        return self.put_record(
            key, kept.write(), found=found, expires_at=kept.expires_at, failed=failed
        )

    def _is_held_with(self, kept: _Kept, lease_id: str) -> bool:
        """Whether a lease holds it, though it may have run out."""
        return kept.record(self.now()).state != "done" and kept.lease_id == lease_id

    def _leased(self, lease: Lease, kept: _Kept | None = None) -> _Kept:
        ours = kept is not None and kept.lease_id == lease.id
        return _Kept(
            state=kept.state if kept else "leased",
            lease_id=lease.id,
            lease_until=max(self.now() + lease.seconds, kept.lease_until if kept and ours else 0),
            expires_at=self._expiry(),
        )

    def _expiry(self) -> float:
        return self.now() + RECORD_SECONDS

    def _contended(self, failed: str) -> ClaimStoreUnavailable:
        return ClaimStoreUnavailable(
            f"claim store {self.url}: {failed}: other deliveries changed it {_TRIES} times."
        )


class GetRecord(Protocol):
    """Reads a record of a store; see `SwappingRecords.get_record`."""

    def __call__(self, key: str, *, failed: str) -> Found | None:
        """Read it; None if there is none."""
        ...


def stored_record(get_record: GetRecord, key: str) -> StoredRecord | None:
    """A record for people to look at, also one whose bytes are damaged; None if there is none."""
    found = get_record(key, failed=f"record {key} was not looked up")
    if found is None:
        return None
    try:
        kept = _Kept.read(found.data)
    except ClaimCorrupted:
        return StoredRecord.read(key, state=None, lease_until=None, lease_id=None)
    return StoredRecord.read(
        key, state=kept.state, lease_until=kept.lease_until, lease_id=kept.lease_id
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The fields of a record, as its bytes have them.

    Attributes:
        state: Its state.
        lease_id: The lease that wrote it.
        lease_until: When the lease ends (seconds since 1970); 0 for a receipt.
        expires_at: When it is no longer needed (seconds since 1970).
    """

    state: State
    lease_id: str
    lease_until: float
    expires_at: float

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Parse the bytes of a record.

        Raises:
            ClaimCorrupted: They are no record.
        """
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):  # also what is not UTF-8
            fields = None
        if not isinstance(fields, dict) or not isinstance(fields.get("lease_id"), str):
            raise ClaimCorrupted("its record is not one of ours")
        return cls(
            state=cast("State", fields.get("state")),  # `record` checks it
            lease_id=fields["lease_id"],
            lease_until=fields.get("lease_until", 0),
            expires_at=fields.get("expires_at", 0),
        )

    def record(self, now: float) -> Record:
        """The record as it counts at this moment.

        Raises:
            ClaimCorrupted: Its state is not known, or no lease ends then.
        """
        return Record.read(self.state, self.lease_until, now=now)

    def write(self) -> bytes:
        """Its bytes."""
        return json.dumps(asdict(self)).encode()
