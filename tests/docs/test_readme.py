"""The README's code blocks, run as a reader would run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.support import Reader, write_blocks
from tests.support.waiting import wait_for

FILES = {"orders.py", "send.py", "work.py", "configured.py"}


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """With the README's files, and its setting for a laptop."""
    assert write_blocks("README.md", tmp_path) == FILES
    return Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")


def test_what_is_sent_is_received(reader: Reader) -> None:
    route, size, sent_size = reader.type("python send.py").split()
    assert route == "compressed"
    assert int(sent_size) < 250_000 < int(size)

    with reader.leave_running("python work.py") as log:
        # Both may be due by the time that the worker has started.
        expected = ["order 42 has 10000 lines", "order 43 has 0 lines"]
        wait_for(lambda: sorted(log.read_text().splitlines()) == expected, "the orders")


def test_the_worker_command_runs_the_same_worker(reader: Reader) -> None:
    reader.type("python send.py")
    assert "order 42 has 10000 lines" in reader.type("letsgo-queue worker work:worker --burst")


def test_what_is_configured_in_code_works(reader: Reader) -> None:
    assert reader.type("python configured.py").split() == ["compressed", "150000"]
    assert {path.name for path in reader.folder.glob("*.db")} <= {"queue.db", "claims.db"}
