"""Claims in a SQLite file, for several processes on one machine.

The file may be that of a SQLite queue. Expired claims are removed whenever one is written.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from claimcheck.errors import ClaimStoreUnavailable, SettingsInvalid
from claimcheck.stores.base import Claim, ClaimHead, Held, Lease

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 30

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS claims_schema (version INTEGER NOT NULL);
INSERT INTO claims_schema SELECT {version} WHERE NOT EXISTS (SELECT 1 FROM claims_schema);
CREATE TABLE IF NOT EXISTS claims (
    id          TEXT PRIMARY KEY,
    parts       INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    sha256      TEXT NOT NULL,
    encoding    TEXT NOT NULL,
    type        TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    deleted_at  REAL,
    lease_id    TEXT,
    lease_until REAL
);
CREATE INDEX IF NOT EXISTS claims_expired ON claims (expires_at);
CREATE TABLE IF NOT EXISTS claim_parts (
    claim_id    TEXT NOT NULL,
    part        INTEGER NOT NULL,
    data        BLOB NOT NULL,
    PRIMARY KEY (claim_id, part)
);
COMMIT;
"""

_HEAD = "id, parts, stored, size, sha256, encoding, type, created_at, expires_at"
_FREE = "(lease_until IS NULL OR lease_until <= :now OR lease_id = :lease_id)"


