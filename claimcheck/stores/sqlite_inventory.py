"""Lists a SQLite store, newest first: pages by the row id, which grows with every write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

from claimcheck.stores.base import record_key
from claimcheck.stores.inventory import (
    PAGE_CLAIMS,
    Page,
    StoredClaim,
    StoredRecord,
    text_or_none,
    whole_or_none,
)

Transaction: TypeAlias = Callable[[str, str], AbstractContextManager[sqlite3.Connection]]

_CLAIM = "SELECT rowid, * FROM claim_contents"
_RECORD = "SELECT rowid, * FROM claim_records"
_LAST = 2**63 - 1


class SqliteInventory:
    """The claims in a SQLite file; see `Inventory`. No page holds up a writer, or makes a file."""

    newest_first = True
    lists_records = True
    finds_consumers = True
    read_units = 0.0

    def __init__(
        self,
        transaction: Transaction,
        remove: Callable[[str, int], None],
        *,
        is_there: Callable[[], bool],
    ) -> None:
        """Keep how to read the file.

        Args:
            transaction: Begins one, and makes the file if there is none; it is given what an
                error prevents, and the statement.
            remove: Removes contents; see `ContentsStore.remove`.
            is_there: Whether there is a file: one that is not there has nothing.
        """
        self._transaction = transaction
        self._remove = remove
        self._is_there = is_there

    def pages(self) -> Iterator[Page]:
        """All contents, then all records; see `Inventory.pages`."""
        if not self._is_there():
            return
        last = _LAST
        while True:
            with self._reading("its claims were not listed") as connection:
                rows = _page(connection, _CLAIM, last)
                claims = [_claim(connection, row) for row in rows]
            if not rows:
                break
            yield Page(claims)
            last = rows[-1]["rowid"]
        last = _LAST
        while True:
            with self._reading("its records were not listed") as connection:
                rows = _page(connection, _RECORD, last)
            if not rows:
                break
            yield Page(records=[_record(row) for row in rows])
            last = rows[-1]["rowid"]

    def claim(self, claim_id: str) -> StoredClaim | None:
        """Contents and their records; see `Inventory.claim`."""
        if not self._is_there():
            return None
        with self._reading(f"claim {claim_id} was not looked up") as connection:
            row = connection.execute(f"{_CLAIM} WHERE claim_id = ?", (claim_id,)).fetchone()
            return None if row is None else _claim(connection, row)

    def record(self, key: str) -> StoredRecord | None:
        """A record; see `Inventory.record`."""
        if not self._is_there():
            return None
        with self._reading(f"record {key} was not looked up") as connection:
            row = connection.execute(f"{_RECORD} WHERE key = ?", (key,)).fetchone()
            return None if row is None else _record(row)

    def remove(self, claim: StoredClaim) -> None:
        """Remove contents; see `Inventory.remove`."""
        self._remove(claim.id, claim.parts or 0)

    def _reading(self, failed: str) -> AbstractContextManager[sqlite3.Connection]:
        return self._transaction(failed, "BEGIN")


def _page(connection: sqlite3.Connection, select: str, before: int) -> Sequence[sqlite3.Row]:
    statement = f"{select} WHERE rowid < ? ORDER BY rowid DESC LIMIT {PAGE_CLAIMS}"
    return connection.execute(statement, (before,)).fetchall()


def _claim(connection: sqlite3.Connection, row: sqlite3.Row) -> StoredClaim:
    claim_id = str(row["claim_id"])
    # The key of a record is the claim's id, an `@` and a consumer; `A` comes after `@`.
    records = connection.execute(
        f"{_RECORD} WHERE key >= ? AND key < ?", (record_key(claim_id), f"{claim_id}A")
    )
    return StoredClaim(
        id=claim_id,
        type=text_or_none(row["type"]),
        parts=whole_or_none(row["parts"]),
        size=whole_or_none(row["size"]),
        stored=whole_or_none(row["stored"]),
        created_at=whole_or_none(row["created_at"]),
        expires_at=whole_or_none(row["expires_at"]),
        kept_in="sqlite",
        records=[_record(each) for each in records],
    )


def _record(row: sqlite3.Row) -> StoredRecord:
    return StoredRecord.read(
        str(row["key"]),
        state=row["state"],
        lease_until=row["lease_until"],
        lease_id=row["lease_id"],
    )
