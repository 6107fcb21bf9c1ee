"""Lists a bucket, by claim id.

A list has size and time of an object. Its type, the size of the body and its record take a request
for each claim, so only `claim` asks for them. Where the records are in a table, those of a page are
looked up there in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from claimcheck.stores.base import record_key
from claimcheck.stores.inventory import Page, StoredClaim, StoredRecord
from claimcheck.stores.swapping import GetRecord, stored_record

if TYPE_CHECKING:
    from claimcheck.stores.dynamodb_inventory import DynamoDBInventory
    from claimcheck.stores.s3_contents import S3Contents


class S3Inventory:
    """The claims of a store that is a bucket; see `Inventory`."""

    newest_first = False
    lists_records = False
    finds_consumers = True
    read_units = 0.0

    def __init__(
        self,
        contents: S3Contents,
        record_keys: Callable[[str], Iterable[str]],
        get_record: GetRecord,
    ) -> None:
        """Keep how to read the bucket.

        Args:
            contents: The contents.
            record_keys: The keys of all records of a claim.
            get_record: Reads a record; see `SwappingRecords.get_record`.
        """
        self._contents = contents
        self._record_keys = record_keys
        self._get_record = get_record

    def pages(self) -> Iterator[Page]:
        """All contents; see `Inventory.pages`."""
        yield from map(Page, self._contents.pages())

    def claim(self, claim_id: str) -> StoredClaim | None:
        """Contents and their records; see `Inventory.claim`."""
        found = self._contents.look(claim_id)
        if found is None:
            return None
        records = map(self.record, self._record_keys(claim_id))
        return replace(found, records=[record for record in records if record])

    def record(self, key: str) -> StoredRecord | None:
        """A record; see `Inventory.record`."""
        return stored_record(self._get_record, key)

    def remove(self, claim: StoredClaim) -> None:
        """Remove the object; see `Inventory.remove`."""
        self._contents.remove(claim.id, 1)


class BucketInventory:
    """The claims of a store that is a bucket and a table; see `Inventory`."""

    newest_first = False
    lists_records = True
    finds_consumers = False

    def __init__(self, contents: S3Contents, table: DynamoDBInventory) -> None:
        """Keep how to read both.

        Args:
            contents: The contents in the bucket.
            table: The records, and contents that were sent without a bucket.
        """
        self._contents = contents
        self._table = table

    @property
    def read_units(self) -> float:
        """The read units of the table; see `Inventory.read_units`."""
        return self._table.read_units

    def pages(self) -> Iterator[Page]:
        """The claims in the bucket, then those in the table; see `Inventory.pages`."""
        for claims in self._contents.pages():
            records = self._table.records([claim.id for claim in claims])
            yield Page([_with(claim, records.get(claim.id)) for claim in claims])
        yield from self._table.pages()

    def claim(self, claim_id: str) -> StoredClaim | None:
        """Contents and their record; see `Inventory.claim`."""
        found = self._contents.look(claim_id)
        if found is None:
            return self._table.claim(claim_id)
        return _with(found, self._table.record(record_key(claim_id)))

    def record(self, key: str) -> StoredRecord | None:
        """A record; see `Inventory.record`."""
        return self._table.record(key)

    def remove(self, claim: StoredClaim) -> None:
        """Remove contents where they are; see `Inventory.remove`."""
        if claim.kept_in == "s3":
            self._contents.remove(claim.id, 1)
        else:
            self._table.remove(claim)


def _with(claim: StoredClaim, record: StoredRecord | None) -> StoredClaim:
    return replace(claim, records=() if record is None else (record,))
