"""The file of a SQLite queue: its options and its tables.

SQLite's errors become ours when the caller says what they prevented.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.errors import QueueUnavailable, SettingsInvalid
from letsgo_queue.limits import (
    DEFAULT_VISIBILITY_TIMEOUT,
    MAX_MESSAGE_BYTES,
    MAX_VISIBILITY_SECONDS,
)
from letsgo_queue.settings import named_queue
from letsgo_queue.sqlite import Schema, SqliteFile, is_retryable, path_in
from letsgo_queue.transports.sqlite_fifo import FIFO_SCHEMA, VISIBLE_AT, is_fifo
from letsgo_queue.transports.sqlite_rows import attributes_to_json
from letsgo_queue.transports.url_options import options_in

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue_messages (
    sequence          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id        TEXT NOT NULL UNIQUE,
    body              TEXT NOT NULL,
    attributes        TEXT NOT NULL,
    group_id          TEXT,
    trace_header      TEXT,
    sent_at           REAL NOT NULL,
    visible_at        REAL,
    receive_count     INTEGER NOT NULL DEFAULT 0,
    first_received_at REAL,
    receipt_handle    TEXT
);
CREATE INDEX IF NOT EXISTS queue_messages_visible ON queue_messages (visible_at);
CREATE TABLE IF NOT EXISTS queue_dead_letters (
    sequence          INTEGER PRIMARY KEY,
    message_id        TEXT NOT NULL,
    body              TEXT NOT NULL,
    attributes        TEXT NOT NULL,
    group_id          TEXT,
    trace_header      TEXT,
    sent_at           REAL NOT NULL,
    receive_count     INTEGER NOT NULL,
    dead_at           REAL NOT NULL
);
"""


class SqliteOptions(BaseModel):
    """The options of a `sqlite://` queue URL.

    Attributes:
        visibility_timeout: Seconds that a received message stays invisible (as SQS's default). Not
            0, with which each message would come again at once.
        max_receive_count: Receives after which a message moves to the dead-letter table.
        max_message_bytes: The largest message it takes; SQS's own limit by default.
        fifo: Whether it is a FIFO queue. A file stays FIFO or standard, as it was made.
        content_based_deduplication: Whether a FIFO queue knows a message without a deduplication id
            by its body.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    visibility_timeout: int = Field(
        default=DEFAULT_VISIBILITY_TIMEOUT, ge=1, le=MAX_VISIBILITY_SECONDS
    )
    max_receive_count: int = Field(default=5, ge=1)
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024)
    fifo: bool = False
    content_based_deduplication: bool = True


class QueueFile(SqliteFile):
    """The file that a `sqlite://` URL names."""

    def __init__(self, url: str) -> None:
        """Name the file; nothing is opened yet.

        Args:
            url: `sqlite:///path`, with options as a query.

        Raises:
            SettingsInvalid: No path, or an option that is not known or out of range.
        """
        path = path_in(url)
        if path is None:
            raise SettingsInvalid(
                f"{named_queue(url)}: a SQLite queue is sqlite:///relative/path.db or "
                "sqlite:////absolute/path.db."
            )
        self.options = options_in(url, SqliteOptions)
        self.url = url
        statements = _SCHEMA + FIFO_SCHEMA.format(fifo=int(self.options.fifo))
        schema = Schema("queue_schema", SCHEMA_VERSION, statements)
        super().__init__(path, schema, user=f"queue {url}")

    def add(
        self,
        connection: sqlite3.Connection,
        *,
        message_id: str,
        body: str,
        attributes: Mapping[str, MessageAttribute],
        group_id: str | None,
        trace_header: str | None,
        sent_at: float,
        visible_at: float,
    ) -> None:
        """Put a message on the queue, behind those of its group if it is FIFO."""
        connection.execute(
            "INSERT INTO queue_messages"
            " (message_id, body, attributes, group_id, trace_header, sent_at, visible_at) VALUES"
            f" (:message_id, :body, :attributes, :group_id, :trace_header, :sent_at, {VISIBLE_AT})",
            {
                "message_id": message_id,
                "body": body,
                "attributes": attributes_to_json(attributes),
                "group_id": group_id,
                "trace_header": trace_header,
                "sent_at": sent_at,
                "visible_at": visible_at,
            },
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        super()._prepare(connection)
        if (there := is_fifo(connection)) is not self.options.fifo:
            raise SettingsInvalid(
                f"queue {self.url}: the file holds a {'FIFO' if there else 'standard'} queue. "
                f"Say fifo={str(there).lower()} in its URL, or use another file."
            )

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
