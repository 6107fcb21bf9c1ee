"""Lists a DynamoDB table, in no order, with one Scan.

The parts of a claim are spread over the table, and so is its record. So claims are made of their
parts 0, which have the facts, and the records of a page are looked up in batches. A Scan returns no
data here, but DynamoDB reads and bills it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from claimcheck.stores.base import record_key
from claimcheck.stores.dynamodb_values import number_in, text_in
from claimcheck.stores.inventory import (
    Page,
    StoredClaim,
    StoredRecord,
    text_or_none,
    whole_or_none,
)

if TYPE_CHECKING:
    from claimcheck.stores.dynamodb_items import DynamoDBItems
    from claimcheck.stores.dynamodb_values import Item

_OF_RECORD = ("state", "lease_until", "lease_id")
_READ_UNIT_BYTES = 4096
_FIRST = "/0"


class DynamoDBInventory:
    """The claims in a table; see `Inventory`."""

    newest_first = False
    lists_records = True
    finds_consumers = False

    def __init__(
        self,
        items: Callable[[], DynamoDBItems],
        remove: Callable[[str, int], None],
        *,
        expires_at: str,
    ) -> None:
        """Keep how to read the table.

        Args:
            items: Its items.
            remove: Removes contents; see `ContentsStore.remove`.
            expires_at: The attribute that has the expiry of an item.
        """
        self._items = items
        self._remove = remove
        self._expires_at = expires_at
        self._of_claim = ("type", "parts", "size", "stored", "created_at", expires_at)

    @property
    def read_units(self) -> float:
        """Half a unit for each 4 KB of the table; see `Inventory.read_units`."""
        size = self._items().size(failed="its size was not asked")
        return size / _READ_UNIT_BYTES / 2

    def pages(self) -> Iterator[Page]:
        """Everything, as it comes; see `Inventory.pages`."""
        failed = "its claims were not listed"
        names = (*self._of_claim, *_OF_RECORD)
        for items in self._items().scan(names, having=("parts", "lease_id"), failed=failed):
            records = [self._record(item) for item in items if "lease_id" in item]
            firsts = [
                item for item in items if "parts" in item and self._name(item).endswith(_FIRST)
            ]
            found = self.records([self._name(each).removesuffix(_FIRST) for each in firsts])
            yield Page([self._claim(each, found) for each in firsts], records)

    def claim(self, claim_id: str) -> StoredClaim | None:
        """Contents and their record; see `Inventory.claim`."""
        failed = f"claim {claim_id} was not looked up"
        first = self._items().look(f"{claim_id}{_FIRST}", self._of_claim, failed=failed)
        if first is None:
            return None
        record = self.record(record_key(claim_id))
        return self._claim(first, {} if record is None else {claim_id: record})

    def record(self, key: str) -> StoredRecord | None:
        """A record; see `Inventory.record`."""
        item = self._items().look(key, _OF_RECORD, failed=f"record {key} was not looked up")
        return None if item is None else self._record(item)

    def records(self, claim_ids: list[str]) -> dict[str, StoredRecord]:
        """The records of claims that are not shared, by the claim's id."""
        keys = [record_key(claim_id) for claim_id in claim_ids]
        failed = "the records of its claims were not looked up"
        items = self._items().look_at_many(keys, _OF_RECORD, failed=failed)
        return {record.claim_id: record for record in map(self._record, items)}

    def remove(self, claim: StoredClaim) -> None:
        """Remove all parts; see `Inventory.remove`."""
        self._remove(claim.id, claim.parts or 1)

    def _name(self, item: Item) -> str:
        return self._items().name_of(item)

    def _claim(self, item: Item, records: dict[str, StoredRecord]) -> StoredClaim:
        claim_id = self._name(item).removesuffix(_FIRST)
        record = records.get(claim_id)
        return StoredClaim(
            id=claim_id,
            type=text_or_none(text_in(item, "type")),
            parts=_whole(item, "parts"),
            size=_whole(item, "size"),
            stored=_whole(item, "stored"),
            created_at=_whole(item, "created_at"),
            expires_at=_whole(item, self._expires_at),
            kept_in="dynamodb",
            records=() if record is None else (record,),
        )

    def _record(self, item: Item) -> StoredRecord:
        return StoredRecord.read(
            self._name(item),
            state=text_in(item, "state"),
            lease_until=number_in(item, "lease_until"),
            lease_id=text_in(item, "lease_id"),
        )


def _whole(item: Item, name: str) -> int | None:
    return whole_or_none(number_in(item, name))
