"""A process ends while contents are removed in the background: it waits, but not for long."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.quick_python import quick_python
from tests.support.waiting import wait_for

COUNT = 3
ENDING_SECONDS = 60
SOURCE = Path(__file__).with_name("removing_worker.py")

COMMAND = ["-m", "letsgo_queue.cli.app", "worker", "removing_worker:worker"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where stored messages wait to be handled."""
    shutil.copy(SOURCE, tmp_path)
    sent = start(tmp_path, "-c", f"import removing_worker; removing_worker.send({COUNT})")
    assert sent.wait(ENDING_SECONDS) == 0
    assert contents_in(tmp_path) == COUNT
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    with (folder / "log").open("w") as log:
        return subprocess.Popen([*quick_python(), *arguments], cwd=folder, stderr=log, text=True)


def contents_in(folder: Path) -> int:
    """How many claims have contents."""
    return len([*(folder / "contents").iterdir()])


def receipts_in(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "claims.db")) as database:
        done = "SELECT count(*) FROM claim_records WHERE state = 'done'"
        return int(database.execute(done).fetchone()[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ["removing_worker.py", "work"],
        ["removing_worker.py", "fork"],
        ["removing_worker.py", "multiprocessing"],
        ["removing_worker.py", "consume"],
        [*COMMAND, "--burst"],
        [*COMMAND, "--burst", "--processes", "2"],
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_however_a_process_ends_its_removals_are_made(folder: Path, arguments: list[str]) -> None:
    assert start(folder, *arguments).wait(ENDING_SECONDS) == 0

    assert contents_in(folder) == 0
    assert "not removed" not in (folder / "log").read_text()


@pytest.mark.parametrize("options", [[], ["--processes", "2"], ["--max-messages", "1"]], ids=str)
def test_a_worker_that_is_stopped_or_recycled_makes_them(folder: Path, options: list[str]) -> None:
    worker = start(folder, *COMMAND, *options)
    wait_for(lambda: receipts_in(folder) == COUNT, "the messages to be handled")
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(ENDING_SECONDS) == 0
    assert contents_in(folder) == 0


@pytest.mark.parametrize("how", ["work", "consume"])
def test_a_store_that_does_not_answer_keeps_no_process_from_ending(folder: Path, how: str) -> None:
    (folder / "hang").touch()

    assert start(folder, "removing_worker.py", how).wait(ENDING_SECONDS) == 0

    assert contents_in(folder) == COUNT
    log = (folder / "log").read_text()
    assert f"the contents of {COUNT} claims are not removed yet" in log
    assert "Traceback" not in log
