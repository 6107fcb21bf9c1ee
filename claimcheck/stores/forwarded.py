"""Records that another store keeps: for a store that has its contents elsewhere."""

from __future__ import annotations

from claimcheck.stores.base import Lease, Record, RecordStore


class ForwardedRecords:
    """A `RecordStore` that hands everything on to another one."""

    def __init__(self, records: RecordStore) -> None:
        """Name the store that keeps the records."""
        self._records = records

    def now(self) -> float:
        """See `RecordStore.now`."""
        return self._records.now()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """See `RecordStore.acquire`."""
        return self._records.acquire(key, lease, take_over=take_over)

    def extend(self, key: str, lease: Lease) -> bool:
        """See `RecordStore.extend`."""
        return self._records.extend(key, lease)

    def hand_over(self, key: str, lease_id: str) -> bool:
        """See `RecordStore.hand_over`."""
        return self._records.hand_over(key, lease_id)

    def release(self, key: str, lease_id: str) -> bool:
        """See `RecordStore.release`."""
        return self._records.release(key, lease_id)

    def complete(self, key: str, lease_id: str) -> bool:
        """See `RecordStore.complete`."""
        return self._records.complete(key, lease_id)

    def look_up(self, key: str) -> Record | None:
        """See `RecordStore.look_up`."""
        return self._records.look_up(key)
