"""Looking after a SQLite queue: each call is one transaction on its file.

The file must be there. Otherwise a mistyped path would make a new, empty queue.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode

from letsgo_queue.admin.base import (
    DeadLetter,
    QueueOptions,
    QueueStatus,
    dead_letter,
    without_failure,
)
from letsgo_queue.errors import (
    LetsGoQueueError,
    QueueNotFound,
    RedriveIncomplete,
    SettingsInvalid,
)
from letsgo_queue.files import exists
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.sqlite_file import QueueFile
from letsgo_queue.transports.sqlite_rows import (
    COLUMNS,
    RowDamaged,
    StoredMessage,
    message_id_in,
)


class SqliteAdmin:
    """A queue in a SQLite file."""

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

    def status(self) -> QueueStatus:
        """How many messages it has; see `QueueAdmin.status`."""
        with self._reading("it was not counted") as connection:
            row = connection.execute(
                "SELECT count(*) FILTER (WHERE visible_at > :now IS NOT TRUE) AS waiting,"
                " count(*) FILTER (WHERE visible_at > :now AND receive_count > 0) AS in_flight,"
                " count(*) FILTER (WHERE visible_at > :now AND receive_count = 0) AS delayed,"
                " (SELECT count(*) FROM queue_dead_letters) AS dead"
                " FROM queue_messages",
                {"now": self._clock()},
            ).fetchone()
        return QueueStatus(**dict(row))

    def purge(self) -> int:
        """Remove every message but the dead letters; see `QueueAdmin.purge`."""
        with self._transaction("it was not purged") as connection:
            return connection.execute("DELETE FROM queue_messages").rowcount

    def dead_letters(self, *, limit: int | None = None) -> Sequence[DeadLetter]:
        """The dead letters, in the order they were sent; see `QueueAdmin.dead_letters`."""
        with self._reading("its dead letters were not listed") as connection:
            rows = connection.execute(
                f"SELECT sequence, {COLUMNS} FROM queue_dead_letters ORDER BY sequence LIMIT ?",
                (_all_or(limit),),
            ).fetchall()
        return [dead_letter(_as_received(row)) for row in rows]

    def redrive(
        self,
        *,
        message_ids: Collection[str] | None = None,
        limit: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Put dead letters back on the queue, in one transaction; see `QueueAdmin.redrive`.

        They keep their ids and the times at which they were sent. Damaged rows stay where they are.
        """
        moved = 0
        damaged: dict[str, LetsGoQueueError] = {}
        with self._transaction("its dead letters were not moved") as connection:
            letters = connection.execute(
                "SELECT sequence, message_id FROM queue_dead_letters ORDER BY sequence"
            ).fetchall()
            for letter in letters:
                if moved == limit:
                    break
                message_id = message_id_in(letter)
                if message_ids is not None and message_id not in message_ids:
                    continue
                try:
                    self._move(connection, letter["sequence"])
                except RowDamaged as damage:
                    damaged[message_id] = damage
                else:
                    moved += 1
        if progress is not None:
            progress(moved)
        if damaged:
            raise RedriveIncomplete(
                f"{moved} dead letters were moved to {self.url}, {len(damaged)} were not: "
                f"{next(iter(damaged.values()))} Correct or remove such rows in the table "
                "queue_dead_letters.",
                moved=moved,
                errors=damaged,
            )
        return moved

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _move(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Move a dead letter to the queue.

        Raises:
            RowDamaged: It would come back at once.
        """
        row = connection.execute(
            f"SELECT sequence, {COLUMNS} FROM queue_dead_letters WHERE sequence = ?", (sequence,)
        ).fetchone()
        letter = StoredMessage.read(row)
        self._file.add(
            connection,
            message_id=letter.message_id,
            body=letter.body,
            attributes=without_failure(letter.attributes),
            group_id=letter.group_id,
            trace_header=letter.trace_header,
            sent_at=letter.sent_at,
            visible_at=self._clock(),
        )
        connection.execute("DELETE FROM queue_dead_letters WHERE sequence = ?", (sequence,))

    @contextmanager
    def _reading(self, consequence: str) -> Iterator[sqlite3.Connection]:
        self._check_file()
        with (
            self._file.available(f"queue {self.url}: {consequence}"),
            self._file.reading() as connection,
        ):
            yield connection

    @contextmanager
    def _transaction(self, consequence: str) -> Iterator[sqlite3.Connection]:
        self._check_file()
        with (
            self._file.available(f"queue {self.url}: {consequence}"),
            self._file.transaction() as connection,
        ):
            yield connection

    def _check_file(self) -> None:
        if not exists(self._file.path):
            raise QueueNotFound(
                f"queue {self.url}: there is no file {self._file.path}. Check the path. "
                "`letsgo-queue queue create` makes the file, and so does the first message."
            )


def _as_received(row: sqlite3.Row) -> ReceivedMessage:
    """A dead letter; of a damaged row what can be read, with the damage as its reason."""
    try:
        message = StoredMessage.read(row)
    except RowDamaged as damage:
        message = StoredMessage.salvage(row, damage)
    return ReceivedMessage(
        message_id=message.message_id,
        receipt_handle="",
        body=message.body,
        attributes=message.attributes,
        receive_count=message.receive_count,
        sent_at=message.sent_at,
        group_id=message.group_id,
    )


def create_sqlite_queue(
    url: str, options: QueueOptions, *, on_existing: Callable[[str], None] | None = None
) -> str:
    """Make the file of a queue. A file that is there already stays as it is.

    Args:
        url: `sqlite:///path`, with options as a query.
        options: They go into the URL, where a SQLite queue has its options.
        on_existing: Called with the URL where the file is there already.

    Returns:
        The URL to use.

    Raises:
        SettingsInvalid: The URL cannot be used or contradicts `options`, or only SQS has such an
            option.
        QueueUnavailable: The file could not be made.
    """
    if options.deployment is not None:
        raise SettingsInvalid(
            f"queue {url!r}: a SQLite queue belongs to no deployment. Leave out that option."
        )
    named = QueueFile(url).options
    given: dict[str, int | bool] = {
        name: value
        for name, value in (
            ("visibility_timeout", options.visibility_timeout),
            ("max_receive_count", options.max_receive_count),
            ("fifo", options.fifo or None),
        )
        if value is not None
    }
    for name in given.keys() & named.model_fields_set:
        if getattr(named, name) != given[name]:
            raise SettingsInvalid(
                f"queue {url!r}: the URL says {name}={getattr(named, name)}, the option "
                f"{given[name]}. Leave out one of them."
            )
    file = QueueFile(_with_options(url, given))
    existed = exists(file.path)
    with file.available(f"queue {url} was not made"), file.transaction():
        file_url = file.url
    file.close()
    if existed and on_existing is not None:
        on_existing(file_url)
    return file_url


def _with_options(url: str, given: Mapping[str, int | bool]) -> str:
    path, _, query = url.partition("?")
    options = dict(parse_qsl(query)) | {name: str(value).lower() for name, value in given.items()}
    return f"{path}?{urlencode(options)}" if options else path


def _all_or(limit: int | None) -> int:
    return -1 if limit is None else limit
