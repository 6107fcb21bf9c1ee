"""The file of a SQLite queue: its schema, and transactions on it, for all that stand on it.

A file has one connection per process and user of it, opened when it is first needed, and closed
while the process forks. SQLite's errors become ours where the caller says what they prevented.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.errors import QueueUnavailable, SettingsInvalid
from letsgo_queue.transports.base import MAX_MESSAGE_BYTES, MAX_VISIBILITY_SECONDS

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 30
_UNUSABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOTADB", "SQLITE_CORRUPT")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue_schema (version INTEGER NOT NULL);
INSERT INTO queue_schema SELECT {version} WHERE NOT EXISTS (SELECT 1 FROM queue_schema);
CREATE TABLE IF NOT EXISTS queue_messages (
    sequence          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id        TEXT NOT NULL UNIQUE,
    body              TEXT NOT NULL,
    attributes        TEXT NOT NULL,
    group_id          TEXT,
    sent_at           REAL NOT NULL,
    visible_at        REAL NOT NULL,
    receive_count     INTEGER NOT NULL DEFAULT 0,
    receipt_handle    TEXT
);
CREATE INDEX IF NOT EXISTS queue_messages_visible ON queue_messages (visible_at);
CREATE TABLE IF NOT EXISTS queue_dead_letters (
    sequence          INTEGER PRIMARY KEY,
    message_id        TEXT NOT NULL UNIQUE,
    body              TEXT NOT NULL,
    attributes        TEXT NOT NULL,
    group_id          TEXT,
    sent_at           REAL NOT NULL,
    receive_count     INTEGER NOT NULL,
    dead_at           REAL NOT NULL
);
"""


class SqliteOptions(BaseModel):
    """The options of a `sqlite://` queue URL.

    Attributes:
        visibility_timeout: Seconds that a received message stays invisible (as SQS's default).
        max_receive_count: Receives after which a message moves to the dead-letter table.
        max_message_bytes: The largest message it takes; SQS's own limit by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    visibility_timeout: int = Field(default=30, ge=0, le=MAX_VISIBILITY_SECONDS)
    max_receive_count: int = Field(default=5, ge=1)
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024)


class QueueFile:
    """The file that a `sqlite://` URL names. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Name the file; nothing is opened yet.

        Args:
            url: `sqlite:///path`, with options as a query.

        Raises:
            SettingsInvalid: No path, or an option that is not known or out of range.
        """
        parts = urlsplit(url)
        path = unquote(parts.path.removeprefix("/"))
        if parts.netloc or not path:
            raise SettingsInvalid(
                f"queue {url!r}: a SQLite queue is sqlite:///relative/path.db or "
                "sqlite:////absolute/path.db."
            )
        try:
            options = dict(parse_qsl(parts.query, keep_blank_values=True))
            self.options = SqliteOptions.model_validate(options)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            )
            raise SettingsInvalid(f"queue {url!r}: {problems}") from None
        self.url = url
        self.path = Path(path)
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        _files.add(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement that changes nothing and waits for no writer."""
        with self._lock:
            yield self._connection()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction of its own, which is undone where the block raises."""
        with self._lock:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    @contextmanager
    def available(self, consequence: str) -> Iterator[None]:
        """Raise what SQLite refuses in the block as `QueueUnavailable`, with its consequence."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.unavailable(consequence, error) from error

    def unavailable(self, consequence: str, error: sqlite3.Error) -> QueueUnavailable:
        """The error that says what SQLite prevented."""
        return QueueUnavailable(
            f"{consequence}: {self.explain(error)}", retryable=is_retryable(error)
        )

    def explain(self, error: sqlite3.Error) -> str:
        """What SQLite says, and what to do."""
        if not self.path.parent.is_dir():
            return f"the folder of {self.path} does not exist."
        return f"SQLite says {error} ({self.path}). Check that the file can be written."

    def close(self) -> None:
        """Close the file; it is opened again when it is next used."""
        with self._lock:
            self._disconnect()

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
            self.path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Before anything is changed: a newer schema may have other columns.
        self._check_version(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged send survives a power cut
        connection.executescript(
            "BEGIN IMMEDIATE;" + _SCHEMA.format(version=SCHEMA_VERSION) + "COMMIT;"
        )
        self._check_version(connection)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'queue_schema'"
        if connection.execute(tables).fetchone() is None:
            return
        (version,) = connection.execute("SELECT max(version) FROM queue_schema").fetchone()
        if version not in {None, SCHEMA_VERSION}:
            raise SettingsInvalid(
                f"queue {self.url}: the file has schema {version}, this version reads "
                f"{SCHEMA_VERSION}. Upgrade letsgo-claimcheck, or use another file."
            )


def is_retryable(error: sqlite3.Error) -> bool:
    """Whether it may pass by itself (a lock, a full disk); a file that cannot be used does not."""
    name: str = getattr(error, "sqlite_errorname", "")
    return not name.startswith(_UNUSABLE)


def attributes_to_json(attributes: Mapping[str, MessageAttribute]) -> str:
    """Message attributes as the file keeps them."""
    return json.dumps(
        {
            name: [attribute.data_type, _to_text(attribute.value)]
            for name, attribute in attributes.items()
        }
    )


def attributes_from_json(text: str) -> dict[str, MessageAttribute]:
    """Undo `attributes_to_json`."""
    return {
        name: MessageAttribute(
            data_type, base64.b64decode(value) if data_type == "Binary" else value
        )
        for name, (data_type, value) in json.loads(text).items()
    }


def _to_text(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


_files: weakref.WeakSet[QueueFile] = weakref.WeakSet()
_paused: list[QueueFile] = []
_forking = threading.Lock()


def _before_fork() -> None:
    """Close every file: SQLite loses what is written over a connection that crossed a fork.

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