class SqliteClaimStore:
    """A claim store in a SQLite file; the file is made when the store is first used."""

    def __init__(self, path: str | Path) -> None:
        """Name the file; nothing is opened yet."""
        self.url = f"sqlite:///{path}"
        self._path = Path(path)
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        _stores.add(self)

    def write(self, head: ClaimHead, parts: Sequence[bytes | memoryview]) -> None:
        """Write a claim, and remove those that expired before it was made."""
        values = (
            head.id,
            head.parts,
            head.stored,
            head.size,
            head.sha256,
            head.encoding,
            head.type,
            head.created_at,
            head.expires_at,
        )
        with self._transaction() as connection:
            _remove_expired(connection, head.created_at)
            connection.execute(
                f"INSERT OR REPLACE INTO claims ({_HEAD}) VALUES (?,?,?,?,?,?,?,?,?)", values
            )
            connection.executemany(
                "INSERT OR REPLACE INTO claim_parts (claim_id, part, data) VALUES (?, ?, ?)",
                ((head.id, number, part) for number, part in enumerate(parts)),
            )

    def take(self, claim_id: str, parts: int, lease: Lease, *, now: float) -> Claim | Held | None:
        """Take a claim; see `ClaimStore.take`."""
        with self._transaction() as connection:
            taken = connection.execute(
                "UPDATE claims SET deleted_at = :now, lease_id = :lease_id, lease_until = :until"
                f" WHERE id = :id AND {_FREE} RETURNING {_HEAD}",
                {"id": claim_id, "lease_id": lease.id, "until": lease.until, "now": now},
            ).fetchone()
            if taken is None:
                return _held(connection, claim_id)
            return _claim(connection, taken)

    def read(self, claim_id: str, parts: int, *, now: float) -> Claim | Held | None:
        """Read a claim; see `ClaimStore.read`."""
        with self._transaction("BEGIN") as connection:
            found = _find(connection, claim_id, now)
            return _held(connection, claim_id) if found is None else _claim(connection, found)

    def extend(self, claim_id: str, lease: Lease) -> bool:
        """Extend a lease; see `ClaimStore.extend`."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE claims SET lease_until = ? WHERE id = ? AND lease_id = ?",
                (lease.until, claim_id, lease.id),
            )
            return changed.rowcount > 0

    def renew(self, claim_id: str, parts: int, lease: Lease, *, expires_at: int) -> bool:
        """Have a claim expire later; see `ClaimStore.renew`."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE claims SET expires_at = ? WHERE id = ? AND lease_id = ?",
                (expires_at, claim_id, lease.id),
            )
            return changed.rowcount > 0

    def put_back(self, claim_id: str, lease: Lease) -> bool:
        """Put a claim back; see `ClaimStore.put_back`."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE claims SET deleted_at = NULL, lease_id = NULL, lease_until = NULL"
                " WHERE id = ? AND lease_id = ?",
                (claim_id, lease.id),
            )
            return changed.rowcount > 0

    def purge(self, claim_id: str, parts: int, lease: Lease) -> bool:
        """Remove a claim we hold; see `ClaimStore.purge`."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM claims WHERE id = ? AND lease_id = ?", (claim_id, lease.id)
            )
            if connection.execute("SELECT 1 FROM claims WHERE id = ?", (claim_id,)).fetchone():
                return False
            connection.execute("DELETE FROM claim_parts WHERE claim_id = ?", (claim_id,))
            return True

    def discard(self, claim_id: str, parts: int) -> None:
        """Remove a claim that nobody was told of."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM claims WHERE id = ?", (claim_id,))
            connection.execute("DELETE FROM claim_parts WHERE claim_id = ?", (claim_id,))

    def look_up(self, claim_id: str, *, now: float) -> ClaimHead | None:
        """What a reader of the key finds; see `ClaimStore.look_up`."""
        with self._transaction("BEGIN") as connection:
            found = _find(connection, claim_id, now)
            return None if found is None else ClaimHead(**dict(found))

    def count_rows(self, claim_id: str, parts: int) -> int:
        """How many rows of a claim are there."""
        with self._transaction("BEGIN") as connection:
            (rows,) = connection.execute(
                "SELECT (SELECT count(*) FROM claims WHERE id = :id)"
                " + (SELECT count(*) FROM claim_parts WHERE claim_id = :id)",
                {"id": claim_id},
            ).fetchone()
            return int(rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                connection = self._connection()
                connection.execute(begin)
                try:
                    yield connection
                    connection.commit()
                except BaseException:
                    connection.rollback()
                    raise
            except sqlite3.Error as error:
                raise ClaimStoreUnavailable(
                    f"claim store {self.url}: SQLite says {error}. Check that the file can be "
                    "written and is a SQLite database."
                ) from error

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _disconnect(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        # Before anything is changed: a newer schema may have other columns.
        self._check_version(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        # What was acknowledged survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA.format(version=SCHEMA_VERSION))
        self._check_version(connection)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'claims_schema'"
        if connection.execute(tables).fetchone() is None:
            return
        (version,) = connection.execute("SELECT max(version) FROM claims_schema").fetchone()
        if version not in {None, SCHEMA_VERSION}:
            raise SettingsInvalid(
                f"claim store {self.url}: the file has schema {version}, this version reads "
                f"{SCHEMA_VERSION}. Upgrade letsgo-claimcheck, or use another file."
            )


def _find(connection: sqlite3.Connection, claim_id: str, now: float) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        f"SELECT {_HEAD} FROM claims WHERE id = ? AND (lease_until IS NULL OR lease_until <= ?)",
        (claim_id, now),
    ).fetchone()
    return row


def _held(connection: sqlite3.Connection, claim_id: str) -> Held | None:
    row = connection.execute("SELECT lease_until FROM claims WHERE id = ?", (claim_id,)).fetchone()
    return None if row is None else Held(row["lease_until"])


def _claim(connection: sqlite3.Connection, row: sqlite3.Row) -> Claim:
    head = ClaimHead(**dict(row))
    parts: list[bytes | None] = [None] * head.parts
    for part in connection.execute(
        "SELECT part, data FROM claim_parts WHERE claim_id = ?", (head.id,)
    ):
        parts[part["part"]] = part["data"]
    return Claim(head, parts)


def _remove_expired(connection: sqlite3.Connection, now: float) -> None:
    connection.execute(
        "DELETE FROM claim_parts WHERE claim_id IN (SELECT id FROM claims WHERE expires_at <= ?)",
        (now,),
    )
    connection.execute("DELETE FROM claims WHERE expires_at <= ?", (now,))


_stores: weakref.WeakSet[SqliteClaimStore] = weakref.WeakSet()
_paused: list[SqliteClaimStore] = []
_forking = threading.Lock()


def _before_fork() -> None:
    """Close every file: SQLite loses what is written over a connection that crossed a fork.

    https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
    """
    _forking.acquire()
    _paused.extend(_stores)
    for store in _paused:
        store._lock.acquire()
        store._disconnect()


def _after_fork() -> None:
    for store in _paused:
        store._lock.release()
    _paused.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
