"""The how-to on working on a laptop: its files, run as a reader would run them."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.support import Reader, address_in, commands, write_blocks
from tests.support.waiting import wait_for

PAGE = "docs/how-to/local-development.md"
EXPORT, SEND, WORK, LIST, _, WORK_LOCALLY = commands(PAGE)[:6]
EXPECTED = {"invoice 1 has 1 lines", "invoice 2 has 100000 lines", "invoice 3 has 1 lines"}


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks(PAGE, tmp_path) == {"jobs.py", "send.py"}
    # So that invoice 2 is stored, though it compresses well.
    settings = {"CLAIMCHECK_INLINE_LIMIT": "1000", "XDG_STATE_HOME": str(tmp_path / "state")}
    return Reader(tmp_path, **settings)


def test_on_sqlite_with_two_workers(reader: Reader) -> None:
    name, _, value = EXPORT.removeprefix("export ").partition("=")
    reader.settings[name] = value
    reader.type(SEND)

    with ExitStack() as workers:
        logs = [workers.enter_context(reader.leave_running(WORK)) for _ in range(2)]
        wait_for(lambda: invoices(*logs) == EXPECTED, "the invoices")
        wait_for(lambda: reader.type(LIST), "the dead letter")

    assert "failed in delivery 2, max_attempts=2: ValueError" in reader.type(LIST)
    assert "an invoice without lines" in "".join(log.read_text() for log in logs)
    assert [path.name for path in reader.folder.glob("*.db")] == ["work.db"]


def test_in_local_mode(reader: Reader) -> None:
    command = WORK_LOCALLY.partition("#")[0].strip()
    with reader.leave_running(f"{command} --port 0") as log:
        reader.settings["LETSGO_LOCAL_QUEUE_URL"] = address_in(log)
        reader.type(SEND)
        wait_for(lambda: invoices(log) == EXPECTED, "the invoices")
        wait_for(lambda: "is dropped" in log.read_text(), "the one that fails")

    assert "an invoice without lines" in log.read_text()
    assert not list(reader.folder.glob("*.db"))
    assert list(reader.folder.glob("state/*/claims.db"))


def invoices(*logs: Path) -> set[str]:
    """The invoices that were handled; what is logged may come before a line's end."""
    text = "".join(log.read_text() for log in logs)
    return set(re.findall(r"invoice \d+ has \d+ lines", text))
