"""`SqliteFile`: the file that the SQLite queue and the SQLite claim store stand on."""

from __future__ import annotations

import gc
import linecache
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.sqlite import Schema, SqliteFile, is_retryable
from tests.support.waiting import wait_for

NOTES = Schema("notes_schema", 1, "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL);")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
def file(path: Path) -> Iterator[SqliteFile]:
    with closing(SqliteFile(path, NOTES, user="the notes")) as file:
        yield file


def note(file: SqliteFile, text: str) -> None:
    with file.transaction() as connection:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))


def notes(file: SqliteFile) -> list[str]:
    with file.reading() as connection:
        return [row["text"] for row in connection.execute("SELECT text FROM notes")]


def test_the_file_is_made_when_it_is_used(file: SqliteFile, path: Path) -> None:
    assert not path.exists()

    note(file, "made")

    assert path.exists()
    assert notes(file) == ["made"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_nobody_else_can_read_what_it_writes(file: SqliteFile, path: Path) -> None:
    before = os.umask(0)
    try:
        note(file, "a payload")
    finally:
        os.umask(before)

    written = {each.name: oct(each.stat().st_mode & 0o777) for each in path.parent.iterdir()}
    assert written == dict.fromkeys(["notes.db", "notes.db-wal", "notes.db-shm"], "0o600")


def test_a_path_that_no_file_can_have_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="the notes: a path has no NUL character"):
        SqliteFile(tmp_path / "a\0b", NOTES, user="the notes")
    with (
        closing(SqliteFile(tmp_path / ("x" * 5_000), NOTES, user="the notes")) as file,
        pytest.raises(sqlite3.Error) as caught,
    ):
        note(file, "made")
    assert "unable to open" in file.explain(caught.value)


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(SqliteFile("notes.db", NOTES, user="the notes")) as file:
        monkeypatch.chdir("/")
        note(file, "made")

    assert file.path == tmp_path / "notes.db"
    assert file.path.exists()


def test_what_was_committed_survives_a_power_cut(file: SqliteFile) -> None:
    with file.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_reader_does_not_wait_for_a_writer(file: SqliteFile, path: Path) -> None:
    note(file, "committed")
    with closing(SqliteFile(path, NOTES, user="another")) as other, other.transaction() as writing:
        writing.execute("INSERT INTO notes VALUES ('not yet')")

        assert notes(file) == ["committed"]
    assert notes(file) == ["committed", "not yet"]


class Busy(sqlite3.Connection):
    """SQLite, as others open the same new file."""

    refusals = 3

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if "journal_mode" in sql and Busy.refusals:
            Busy.refusals -= 1
            refusal = sqlite3.OperationalError("database is locked")
            refusal.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise refusal
        return super().execute(sql, *values)


def test_several_open_a_new_file_at_once(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite refuses all but one, and does not wait."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Busy))

    with file.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"

    assert Busy.refusals == 0


def test_two_users_have_tables_of_their_own(file: SqliteFile, path: Path) -> None:
    note(file, "here")
    other = Schema("other_schema", 7, "CREATE TABLE IF NOT EXISTS other (number INTEGER);")

    with closing(SqliteFile(path, other, user="another")) as another:
        with another.transaction() as connection:
            connection.execute("INSERT INTO other VALUES (1)")
        assert notes(file) == ["here"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, sqlite3.OperationalError])
def test_what_raises_is_undone(file: SqliteFile, error: type[BaseException]) -> None:
    with pytest.raises(error), file.transaction() as connection:  # noqa: PT012
        connection.execute("INSERT INTO notes VALUES ('half')")
        raise error

    note(file, "whole")
    assert notes(file) == ["whole"]


def test_a_commit_that_fails_is_undone(file: SqliteFile) -> None:
    with file.transaction() as connection:
        connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
        )
    with file.reading() as connection:
        connection.execute("PRAGMA foreign_keys = ON")

    with pytest.raises(sqlite3.IntegrityError), file.transaction() as connection:
        connection.execute("INSERT INTO children VALUES (1)")

    note(file, "whole")
    assert notes(file) == ["whole"]


