"""Whoever writes to a queue writes neither to the log nor to the terminal."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from letsgo_queue import Client
from letsgo_queue.text import MAX_SHOWN
from tests.support.command import run, run_on_terminal

FORGED = "2026-01-01 00:00:00,000 INFO all is well"
HOSTILE = f"\x1b[2J\x9b31m\u202e\r\n{FORGED}\x7f"
ESCAPED = rf"\x1b[2J\x9b31m\u202e\r\n{FORGED}\x7f"
LONG = f"{HOSTILE}{'x' * 900_000}"
"""A type that a message of 1 MiB has room for."""

WORKER = """
from letsgo_queue import Reject, Worker

worker = Worker()

@worker.default
def handle(message: dict) -> None:
    {handle}
"""


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue with a message whose type, id and attribute somebody chose who means harm."""
    path = tmp_path / "work.db"
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{path}")
    with closing(Client()) as client:
        client.enqueue({"type": LONG, "payload": None}, attributes={"note": "x"})
    change(path, "UPDATE queue_messages SET message_id = ?", HOSTILE)
    attributes = json.dumps({HOSTILE: ["String", HOSTILE]})
    change(path, "UPDATE queue_messages SET attributes = ?", attributes)
    return path


def change(path: Path, statement: str, value: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, (value,))


def work(folder: Path, handle: str, *options: str) -> list[str]:
    """Have a worker fail to handle the message; the lines that it logs."""
    (folder / "work.py").write_text(WORKER.format(handle=handle))
    worked = run("letsgo-queue", "worker", "work", "--burst", *options, cwd=folder)
    assert worked.returncode == 0, worked.stderr
    return worked.stderr.split("\n")


@pytest.mark.parametrize(
    ("log_format", "handle"),
    [
        ("text", "raise Reject(message['type'])"),
        ("text", "raise ValueError(message['type'][:900])"),  # in a traceback
        ("json", "raise ValueError(message['type'][:900])"),
    ],
)
def test_in_the_log(tmp_path: Path, log_format: str, handle: str) -> None:
    lines = work(tmp_path, handle, "--log-format", log_format)

    assert any(ESCAPED.replace("\\", "\\\\" if log_format == "json" else "\\") in x for x in lines)
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith(FORGED) for line in lines)
    assert sum(map(len, lines)) < 20_000


def test_on_the_terminal(tmp_path: Path) -> None:
    work(tmp_path, "raise Reject(message['type'])")

    code, text = run_on_terminal("letsgo-queue", "dead-letter", "list", cwd=tmp_path)

    assert code == 0
    lines = text.split("\r\n")
    assert all(line.isprintable() for line in lines), text
    assert lines[1].startswith(f"{ESCAPED}  {ESCAPED}xxx")
    assert max(map(len, lines)) < 10 * MAX_SHOWN


def test_with_what_was_asked_for(tmp_path: Path) -> None:
    """The content is shown whole, and escaped."""
    work(tmp_path, "raise Reject('no')")

    shown = run("letsgo-queue", "dead-letter", "show", HOSTILE, "--payload", cwd=tmp_path)

    *_, attribute, _, body, end = shown.stdout.split("\n")
    assert (attribute, end) == (f"{'attribute':<16}{ESCAPED}: {ESCAPED}", "")
    assert body.isprintable()
    assert len(body) > len(LONG)


def test_for_programs_the_text_is_as_it_was(tmp_path: Path) -> None:
    work(tmp_path, "raise Reject('no')")

    listed = run("letsgo-queue", "dead-letter", "list", "--json", cwd=tmp_path)

    assert listed.stdout.removesuffix("\n").isprintable()
    (letter,) = json.loads(listed.stdout)
    assert (letter["message_id"], letter["type"]) == (HOSTILE, LONG)


def test_in_an_error_of_a_command(tmp_path: Path) -> None:
    named = run("letsgo-queue", "queue", "status", "--queue", f"ftp://{HOSTILE}", cwd=tmp_path)

    assert named.returncode == 1
    assert named.stderr.removesuffix("\n").isprintable()
    assert named.stderr.count("\n") == 1
