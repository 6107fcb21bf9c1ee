"""One SQLite file: its connection, its transactions and its schema.

The SQLite queue and the SQLite claim store both use this module, and may share a file. Each has one
connection to the file in a process. It opens the connection when it is first needed, and closes it
while the process forks. SQLite's own errors leave this module unchanged: the caller knows what they
prevented.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.files import is_folder, make_private_file
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

BUSY_TIMEOUT_SECONDS = 30

_UNUSABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOTADB", "SQLITE_CORRUPT")


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one user of a file.

    Attributes:
        table: The table that has the version.
        version: The version of these tables.
        statements: They make the tables where they are missing, each ending with a semicolon.
    """

    table: str
    version: int
    statements: str


def path_in(url: str) -> str | None:
    """Return the path in a URL `sqlite:///path?options`; None if it has none.

    All before the `?` is the path. A `%` with two hexadecimal digits stands for a byte of UTF-8.
    """
    parts = urlsplit(url, allow_fragments=False)
    try:
        path = unquote(parts.path.removeprefix("/"), errors="strict")
    except UnicodeDecodeError:
        return None
    rooted = url.partition(":")[2].startswith("///")
    return None if not rooted or not path or "\0" in path else path


class SqliteFile:
    """A SQLite file. Safe to share between threads, and to use on both sides of a fork.

    Attributes:
        path: Its absolute path.
    """

    def __init__(self, path: str | Path, schema: Schema, *, user: str) -> None:
        """Name the file, without opening it yet.

        Args:
            path: Its path. The file is made when it is first used; its folder must exist.
            schema: The tables to make in it.
            user: The user of the tables, for errors: `queue sqlite:///work.db`.

        Raises:
            SettingsInvalid: No file has such a path.
        """
        if "\0" in str(path):
            raise SettingsInvalid(f"{user}: a path has no NUL character in it.")
        self.path = Path(path).absolute()
        self._schema = schema
        self._user = user
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        # If nobody closes the file, this does, at the latest when the program ends.
        self._closing: weakref.finalize[[], SqliteFile] | None = None
        with _forking:
            _files.add(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement that changes nothing and waits for no writer."""
        with self._lock:
            yield self._connect()

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """The connection in a transaction of its own, which is undone if the block raises.

        Args:
            begin: `BEGIN` for several statements that only read.
        """
        with self._lock:
            connection = self._connect()
            try:
                # Inside `try`: an interrupt while this waits may come after the transaction began.
                connection.execute(begin)
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def explain(self, error: sqlite3.Error) -> str:
        """Return the text of an error: what SQLite says, and what to do."""
        if not is_folder(self.path.parent):
            return f"the folder of {self.path} does not exist. Make it, or correct the path."
        return (
            f"SQLite says {error} ({self.path}). Check that the file can be written and is a "
            "SQLite database."
        )

    def close(self) -> None:
        """Close the file; it is opened again when it is next used."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and _identity(self.path) != self._opened:
            # A connection would go on with a file that nobody else can open.
            logger.warning("%s was removed or replaced, and is opened anew", str(self.path))
            self._disconnect()
        if self._connection is None:
            self._connection = self._open()
            self._closing = weakref.finalize(self, self._connection.close)
            self._opened = _identity(self.path)
        return self._connection

    def _disconnect(self) -> None:
        if self._closing is not None:
            self._closing()
        self._connection = self._closing = None

    def _open(self) -> sqlite3.Connection:
        make_private_file(self.path)  # SQLite gives its other files the same permissions
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        connection.text_factory = _text_or_bytes
        # Before anything is changed: a newer schema may have other columns.
        self._check_version(connection)
        _write_ahead(connection)
        # A write that was acknowledged survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        table, version = self._schema.table, self._schema.version
        connection.executescript(
            "BEGIN IMMEDIATE;"
            f"CREATE TABLE IF NOT EXISTS {table} (version INTEGER NOT NULL);"
            f"INSERT INTO {table} SELECT {version} WHERE NOT EXISTS (SELECT 1 FROM {table});"
            f"{self._schema.statements}"
            "COMMIT;"
        )
        self._check_version(connection)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        table = self._schema.table
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        if known.fetchone() is None:
            return
        (version,) = connection.execute(f"SELECT max(version) FROM {table}").fetchone()
        if version not in {None, self._schema.version}:
            raise SettingsInvalid(
                f"{self._user}: the file has schema {version}, this version reads "
                f"{self._schema.version}. Upgrade letsgo-claimcheck, or use another file."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of the file at a path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn on write-ahead logging, so that readers and writers do not wait for each other.

    If several processes open a new file at once, SQLite refuses all but one, without waiting.
    """
    until = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.001, 0.01))
        else:
            return


def _text_or_bytes(value: bytes) -> str | bytes:
    """Leave text that is not UTF-8 as bytes: the code that reads the row refuses it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def is_retryable(error: sqlite3.Error) -> bool:
    """Whether an error may pass by itself: a lock or a full disk may, a damaged file does not."""
    name: str = getattr(error, "sqlite_errorname", "")
    return not name.startswith(_UNUSABLE)


_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_paused: list[SqliteFile] = []
_forking = threading.RLock()
"""Held during a fork, so that no file is opened after all have been closed."""


def _before_fork() -> None:
    """Close every file: SQLite loses data that is written over a connection from before a fork.

    https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
    """
    _forking.acquire()
    _paused.extend(_files)
    for file in _paused:
        file._lock.acquire()
        file._disconnect()


def _after_fork() -> None:
    for file in _paused:
        file._lock.release()
    _paused.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
