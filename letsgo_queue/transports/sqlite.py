"""A durable queue in one SQLite file, for several processes on one machine.

    sqlite:///relative/path.db        sqlite:////absolute/path.db
    sqlite:///work.db?visibility_timeout=60&max_receive_count=5

It keeps to SQS's terms, so that what works on it works on SQS: a received message is invisible for
the visibility timeout and then comes again, and one that was received `max_receive_count` times
moves to the dead-letter table.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.errors import LetsGoQueueError, QueueUnavailable, SendFailed, SettingsInvalid
from letsgo_queue.transports.base import (
    MAX_MESSAGE_BYTES,
    MAX_VISIBILITY_SECONDS,
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    too_large,
    with_reason,
)

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 30
_UNUSABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOTADB", "SQLITE_CORRUPT")
POLL_SECONDS = 0.05
"""How often a waiting receive looks: a file cannot notify another process."""

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


class SqliteTransport:
    """A queue in a SQLite file; the file is made when the queue is first used."""

    fifo = False

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """Name the file; nothing is opened yet.

        Args:
            url: `sqlite:///path`, with options as a query.
            clock: Seconds since 1970.

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
            self._options = SqliteOptions.model_validate(options)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            )
            raise SettingsInvalid(f"queue {url!r}: {problems}") from None
        self.url = url
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        _transports.add(self)

    def content_based_deduplication(self) -> bool:
        """No: this queue is not FIFO."""
        return False

    def max_message_bytes(self) -> int:
        """The largest message it takes."""
        return self._options.max_message_bytes

    def send(self, message: OutgoingMessage) -> str:
        """Put a message on the queue; see `Transport.send`."""
        (sent,) = self.send_batch([message])
        if isinstance(sent, Exception):
            raise sent
        return sent

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Put messages on the queue in one transaction; see `Transport.send_batch`."""
        sent: list[Sent] = [
            too_large(message, self._options.max_message_bytes)
            if message.size > self._options.max_message_bytes
            else str(uuid.uuid4())
            for message in messages
        ]
        now = self._clock()
        try:
            with self._transaction() as connection:
                connection.executemany(
                    "INSERT INTO queue_messages"
                    " (message_id, body, attributes, group_id, sent_at, visible_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (
                            message_id,
                            message.body.decode(),
                            _attributes_to_json(message.attributes),
                            message.group_id,
                            now,
                            now + message.delay_seconds,
                        )
                        for message_id, message in zip(sent, messages, strict=True)
                        if isinstance(message_id, str)
                    ],
                )
        except sqlite3.Error as error:
            return [
                self._send_failed(message, error) if isinstance(outcome, str) else outcome
                for outcome, message in zip(sent, messages, strict=True)
            ]
        return sent

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Take messages; waits at most a second, so that a worker can stop."""
        if visibility_timeout is None:
            visibility_timeout = self._options.visibility_timeout
        deadline = time.monotonic() + min(wait_seconds, 1.0)
        with self._available("no message could be received"):
            while True:
                if self._anything_visible() and (
                    messages := self._take(max_messages, visibility_timeout)
                ):
                    return messages
                if time.monotonic() >= deadline:
                    return []
                time.sleep(POLL_SECONDS)

    def delete(self, message: ReceivedMessage) -> None:
        """Acknowledge a delivery; see `Transport.delete`."""
        (refused,) = self.delete_batch([message])
        if refused is not None:
            raise refused

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Acknowledge deliveries in one transaction; see `Transport.delete_batch`."""
        try:
            with self._transaction() as connection:
                connection.executemany(
                    "DELETE FROM queue_messages WHERE message_id = ? AND receipt_handle = ?",
                    [(message.message_id, message.receipt_handle) for message in messages],
                )
        except sqlite3.Error as error:
            return [
                self._unavailable(f"message {message.message_id} was not acknowledged", error)
                for message in messages
            ]
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, reason: str) -> bool:
        """Move a delivery to the dead-letter table; see `Transport.move_to_dead_letters`."""
        attributes = with_reason(message, reason, self._options.max_message_bytes)
        ours = (message.message_id, message.receipt_handle)
        with (
            self._available(f"message {message.message_id} was not moved to the dead letters"),
            self._transaction() as connection,
        ):
            connection.execute(
                "INSERT INTO queue_dead_letters"
                " SELECT sequence, message_id, body, ?, group_id, sent_at, receive_count, ?"
                " FROM queue_messages WHERE message_id = ? AND receipt_handle = ?",
                (_attributes_to_json(attributes), self._clock(), *ours),
            )
            connection.execute(
                "DELETE FROM queue_messages WHERE message_id = ? AND receipt_handle = ?", ours
            )
        return True

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Keep a delivery invisible for `seconds` from now; see `Transport`."""
        with (
            self._available(f"message {message.message_id} was not extended"),
            self._transaction() as connection,
        ):
            changed = connection.execute(
                "UPDATE queue_messages SET visible_at = ?"
                " WHERE message_id = ? AND receipt_handle = ?",
                (self._clock() + seconds, message.message_id, message.receipt_handle),
            )
        if not changed.rowcount:
            raise QueueUnavailable(
                f"message {message.message_id}: this delivery has ended; the message was "
                "acknowledged or received again.",
                retryable=False,
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._disconnect()

    def _anything_visible(self) -> bool:
        """Whether taking is worth a write lock."""
        with self._lock:
            row = self._connection().execute(
                "SELECT 1 FROM queue_messages WHERE visible_at <= ? LIMIT 1", (self._clock(),)
            )
            return row.fetchone() is not None

    def _take(self, limit: int, visibility_timeout: int) -> list[ReceivedMessage]:
        now = self._clock()
        with self._transaction() as connection:
            self._move_dead_letters(connection, now)
            rows = connection.execute(
                "UPDATE queue_messages SET receive_count = receive_count + 1, visible_at = ?,"
                " receipt_handle = lower(hex(randomblob(16)))"
                " WHERE sequence IN (SELECT sequence FROM queue_messages WHERE visible_at <= ?"
                " ORDER BY sequence LIMIT ?)"
                " RETURNING sequence, message_id, receipt_handle, body, attributes, receive_count,"
                " sent_at, visible_at, group_id",
                (now + visibility_timeout, now, limit),
            ).fetchall()
        return [
            ReceivedMessage(
                message_id=row["message_id"],
                receipt_handle=row["receipt_handle"],
                body=row["body"],
                attributes=_attributes_from_json(row["attributes"]),
                receive_count=row["receive_count"],
                sent_at=row["sent_at"],
                invisible_until=row["visible_at"],
                group_id=row["group_id"],
            )
            for row in sorted(rows, key=lambda row: row["sequence"])
        ]

    def _move_dead_letters(self, connection: sqlite3.Connection, now: float) -> None:
        dead = "visible_at <= ? AND receive_count >= ?"
        connection.execute(
            "INSERT INTO queue_dead_letters"
            " SELECT sequence, message_id, body, attributes, group_id,"
            f" sent_at, receive_count, ? FROM queue_messages WHERE {dead}",
            (now, now, self._options.max_receive_count),
        )
        moved = connection.execute(
            f"DELETE FROM queue_messages WHERE {dead} RETURNING message_id",
            (now, self._options.max_receive_count),
        ).fetchall()
        for row in moved:
            logger.warning(
                "message %s was received %d times and is in the dead-letter table of %s",
                row["message_id"],
                self._options.max_receive_count,
                self.url,
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

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

    @contextmanager
    def _available(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unavailable(consequence, error) from error

    def _unavailable(self, consequence: str, error: sqlite3.Error) -> QueueUnavailable:
        return QueueUnavailable(
            f"{consequence}: {self._explain(error)}", retryable=_is_retryable(error)
        )

    def _send_failed(self, message: OutgoingMessage, error: sqlite3.Error) -> SendFailed:
        return SendFailed(
            f"message of type {message.type!r} was not enqueued: {self._explain(error)}",
            retryable=_is_retryable(error),
        )

    def _explain(self, error: sqlite3.Error) -> str:
        if not self._path.parent.is_dir():
            return f"the folder of {self._path} does not exist."
        return f"SQLite says {error} ({self._path}). Check that the file can be written."


def _is_retryable(error: sqlite3.Error) -> bool:
    """Whether it may pass by itself (a lock, a full disk); a file that cannot be used does not."""
    name: str = getattr(error, "sqlite_errorname", "")
    return not name.startswith(_UNUSABLE)


def _attributes_to_json(attributes: Mapping[str, MessageAttribute]) -> str:
    return json.dumps(
        {
            name: [attribute.data_type, _to_text(attribute.value)]
            for name, attribute in attributes.items()
        }
    )


def _attributes_from_json(text: str) -> dict[str, MessageAttribute]:
    return {
        name: MessageAttribute(
            data_type, base64.b64decode(value) if data_type == "Binary" else value
        )
        for name, (data_type, value) in json.loads(text).items()
    }


def _to_text(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


_transports: weakref.WeakSet[SqliteTransport] = weakref.WeakSet()
_paused: list[SqliteTransport] = []
_forking = threading.Lock()


def _before_fork() -> None:
    """Close every file: SQLite loses what is written over a connection that crossed a fork.

    https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
    """
    _forking.acquire()
    _paused.extend(_transports)
    for transport in _paused:
        transport._lock.acquire()
        transport._disconnect()


def _after_fork() -> None:
    for transport in _paused:
        transport._lock.release()
    _paused.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
