"""Administers a SQLite queue: each call is one transaction on its file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from urllib.parse import parse_qsl, urlencode

from letsgo_queue.admin.base import QueueOptions, QueueStatus, check_limit
from letsgo_queue.admin.letters import (
    EVERY_LETTER,
    DeadLetter,
    DeadLetterFilter,
    LetterResult,
    Progress,
    dead_letter,
    without_failure,
)
from letsgo_queue.admin.sqlite_existing import ExistingQueue
from letsgo_queue.errors import DeadLettersLeft, SettingsInvalid
from letsgo_queue.files import exists
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.sqlite_file import QueueFile
from letsgo_queue.transports.sqlite_rows import (
    COLUMNS,
    RowDamaged,
    StoredMessage,
    message_id_in,
    time_in,
)


class SqliteAdmin(ExistingQueue):
    """A queue in a SQLite file."""

    def status(self) -> QueueStatus:
        """Count its messages; see `QueueAdmin.status`."""
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

    def retention(self) -> None:
        """Return None: a message stays until it is handled; see `QueueAdmin.retention`."""

    def purge(self) -> int:
        """Remove every message but the dead letters; see `QueueAdmin.purge`."""
        with self._transaction("it was not purged") as connection:
            return connection.execute("DELETE FROM queue_messages").rowcount

    def dead_letters(
        self, *, only: DeadLetterFilter = EVERY_LETTER, limit: int | None = None
    ) -> Sequence[DeadLetter]:
        """Return the dead letters, in the order they were sent; see `QueueAdmin.dead_letters`."""
        check_limit(limit)
        with self._reading("its dead letters were not listed") as connection:
            chosen = self._chosen(connection, only)
            return [letter for _, letter in islice(chosen, limit)]

    def redrive(
        self,
        *,
        only: DeadLetterFilter = EVERY_LETTER,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Put dead letters back on the queue, in one transaction; see `QueueAdmin.redrive`.

        They keep their ids and the times at which they were sent. Damaged rows stay where they are.
        """
        return self._treat(self._move, f"moved to {self.url}", only, limit, progress)

    def delete(
        self,
        *,
        only: DeadLetterFilter = EVERY_LETTER,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Delete dead letters, in one transaction; see `QueueAdmin.delete`."""
        return self._treat(_delete, "deleted", only, limit, progress)

    def _treat(
        self,
        treat: Callable[[sqlite3.Connection, int], None],
        how: str,
        only: DeadLetterFilter,
        limit: int | None,
        progress: Progress | None,
    ) -> int:
        """Redrive or delete letters, and return how many."""
        check_limit(limit)
        results: list[LetterResult] = []
        done = 0
        with self._transaction(f"its dead letters were not {how.partition(' ')[0]}") as connection:
            for sequence, letter in self._chosen(connection, only):
                if done == limit:
                    break
                error = None
                try:
                    treat(connection, sequence)
                    done += 1
                except RowDamaged as damage:
                    error = damage
                results.append(
                    LetterResult(message_id=letter.message_id, type=letter.type, error=error)
                )
        if progress is not None:
            for result in results:
                progress(result)
        errors = {each.message_id: each.error for each in results if each.error is not None}
        if errors:
            raise DeadLettersLeft(
                f"{done} dead letters were {how}, {len(errors)} were not: "
                f"{next(iter(errors.values()))} Correct or delete such rows in the table "
                "queue_dead_letters.",
                done=done,
                errors=errors,
            )
        return done

    def _chosen(
        self, connection: sqlite3.Connection, only: DeadLetterFilter
    ) -> Iterator[tuple[int, DeadLetter]]:
        """Yield the letters that the filter chooses, each with the number of its row."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        rows = connection.execute(
            "SELECT sequence, message_id FROM queue_dead_letters ORDER BY sequence"
        ).fetchall()
        for sequence in [row["sequence"] for row in rows if only.may_name(message_id_in(row))]:
            row = connection.execute(
                f"SELECT sequence, dead_at, {COLUMNS} FROM queue_dead_letters WHERE sequence = ?",
                (sequence,),
            ).fetchone()
            if row is None:  # somebody redrove it meanwhile
                continue
            letter = _described(row)
            if only.matches(letter, now):
                yield sequence, letter

    def _move(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Move a dead letter to the queue.

        Raises:
            RowDamaged: The row is damaged, and would become a dead letter again at once.
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
        _delete(connection, sequence)


def _delete(connection: sqlite3.Connection, sequence: int) -> None:
    connection.execute("DELETE FROM queue_dead_letters WHERE sequence = ?", (sequence,))


def _described(row: sqlite3.Row) -> DeadLetter:
    """Return a dead letter. For a damaged row, its reason is the damage."""
    try:
        message = StoredMessage.read(row)
    except RowDamaged as damage:
        message = StoredMessage.salvage(row, damage)
    received = ReceivedMessage(
        message_id=message.message_id,
        receipt_handle="",
        body=message.body,
        attributes=message.attributes,
        receive_count=message.receive_count,
        sent_at=message.sent_at,
        group_id=message.group_id,
    )
    return dead_letter(received, since=time_in(row["dead_at"]))


def create_sqlite_queue(
    url: str, options: QueueOptions, *, on_existing: Callable[[str], None] | None = None
) -> str:
    """Make the file of a queue. A file that is there already stays as it is.

    Args:
        url: `sqlite:///path`, with options as a query.
        options: They go into the URL, since a SQLite queue keeps its options there.
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
