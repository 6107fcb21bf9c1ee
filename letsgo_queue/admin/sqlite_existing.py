"""Opens a SQLite queue only if its file exists: a mistyped path must not make a new queue."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from letsgo_queue.errors import QueueNotFound
from letsgo_queue.files import exists
from letsgo_queue.transports.sqlite_file import QueueFile


class ExistingQueue:
    """The existing file of a queue, for code that administers or watches it."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """Name the file, without opening it yet.

        Args:
            url: `sqlite:///path`, with options as a query.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: The URL has no path, or an option is unknown or out of range.
        """
        self._file = QueueFile(url)
        self._clock = clock

    @property
    def url(self) -> str:
        """The URL that names the queue."""
        return self._file.url

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _reading(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement; see `SqliteFile.reading`.

        Args:
            consequence: What an error of SQLite prevents.
        """
        self._check_file()
        with (
            self._file.available(f"queue {self.url}: {consequence}"),
            self._file.reading() as connection,
        ):
            yield connection

    @contextmanager
    def _transaction(self, consequence: str) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction."""
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
