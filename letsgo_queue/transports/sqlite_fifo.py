"""The FIFO part of a SQLite queue's file: groups, and deduplication ids.

Of each message group only the first message can become due: the others have no `visible_at`. When
the first one leaves the table, for whatever reason, a trigger makes the next one visible. So a
receive looks at no message that waits behind another, however many there are.
"""

from __future__ import annotations

import sqlite3

from letsgo_queue.transports.fifo import DEDUPLICATION_SECONDS

FIFO_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue_kind (fifo INTEGER NOT NULL);
INSERT INTO queue_kind SELECT {fifo} WHERE NOT EXISTS (SELECT 1 FROM queue_kind);
CREATE TABLE IF NOT EXISTS queue_deduplication (
    deduplication_id  TEXT PRIMARY KEY,
    message_id        TEXT NOT NULL,
    expires_at        REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS queue_deduplication_expired ON queue_deduplication (expires_at);
CREATE INDEX IF NOT EXISTS queue_messages_group ON queue_messages (group_id)
    WHERE group_id IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS queue_messages_left AFTER DELETE ON queue_messages
BEGIN
    UPDATE queue_messages SET visible_at = sent_at WHERE visible_at IS NULL AND sequence =
        (SELECT sequence FROM queue_messages WHERE group_id = OLD.group_id
            ORDER BY sequence LIMIT 1);
END;
CREATE TRIGGER IF NOT EXISTS queue_messages_moved AFTER UPDATE OF group_id ON queue_messages
WHEN OLD.group_id IS NOT NEW.group_id
BEGIN
    UPDATE queue_messages SET visible_at = sent_at WHERE visible_at IS NULL AND sequence IN
        ((SELECT sequence FROM queue_messages WHERE group_id = OLD.group_id
            ORDER BY sequence LIMIT 1),
         (SELECT sequence FROM queue_messages WHERE group_id IS NEW.group_id
            ORDER BY sequence LIMIT 1));
END;
"""

VISIBLE_AT = """iif(
    EXISTS (SELECT 1 FROM queue_messages WHERE group_id = :group_id)
    AND (SELECT fifo FROM queue_kind), NULL, :visible_at)"""
"""When a new message is due: not yet, if another one of its group is there in a FIFO queue."""


def is_fifo(connection: sqlite3.Connection) -> bool:
    """Whether the file is that of a FIFO queue."""
    row = connection.execute("SELECT fifo FROM queue_kind").fetchone()
    return bool(row["fifo"])


def first_with(
    deduplication_id: str, message_id: str, *, connection: sqlite3.Connection, now: float
) -> str:
    """Return which message has a deduplication id: an earlier one, or this one from now on."""
    connection.execute("DELETE FROM queue_deduplication WHERE expires_at <= ?", (now,))
    connection.execute(
        "INSERT INTO queue_deduplication (deduplication_id, message_id, expires_at)"
        " VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (deduplication_id, message_id, now + DEDUPLICATION_SECONDS),
    )
    known = connection.execute(
        "SELECT message_id FROM queue_deduplication WHERE deduplication_id = ?",
        (deduplication_id,),
    ).fetchone()
    return str(known["message_id"])
