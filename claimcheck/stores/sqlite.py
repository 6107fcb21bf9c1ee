"""Claims in a SQLite file, for several processes on one machine.

The file may be that of a SQLite queue. Contents and records that have expired are removed when
contents are written and when a record is acquired.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from claimcheck.errors import ClaimCorrupted, ClaimStoreError, ClaimStoreUnavailable
from claimcheck.stores.base import (
    PART_BYTES,
    RECORD_SECONDS,
    ClaimFacts,
    Contents,
    LateReading,
    Lease,
    Record,
    check_part_count,
    store_label,
)
from claimcheck.stores.sqlite_inventory import SqliteInventory
from letsgo_queue.files import exists
from letsgo_queue.sqlite import Schema, SqliteFile, is_retryable

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claim_contents (
    claim_id    TEXT PRIMARY KEY,
    type        TEXT,
    parts       INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS claim_contents_expired ON claim_contents (expires_at);
CREATE TABLE IF NOT EXISTS claim_parts (
    claim_id    TEXT NOT NULL,
    part        INTEGER NOT NULL,
    data        BLOB NOT NULL,
    PRIMARY KEY (claim_id, part)
);
CREATE TABLE IF NOT EXISTS claim_records (
    key         TEXT PRIMARY KEY,
    state       TEXT NOT NULL,
    lease_id    TEXT NOT NULL,
    lease_until REAL NOT NULL,
    expires_at  REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS claim_records_expired ON claim_records (expires_at);
"""

_OURS_NOW = "key = :key AND lease_id = :lease_id AND state IN ('leased', 'handed_over')"


