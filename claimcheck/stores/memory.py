"""Claims in memory, for tests and for work within one process: gone when it ends.

Contents and records that have expired are removed when contents are written and when a record
changes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from claimcheck.stores.base import PART_BYTES, ClaimFacts, Contents, LateReading, check_part_count
from claimcheck.stores.memory_inventory import MemoryInventory
from claimcheck.stores.swapping import Found, SwappingRecords
from letsgo_queue.forking import Lock

_NOTHING = (None, 0.0)


class MemoryClaimStore(SwappingRecords):
    """A claim store in the memory of one process. A forked process goes on with a copy."""

    url = "memory://"
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
        self.label = f"memory:{secrets.token_hex(4)}"
        self._clock = clock or _steady_clock()
        self._lock = Lock()
        self._contents: dict[str, Contents] = {}
        self._facts: dict[str, ClaimFacts] = {}
        self._records: dict[str, tuple[Found, float]] = {}

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write contents; see `ContentsStore.write`."""
        missing = [None] * (facts.parts - len(parts))
        contents = Contents([*map(bytes, parts), *missing], facts.expires_at)
        with self._lock:
            self._remove_expired()
            self._contents[facts.id] = contents
            self._facts.pop(facts.id, None)  # so that it becomes the newest
            self._facts[facts.id] = facts

    def read(
        self, claim_id: str, parts: int, *, stored: int, consistent: bool = False
    ) -> LateReading:
        """Begin to read contents; see `ContentsStore.read`. Every read is consistent."""
        return LateReading(partial(self._read, claim_id, parts))

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove contents; see `ContentsStore.remove`."""
        with self._lock:
            contents = self._contents.get(claim_id)
            if contents and (expiring_by is None or contents.expires_at <= expiring_by):
                del self._contents[claim_id]
                self._facts.pop(claim_id, None)

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have contents expire later; see `ContentsStore.renew`."""
        with self._lock:
            if contents := self._contents.get(claim_id):
                self._contents[claim_id] = replace(contents, expires_at=expires_at)

    def now(self) -> float:
        """Seconds since 1970, by a clock that nobody sets while the store lives."""
        return self._clock()

    def get_record(self, key: str, *, failed: str) -> Found | None:
        """Read a record; see `SwappingRecords.get_record`."""
        with self._lock:
            found, _ = self._records.get(key, _NOTHING)
            return found

    def put_record(
        self, key: str, data: bytes, *, found: Found | None, expires_at: float, failed: str
    ) -> bool:
        """Write a record; see `SwappingRecords.put_record`."""
        with self._lock:
            self._remove_expired()
            there, _ = self._records.get(key, _NOTHING)
            if there is found:
                self._records[key] = Found(data, data), expires_at
            return there is found

    def delete_record(self, key: str, *, found: Found, failed: str) -> bool:
        """Remove a record; see `SwappingRecords.delete_record`."""
        with self._lock:
            there, _ = self._records.get(key, _NOTHING)
            if there is found:
                del self._records[key]
            return key not in self._records

    def inventory(self) -> MemoryInventory:
        """What is in the store; see `Inventory`."""
        return MemoryInventory(self._stored, self.get_record, self.remove)

    def close(self) -> None:
        """Nothing to release."""

    def _read(self, claim_id: str, parts: int) -> Contents | None:
        with self._lock:
            contents = self._contents.get(claim_id)
        if contents is not None:
            check_part_count(len(contents.parts), named=parts)
        return contents

    def _stored(self) -> tuple[Sequence[tuple[ClaimFacts, int]], Sequence[str]]:
        """The facts of all contents, with their expiry, and the keys of all records."""
        with self._lock:
            contents = self._contents
            facts = [(k, each) for k, each in self._facts.items() if k in contents]
            return [(each, contents[k].expires_at) for k, each in facts], [*self._records]

    def _remove_expired(self) -> None:
        now = self._clock()
        self._contents = {k: each for k, each in self._contents.items() if each.expires_at > now}
        self._facts = {k: each for k, each in self._facts.items() if k in self._contents}
        self._records = {k: each for k, each in self._records.items() if each[1] > now}


def _steady_clock() -> Callable[[], float]:
    """Seconds since 1970 as they are now, and from here on by the monotonic clock."""
    ahead = time.time() - time.monotonic()
    return lambda: time.monotonic() + ahead