def test_an_interruption_while_it_waits_for_a_writer_leaves_no_transaction(
    file: SqliteFile, path: Path
) -> None:
    """The interruption is raised when BEGIN returns, and by then the transaction has begun."""
    note(file, "first")
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    here = threading.get_ident()

    def waits() -> bool:
        frame = sys._current_frames()[here]
        return "execute(begin)" in linecache.getline(frame.f_code.co_filename, frame.f_lineno)

    def interrupt_and_let_go() -> None:
        wait_for(waits, "the transaction to wait")
        os.kill(os.getpid(), signal.SIGINT)
        writer.rollback()
        writer.close()

    other = threading.Thread(target=interrupt_and_let_go)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        note(file, "interrupted")
    other.join()

    with closing(SqliteFile(path, NOTES, user="another")) as another:
        note(another, "second")
    assert notes(file) == ["first", "second"]


def test_a_newer_schema_is_left_alone(file: SqliteFile, path: Path) -> None:
    note(file, "kept")
    file.close()
    newer = Schema("notes_schema", 2, "DROP TABLE notes;")

    with (
        closing(SqliteFile(path, newer, user="the newer notes")) as other,
        pytest.raises(
            SettingsInvalid,
            match=r"^the newer notes: the file has schema 1, this version reads 2\. Upgrade",
        ),
    ):
        note(other, "lost")
    assert notes(file) == ["kept"]


def test_a_file_that_was_closed_is_opened_again(file: SqliteFile, path: Path) -> None:
    note(file, "first")
    file.close()
    file.close()
    assert not path.with_name("notes.db-wal").exists()  # which the last connection removes

    note(file, "second")

    assert notes(file) == ["first", "second"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed")
@pytest.mark.parametrize("others_wrote", [False, True])
def test_a_file_that_was_removed_is_made_anew(
    file: SqliteFile, path: Path, caplog: pytest.LogCaptureFixture, *, others_wrote: bool
) -> None:
    """Else a worker would wait for ever for messages that others send to the new file."""
    note(file, "gone")
    for each in path.parent.iterdir():
        each.unlink()

    with closing(SqliteFile(path, NOTES, user="the notes")) as other:
        if others_wrote:
            note(other, "theirs")
        note(file, "ours")
        assert notes(other) == [*(["theirs"] if others_wrote else []), "ours"]
        note(other, "more")
        assert notes(file) == notes(other)

    assert caplog.text.count(f"{path} was removed or replaced, and is opened anew") == 1


def test_a_file_that_nobody_closed_is_closed_with_its_user(path: Path) -> None:
    file = SqliteFile(path, NOTES, user="the notes")
    note(file, "first")
    assert path.with_name("notes.db-wal").exists()

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Python 3.13 warns of a connection that is not closed
        del file
        gc.collect()

    assert not path.with_name("notes.db-wal").exists()


def test_a_file_that_nobody_closed_is_closed_with_the_program(path: Path) -> None:
    script = (
        "from letsgo_queue.sqlite import Schema, SqliteFile\n"
        f"file = SqliteFile({str(path)!r}, Schema('s', 1, ''), user='the notes')\n"
        "with file.transaction(): pass\n"
    )

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True
    )

    assert ended.stderr == ""
    assert not path.with_name("notes.db-wal").exists()


@pytest.mark.parametrize(
    ("make", "text", "retryable"),
    [
        (lambda path: path.write_bytes(b"no database" * 100), "is a SQLite database", False),
        (lambda path: path.mkdir(), "Check that the file can be written", False),
    ],
)
def test_says_what_is_wrong(
    file: SqliteFile, path: Path, make: object, text: str, retryable: bool
) -> None:
    assert callable(make)
    make(path)

    with pytest.raises(sqlite3.Error) as error:
        note(file, "lost")

    assert text in file.explain(error.value)
    assert str(path) in file.explain(error.value)
    assert is_retryable(error.value) is retryable


def test_says_that_the_folder_is_missing(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "missing" / "notes.db", NOTES, user="the notes")

    with pytest.raises(sqlite3.Error) as error:
        note(file, "lost")

    assert file.explain(error.value) == (
        f"the folder of {file.path} does not exist. Make it, or correct the path."
    )
    assert not is_retryable(error.value)


def test_what_is_locked_may_be_tried_again(
    path: Path, file: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letsgo_queue.sqlite.BUSY_TIMEOUT_SECONDS", 0)
    note(file, "first")
    with closing(SqliteFile(path, NOTES, user="another")) as other, other.transaction():
        with pytest.raises(sqlite3.OperationalError) as error:
            note(file, "second")
        assert is_retryable(error.value)
