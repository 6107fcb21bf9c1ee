"""Claims in memory, for tests and for work within one process: gone when it ends.

Contents and records that have expired are removed when contents are written and when a record is
acquired.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from claimcheck.stores.base import (
    PART_BYTES,
    RECORD_SECONDS,
    ClaimFacts,
    Contents,
    LateReading,
    Lease,
    Record,
    State,
    check_part_count,
)
from letsgo_queue.forking import Lock


@dataclass(frozen=True, slots=True)
class _Kept:
    """A record."""

    state: State
    lease_id: str
    lease_until: float
    expires_at: float


class MemoryClaimStore:
    """A claim store in the memory of one process; one that is forked goes on with a copy."""

    url = "memory://"
    label = "memory:"
    part_bytes = PART_BYTES
    missing_advice = (
        "A store in memory belongs to one process, and ends with it. Where another process sends, "
        "give both a store that they share: sqlite:///path or dynamodb://TABLE."
    )

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        """Make an empty store.

        Args:
            clock: Seconds since 1970, instead of a clock that nobody sets.
        """
        self._clock = clock or _steady_clock()
        self._lock = Lock()
        self._contents: dict[str, Contents] = {}
        self._records: dict[str, _Kept] = {}

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write contents; see `ContentsStore.write`."""
        missing = [None] * (facts.parts - len(parts))
        contents = Contents([*map(bytes, parts), *missing], facts.expires_at)
        with self._lock:
            self._remove_expired()
            self._contents[facts.id] = contents

    def read(
        self, claim_id: str, parts: int, *, stored: int, consistent: bool = False
    ) -> LateReading:
        """Begin to read contents; see `ContentsStore.read`. Every read is consistent."""
        return LateReading(partial(self._read, claim_id, parts))

    def remove(self, claim_id: str, parts: int, *, later: bool = False) -> None:
        """Remove contents; see `ContentsStore.remove`."""
        with self._lock:
            self._contents.pop(claim_id, None)

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have contents expire later; see `ContentsStore.renew`."""
        with self._lock:
            if contents := self._contents.get(claim_id):
                self._contents[claim_id] = replace(contents, expires_at=expires_at)

    def now(self) -> float:
        """Seconds since 1970, by a clock that nobody sets while the store lives."""
        return self._clock()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        with self._lock:
            self._remove_expired()
            found, now = self._records.get(key), self._clock()
            state: State = "leased"
            if found is not None:
                state = found.state
                may_end = state == "leased" or (state == "handed_over" and take_over)
                if not may_end or (found.lease_until > now and found.lease_id != lease.id):
                    return self._record(found)
            self._keep(key, state, lease.id, now + lease.seconds)
            return None

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""
        with self._lock:
            if found := self._ours(key, lease.id):
                self._keep(key, found.state, lease.id, self._clock() + lease.seconds)
            return found is not None

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed; see `RecordStore.hand_over`."""
        with self._lock:
            if found := self._ours(key, lease_id):
                self._keep(key, "handed_over", lease_id, found.lease_until)
            return found is not None

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; see `RecordStore.release`."""
        with self._lock:
            if self._ours(key, lease_id):
                del self._records[key]
            return key not in self._records

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done; see `RecordStore.complete`."""
        with self._lock:
            found = self._records.get(key)
            if found is not None and found.lease_id != lease_id:
                return False
            self._keep(key, "done", lease_id, 0.0)
            return True

    def look_up(self, key: str) -> Record | None:
        """The record as it is; see `RecordStore.look_up`."""
        with self._lock:
            found = self._records.get(key)
            return None if found is None else self._record(found)

    def close(self) -> None:
        """Nothing to release."""

    def _read(self, claim_id: str, parts: int) -> Contents | None:
        with self._lock:
            contents = self._contents.get(claim_id)
        if contents is not None:
            check_part_count(len(contents.parts), named=parts)
        return contents

    def _ours(self, key: str, lease_id: str) -> _Kept | None:
        found = self._records.get(key)
        ours = found is not None and found.lease_id == lease_id and found.state != "done"
        return found if ours else None

    def _keep(self, key: str, state: State, lease_id: str, lease_until: float) -> None:
        expires_at = self._clock() + RECORD_SECONDS
        self._records[key] = _Kept(state, lease_id, lease_until, expires_at)

    def _record(self, kept: _Kept) -> Record:
        return Record.read(kept.state, kept.lease_until, now=self._clock())

    def _remove_expired(self) -> None:
        now = self._clock()
        self._contents = {k: each for k, each in self._contents.items() if each.expires_at > now}
        self._records = {k: each for k, each in self._records.items() if each.expires_at > now}


def _steady_clock() -> Callable[[], float]:
    """Seconds since 1970 as they are now, and from here on by the monotonic clock."""
    ahead = time.time() - time.monotonic()
    return lambda: time.monotonic() + ahead
