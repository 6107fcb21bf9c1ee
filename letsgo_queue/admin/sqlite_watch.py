"""Looks at a SQLite queue, without receiving its messages."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from letsgo_queue.admin.letters import told_by
from letsgo_queue.admin.sqlite_existing import ExistingQueue
from letsgo_queue.admin.watch import Billed, MessageState, Peek, PeekedMessage, Traffic
from letsgo_queue.attributes import attributes_size
from letsgo_queue.transports.sqlite_rows import COLUMNS, RowDamaged, StoredMessage, time_in

_IN_STATE: dict[MessageState | None, str] = {
    None: "true",
    "waiting": "visible_at > :now IS NOT TRUE",
    "in flight": "visible_at > :now AND receive_count > 0",
    "delayed": "visible_at > :now AND receive_count = 0",
}


class SqliteWatch(ExistingQueue):
    """Looks at a queue in a SQLite file; see `QueueWatch`."""

    peek_costs = None

    def traffic(self) -> Traffic:
        """Return the age of its messages, and how many came and went; see `QueueWatch.traffic`."""
        with self._reading("it was not looked at") as connection:
            row = connection.execute(
                "SELECT (SELECT sent_at FROM queue_messages ORDER BY sequence LIMIT 1) AS oldest,"
                " (SELECT seq FROM sqlite_sequence WHERE name = 'queue_messages') AS sent,"
                " (SELECT count(*) FROM queue_messages) AS there"
            ).fetchone()
        sent = row["sent"] or 0
        return Traffic(
            oldest_sent_at=_time(row["oldest"]),
            sent=sent,
            removed=max(sent - row["there"], 0),
        )

    def billed(self, since: datetime) -> Billed | None:
        """Return None: a file costs nothing; see `QueueWatch.billed`."""
        return None

    def peek(
        self, *, limit: int, after: int | None = None, state: MessageState | None = None
    ) -> Peek:
        """Look at messages; see `QueueWatch.peek`."""
        with self._reading("it was not looked at") as connection:
            rows = connection.execute(
                f"SELECT sequence, visible_at, {COLUMNS} FROM queue_messages"
                f" WHERE sequence > :after AND {_IN_STATE[state]} ORDER BY sequence LIMIT :limit",
                {"after": after or 0, "now": self._clock(), "limit": limit + 1},
            ).fetchall()
        more = len(rows) > limit
        shown = rows[:limit]
        return Peek([self._peeked(row) for row in shown], shown[-1]["sequence"] if more else None)

    def message(self, message_id: str) -> PeekedMessage | None:
        """Return one message; see `QueueWatch.message`."""
        with self._reading("it was not looked at") as connection:
            row = connection.execute(
                f"SELECT sequence, visible_at, {COLUMNS} FROM queue_messages WHERE message_id = ?",
                (message_id,),
            ).fetchone()
        return None if row is None else self._peeked(row)

    def _peeked(self, row: sqlite3.Row) -> PeekedMessage:
        try:
            message = StoredMessage.read(row)
        except RowDamaged as damage:
            message = StoredMessage.salvage(row, damage)
        due = row["visible_at"]
        body = told_by(message.body)
        waits = not isinstance(due, int | float) or due <= self._clock()
        return PeekedMessage(
            message_id=message.message_id,
            type=body.type,
            state="waiting" if waits else "in flight" if message.receive_count else "delayed",
            body=message.body,
            attributes=message.attributes,
            size=body.size + attributes_size(message.attributes),
            route=body.route,
            whole_size=body.whole_size,
            sent_at=datetime.fromtimestamp(message.sent_at, UTC),
            due_at=None if waits else _time(due),
            receive_count=message.receive_count,
            group_id=message.group_id,
        )


def _time(value: object) -> datetime | None:
    seconds = time_in(value)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
