"""A durable queue in one SQLite file, for several processes on one machine.

    sqlite:///relative/path.db        sqlite:////absolute/path.db
    sqlite:///work.db?visibility_timeout=60&max_receive_count=5
    sqlite:///work.db?fifo=true

It keeps to SQS's terms, so that what works on it works on SQS: a received message is invisible for
the visibility timeout and then comes again. Messages come in the order in which they are due. A
message that was received `max_receive_count` times moves to the dead-letter table when it is due.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence

from letsgo_queue.attributes import FAILURE, MessageAttribute, spell_out
from letsgo_queue.errors import LetsGoQueueError, MessageTooLarge, SendFailed
from letsgo_queue.failure import Failure
from letsgo_queue.log import get_logger
from letsgo_queue.sqlite import is_retryable
from letsgo_queue.transports.base import (
    DeliveryEnded,
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    one_by_one,
    too_large,
)
from letsgo_queue.transports.fifo import deduplication_id, refusal
from letsgo_queue.transports.sqlite_fifo import first_with
from letsgo_queue.transports.sqlite_file import QueueFile
from letsgo_queue.transports.sqlite_rows import (
    COLUMNS,
    LATEST_DUE,
    QueuedMessage,
    RowDamaged,
    attributes_to_json,
)

logger = get_logger(__name__)

MAX_WAIT_SECONDS = 0.5
POLL_SECONDS = 0.05
"""How often a waiting receive looks: a file cannot notify another process."""


class SqliteTransport:
    """A queue in a SQLite file; the file is made when the queue is first used."""

    seconds_to_prove_empty = 0

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """Name the file; nothing is opened yet.

        Args:
            url: `sqlite:///path`, with options as a query.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: No path, or an option that is not known or out of range.
        """
        self._file = QueueFile(url)
        self._clock = clock

    @property
    def url(self) -> str:
        """The URL that names the queue."""
        return self._file.url

    @property
    def fifo(self) -> bool:
        """Whether its URL says `fifo=true`."""
        return self._file.options.fifo

    def max_receives(self) -> int:
        """After how many receives a message is a dead letter."""
        return self._file.options.max_receive_count

    def content_based_deduplication(self) -> bool:
        """Whether it is FIFO, unless its URL says `content_based_deduplication=false`."""
        return self.fifo and self._file.options.content_based_deduplication

    def max_message_bytes(self) -> int:
        """The largest message it takes."""
        return self._file.options.max_message_bytes

    def send(self, message: OutgoingMessage) -> str:
        """Put a message on the queue; see `Transport.send`."""
        (sent,) = self.send_batch([message])
        if isinstance(sent, Exception):
            raise sent
        return sent

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Put messages on the queue in one transaction; see `Transport.send_batch`."""
        refusals = [self._refusal(message) for message in messages]
        now = self._clock()
        try:
            with self._file.transaction() as connection:
                return [
                    refusal or self._add(connection, message, now)
                    for message, refusal in zip(messages, refusals, strict=True)
                ]
        except sqlite3.Error as error:
            return [
                refusal or self._send_failed(message, error)
                for message, refusal in zip(messages, refusals, strict=True)
            ]

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """Replace a delivery, in one transaction; see `Transport.send_on`."""
        now = self._clock()
        with (
            self._file.available(f"message {delivery.message_id} was not sent on"),
            self._file.transaction() as connection,
        ):
            changed = connection.execute(
                "UPDATE queue_messages SET body = ?, attributes = ?, group_id = ?,"
                " trace_header = ?, sent_at = ?, visible_at = ?, receive_count = 0,"
                " first_received_at = NULL, receipt_handle = NULL"
                " WHERE message_id = ? AND receipt_handle = ?",
                (
                    message.body.decode(),
                    attributes_to_json(spell_out(message.attributes)),
                    message.group_id,
                    message.trace_header,
                    now,
                    now + message.delay_seconds,
                    delivery.message_id,
                    delivery.receipt_handle,
                ),
            )
        if not changed.rowcount:
            raise _ended(delivery)

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Receive messages; waits at most half a second, so that a worker can stop."""
        if visibility_timeout is None:
            visibility_timeout = self._file.options.visibility_timeout
        deadline = time.monotonic() + min(wait_seconds, MAX_WAIT_SECONDS)
        with self._file.available("no message could be received"):
            while True:
                if self._anything_visible() and (
                    messages := self._receive(max_messages, visibility_timeout)
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
            with self._file.transaction() as connection:
                connection.executemany(
                    "DELETE FROM queue_messages WHERE message_id = ? AND receipt_handle = ?",
                    [(message.message_id, message.receipt_handle) for message in messages],
                )
        except sqlite3.Error as error:
            return [
                self._file.unavailable(f"message {message.message_id} was not acknowledged", error)
                for message in messages
            ]
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Move a delivery to the dead-letter table; see `Transport.move_to_dead_letters`."""
        attributes = {
            **message.attributes,
            FAILURE: MessageAttribute("String", next(failure.versions())),
        }
        with (
            self._file.available(f"message {message.message_id} was not moved to the dead letters"),
            self._file.transaction() as connection,
        ):
            changed = connection.execute(
                "UPDATE queue_messages SET attributes = ?"
                " WHERE message_id = ? AND receipt_handle = ? RETURNING sequence",
                (attributes_to_json(attributes), message.message_id, message.receipt_handle),
            ).fetchall()
            for row in changed:
                self._bury(connection, row["sequence"], self._clock())
        if not changed:
            raise _ended(message)
        return message.message_id

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Keep a delivery invisible for `seconds` from now; see `Transport`."""
        with (
            self._file.available(f"message {message.message_id} was not extended"),
            self._file.transaction() as connection,
        ):
            changed = connection.execute(
                # What is given back keeps its place: messages come by when they are due.
                "UPDATE queue_messages"
                " SET visible_at = iif(:seconds > 0, :now + :seconds, min(sent_at, :now))"
                " WHERE message_id = :message_id AND receipt_handle = :receipt_handle",
                {
                    "seconds": seconds,
                    "now": self._clock(),
                    "message_id": message.message_id,
                    "receipt_handle": message.receipt_handle,
                },
            )
        if not changed.rowcount:
            raise _ended(message)

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Keep deliveries invisible; see `Transport`."""
        return one_by_one(self.change_visibility, changes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _refusal(self, message: OutgoingMessage) -> MessageTooLarge | SendFailed | None:
        """Why the queue does not take a message."""
        if message.size > self._file.options.max_message_bytes:
            return too_large(message, self._file.options.max_message_bytes)
        return refusal(message, self) if self.fifo else None

    def _add(self, connection: sqlite3.Connection, message: OutgoingMessage, now: float) -> str:
        """Put a message on the queue. Return its id, or that of the message that it duplicates."""
        message_id = str(uuid.uuid4())
        if self.fifo:
            known_by = deduplication_id(message)
            first = first_with(known_by, message_id, connection=connection, now=now)
            if first != message_id:
                return first
        self._file.add(
            connection,
            message_id=message_id,
            body=message.body.decode(),
            attributes=spell_out(message.attributes),
            group_id=message.group_id,
            trace_header=message.trace_header,
            sent_at=now,
            visible_at=now + message.delay_seconds,
        )
        return message_id

    def _anything_visible(self) -> bool:
        """Whether it is worth a write lock to receive."""
        with self._file.reading() as connection:
            return bool(_due(connection, self._clock(), 1, columns="sequence"))

    def _receive(self, limit: int, visibility_timeout: int) -> list[ReceivedMessage]:
        while True:
            with self._file.transaction() as connection:
                now = self._clock()  # after the wait for other writers
                rows = _due(connection, now, limit)
                received = [
                    self._give(connection, row["sequence"], message, now, visibility_timeout)
                    for row in rows
                    if (message := self._take(connection, row, now)) is not None
                ]
            if received or not rows:
                return received

    def _take(
        self, connection: sqlite3.Connection, row: sqlite3.Row, now: float
    ) -> QueuedMessage | None:
        """Read a row; None if it moved to the dead letters."""
        try:
            message = QueuedMessage.read(row)
        except RowDamaged as damage:
            self._bury(connection, row["sequence"], now)
            logger.warning("%s It is in the dead-letter table of %s", damage, self.url)
            return None
        if message.receive_count < self.max_receives():
            return message
        self._bury(connection, row["sequence"], now)
        logger.warning(
            "message %s was received %d times and is in the dead-letter table of %s",
            message.message_id,
            message.receive_count,
            self.url,
        )
        return None

    def _bury(self, connection: sqlite3.Connection, sequence: int, now: float) -> None:
        """Move a row to the dead letters, as it is."""
        connection.execute(
            f"INSERT INTO queue_dead_letters (sequence, dead_at, {COLUMNS})"
            f" SELECT sequence, ?, {COLUMNS} FROM queue_messages WHERE sequence = ?",
            (now, sequence),
        )
        connection.execute("DELETE FROM queue_messages WHERE sequence = ?", (sequence,))

    def _give(
        self,
        connection: sqlite3.Connection,
        sequence: int,
        message: QueuedMessage,
        now: float,
        visibility_timeout: int,
    ) -> ReceivedMessage:
        receipt_handle = uuid.uuid4().hex
        connection.execute(
            "UPDATE queue_messages SET receive_count = receive_count + 1, visible_at = ?,"
            " first_received_at = coalesce(first_received_at, ?), receipt_handle = ?"
            " WHERE sequence = ?",
            (now + visibility_timeout, now, receipt_handle, sequence),
        )
        received_at = time.monotonic()
        return ReceivedMessage(
            message_id=message.message_id,
            receipt_handle=receipt_handle,
            body=message.body,
            attributes=message.attributes,
            receive_count=message.receive_count + 1,
            sent_at=message.sent_at,
            first_received_at=message.first_received_at or now,
            invisible_until=received_at + visibility_timeout,
            group_id=message.group_id,
            trace_header=message.trace_header,
            received_at=received_at,
        )

    def _send_failed(self, message: OutgoingMessage, error: sqlite3.Error) -> SendFailed:
        return SendFailed(
            f"message of type {message.type!r} was not enqueued: {self._file.explain(error)}",
            retryable=is_retryable(error),
        )


def _due(
    connection: sqlite3.Connection,
    now: float,
    limit: int,
    *,
    columns: str = f"sequence, visible_at, first_received_at, {COLUMNS}",
) -> list[sqlite3.Row]:
    """Return the rows that are due, and damaged rows that never would be.

    It uses the index on `visible_at` alone, so it takes as long with a million messages as with
    ten.
    """
    select = f"SELECT {columns} FROM queue_messages WHERE visible_at"
    # SQLite sorts text and bytes behind all numbers.
    never = connection.execute(f"{select} > {LATEST_DUE} LIMIT ?", (limit,)).fetchall()
    due = f"{select} <= ? ORDER BY visible_at, sequence LIMIT ?"
    return [*never, *connection.execute(due, (now, limit - len(never)))]


def _ended(message: ReceivedMessage) -> DeliveryEnded:
    return DeliveryEnded(
        f"message {message.message_id}: this delivery has ended; the message was acknowledged or "
        "received again."
    )
