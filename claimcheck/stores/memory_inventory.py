"""Lists a store in memory, newest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from claimcheck.stores.base import ClaimFacts, record_key
from claimcheck.stores.inventory import PAGE_CLAIMS, Page, StoredClaim, StoredRecord
from claimcheck.stores.swapping import GetRecord, stored_record

Stored: TypeAlias = tuple[Sequence[tuple[ClaimFacts, int]], Sequence[str]]
"""The facts of contents, with their expiry, oldest first; and the keys of records."""


class MemoryInventory:
    """The claims of one process; see `Inventory`."""

    newest_first = True
    lists_records = True
    finds_consumers = True
    read_units = 0.0

    def __init__(
        self,
        stored: Callable[[], Stored],
        get_record: GetRecord,
        remove: Callable[[str, int], None],
    ) -> None:
        """Keep how to read the store.

        Args:
            stored: What is there now.
            get_record: Reads a record; see `SwappingRecords.get_record`.
            remove: Removes contents; see `ContentsStore.remove`.
        """
        self._stored = stored
        self._get_record = get_record
        self._remove = remove

    def pages(self) -> Iterator[Page]:
        """All contents, then all records; see `Inventory.pages`."""
        contents, keys = self._stored()
        newest, by_claim = contents[::-1], defaultdict[str, list[str]](list)
        for key in keys:
            by_claim[key.partition("@")[0]].append(key)
        for start in range(0, len(newest), PAGE_CLAIMS):
            page = newest[start : start + PAGE_CLAIMS]
            yield Page([self._claim(each, expiry, by_claim[each.id]) for each, expiry in page])
        for start in range(0, len(keys), PAGE_CLAIMS):
            found = map(self.record, keys[start : start + PAGE_CLAIMS])
            yield Page(records=[record for record in found if record])

    def claim(self, claim_id: str) -> StoredClaim | None:
        """Contents and their records; see `Inventory.claim`."""
        contents, keys = self._stored()
        for facts, expires_at in contents:
            if facts.id == claim_id:
                own = [key for key in keys if key.startswith(record_key(claim_id))]
                return self._claim(facts, expires_at, own)
        return None

    def record(self, key: str) -> StoredRecord | None:
        """A record; see `Inventory.record`."""
        return stored_record(self._get_record, key)

    def remove(self, claim: StoredClaim) -> None:
        """Remove contents; see `Inventory.remove`."""
        self._remove(claim.id, claim.parts or 0)

    def _claim(self, facts: ClaimFacts, expires_at: int, keys: Sequence[str]) -> StoredClaim:
        found = map(self.record, keys)
        return StoredClaim(
            id=facts.id,
            type=facts.type,
            parts=facts.parts,
            size=facts.size,
            stored=facts.stored,
            created_at=facts.created_at,
            expires_at=expires_at,
            kept_in="memory",
            records=[record for record in found if record],
        )
