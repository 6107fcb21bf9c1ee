"""The file of a SQLite queue: its options and its tables.

SQLite's errors become ours where the caller says what they prevented.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from letsgo_queue.errors import QueueUnavailable, SettingsInvalid
from letsgo_queue.limits import (
    DEFAULT_VISIBILITY_TIMEOUT,
    MAX_MESSAGE_BYTES,
    MAX_VISIBILITY_SECONDS,
)
from letsgo_queue.settings import named_queue
from letsgo_queue.sqlite import Schema, SqliteFile, is_retryable, path_in
from letsgo_queue.validation import problems_in

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue_messages (
    sequence          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id        TEXT NOT NULL UNIQUE,
    body              TEXT NOT NULL,
    attributes        TEXT NOT NULL,
    group_id          TEXT,
    trace_header      TEXT,
    sent_at           REAL NOT NULL,
    visible_at        REAL NOT NULL,
    receive_count     INTEGER NOT NULL DEFAULT 0,
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
        visibility_timeout: Seconds that a received message stays invisible (as SQS's default).
        max_receive_count: Receives after which a message moves to the dead-letter table.
        max_message_bytes: The largest message it takes; SQS's own limit by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    visibility_timeout: int = Field(
        default=DEFAULT_VISIBILITY_TIMEOUT, ge=0, le=MAX_VISIBILITY_SECONDS
    )
    max_receive_count: int = Field(default=5, ge=1)
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024)


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
        try:
            options = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
            self.options = SqliteOptions.model_validate(options)
        except ValidationError as error:
            problems = problems_in(error, SqliteOptions, lambda location: str(location[0]))
            raise SettingsInvalid(f"{named_queue(url)}: {problems}.") from None
        self.url = url
        schema = Schema("queue_schema", SCHEMA_VERSION, _SCHEMA)
        super().__init__(path, schema, user=f"queue {url}")

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