class SqliteClaimStore:
    """A claim store in a SQLite file; the file is made when the store is first used."""

    part_bytes = PART_BYTES

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        """Name the file; nothing is opened yet.

        Args:
            path: Where it is; its folder must be there.
            clock: Seconds since 1970.
        """
        self.url = f"sqlite:///{path}"
        schema = Schema("claims_schema", SCHEMA_VERSION, _SCHEMA)
        self._file = SqliteFile(path, schema, user=f"claim store {self.url}")
        self._clock = clock

    @property
    def label(self) -> str:
        """Names the file as tickets do: `sqlite:/var/lib/shop/claims.db`."""
        return store_label("sqlite", str(self._file.path))

    @property
    def records_at(self) -> object:
        """See `ClaimStore`."""
        return self._file.path

    @property
    def missing_advice(self) -> str:
        """See `ClaimStore`."""
        return (
            "Check that the sender is on this machine and names the same file, and that nobody "
            "removed or restored it."
        )

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write contents; see `ContentsStore.write`."""
        with self._transaction(f"claim {facts.id} was not stored") as connection:
            self._remove_expired(connection)
            connection.execute(
                "INSERT OR REPLACE INTO claim_contents"
                " (claim_id, type, parts, size, stored, created_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    facts.id,
                    facts.type,
                    facts.parts,
                    facts.size,
                    facts.stored,
                    facts.created_at,
                    facts.expires_at,
                ),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO claim_parts (claim_id, part, data) VALUES (?, ?, ?)",
                ((facts.id, number, part) for number, part in enumerate(parts)),
            )

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
        failed = f"the contents of claim {claim_id} were not removed"
        with self._transaction(failed) as connection:
            connection.execute(
                "DELETE FROM claim_contents"
                " WHERE claim_id = :id AND (:by IS NULL OR expires_at <= :by)",
                {"id": claim_id, "by": expiring_by},
            )
            connection.execute(
                "DELETE FROM claim_parts WHERE claim_id = :id"
                " AND NOT EXISTS (SELECT 1 FROM claim_contents WHERE claim_id = :id)",
                {"id": claim_id},
            )

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have contents expire later; see `ContentsStore.renew`."""
        failed = f"the contents of claim {claim_id} were not renewed"
        with self._transaction(failed) as connection:
            connection.execute(
                "UPDATE claim_contents SET expires_at = ? WHERE claim_id = ?",
                (expires_at, claim_id),
            )

    def now(self) -> float:
        """Seconds since 1970, by this machine's clock."""
        return self._clock()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        with self._transaction(f"record {key} was not acquired") as connection:
            self._remove_expired(connection)
            acquired = connection.execute(
                "INSERT INTO claim_records (key, state, lease_id, lease_until, expires_at)"
                " VALUES (:key, 'leased', :lease_id, :until, :expires_at)"
                " ON CONFLICT (key) DO UPDATE SET lease_id = excluded.lease_id,"
                " lease_until = iif(lease_id = :lease_id, max(lease_until, :until), :until),"
                " expires_at = excluded.expires_at"
                " WHERE (state = 'leased' OR state = 'handed_over' AND :take_over)"
                " AND (lease_until <= :now OR lease_id = :lease_id)",
                {"take_over": take_over, **self._values(key, lease)},
            )
            return None if acquired.rowcount > 0 else self._find(connection, key)

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""
        return self._change(
            "UPDATE claim_records SET lease_until = max(lease_until, :until),"
            f" expires_at = :expires_at WHERE {_OURS_NOW}",
            self._values(key, lease),
            failed=f"record {key} was not extended",
        )

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed; see `RecordStore.hand_over`."""
        return self._change(
            "UPDATE claim_records SET state = 'handed_over', expires_at = :expires_at"
            f" WHERE {_OURS_NOW}",
            self._values(key, Lease(lease_id, 0)),
            failed=f"record {key} was not handed over",
        )

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; see `RecordStore.release`."""
        with self._transaction(f"record {key} was not released") as connection:
            connection.execute(
                f"DELETE FROM claim_records WHERE {_OURS_NOW}",
                {"key": key, "lease_id": lease_id},
            )
            return self._find(connection, key) is None

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done; see `RecordStore.complete`."""
        return self._change(
            "INSERT INTO claim_records (key, state, lease_id, lease_until, expires_at)"
            " VALUES (:key, 'done', :lease_id, 0, :expires_at)"
            " ON CONFLICT (key) DO UPDATE SET state = excluded.state, lease_until = 0,"
            " expires_at = excluded.expires_at WHERE lease_id = :lease_id",
            self._values(key, Lease(lease_id, 0)),
            failed=f"record {key} was not completed",
        )

    def look_up(self, key: str) -> Record | None:
        """The record as it is; see `RecordStore.look_up`."""
        with self._transaction(f"record {key} was not looked up", "BEGIN") as connection:
            return self._find(connection, key)

    def inventory(self) -> SqliteInventory:
        """What is in the file; see `Inventory`."""
        return SqliteInventory(
            self._transaction, self.remove, is_there=lambda: exists(self._file.path)
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, claim_id: str, parts: int) -> Contents | None:
        with self._transaction(f"claim {claim_id} was not read", "BEGIN") as connection:
            facts = connection.execute(
                "SELECT parts, expires_at FROM claim_contents WHERE claim_id = ?", (claim_id,)
            ).fetchone()
            if facts is None:
                return None
            check_part_count(facts["parts"], named=parts)
            rows = connection.execute(
                "SELECT part, data FROM claim_parts WHERE claim_id = ? LIMIT ?",
                (claim_id, parts + 1),
            ).fetchall()
        found = {row["part"]: row["data"] for row in rows}
        if not found.keys() <= set(range(parts)):
            raise ClaimCorrupted("a part of its contents has a number that none has")
        if not found:
            return None
        return Contents.read(
            [found.get(part) for part in range(parts)], expires_at=facts["expires_at"]
        )

    def _change(self, statement: str, values: dict[str, object], *, failed: str) -> bool:
        with self._transaction(failed) as connection:
            return connection.execute(statement, values).rowcount > 0

    def _values(self, key: str, lease: Lease) -> dict[str, object]:
        now = self._clock()
        return {
            "key": key,
            "lease_id": lease.id,
            "now": now,
            "until": now + lease.seconds,
            "expires_at": now + RECORD_SECONDS,
        }

    def _find(self, connection: sqlite3.Connection, key: str) -> Record | None:
        row = connection.execute(
            "SELECT state, lease_until FROM claim_records WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        return Record.read(row["state"], row["lease_until"], now=self._clock())

    def _remove_expired(self, connection: sqlite3.Connection) -> None:
        now = (self._clock(),)
        expired = "SELECT claim_id FROM claim_contents WHERE expires_at <= ?"
        connection.execute(f"DELETE FROM claim_parts WHERE claim_id IN ({expired})", now)
        connection.execute("DELETE FROM claim_contents WHERE expires_at <= ?", now)
        connection.execute("DELETE FROM claim_records WHERE expires_at <= ?", now)

    @contextmanager
    def _transaction(
        self, failed: str, begin: str = "BEGIN IMMEDIATE"
    ) -> Iterator[sqlite3.Connection]:
        try:
            with self._file.transaction(begin) as connection:
                yield connection
        except sqlite3.Error as error:
            kind = ClaimStoreUnavailable if is_retryable(error) else ClaimStoreError
            raise kind(f"claim store {self.url}: {failed}: {self._file.explain(error)}") from error
