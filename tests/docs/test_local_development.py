"""The how-to on working on a laptop: its files, run as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.docs.support import ROOT, write_blocks
from tests.letsgo_queue.support import wait_for

FILES = {"jobs.py", "send.py", "dead_letters.py"}
PAGE = "docs/how-to/local-development.md"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files in it; every one is run here."""
    assert write_blocks(PAGE, tmp_path) == FILES
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def python(*arguments: str, project: Path, environment: Mapping[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


@contextmanager
def working(
    project: Path, environment: Mapping[str, str], *options: str, log: str
) -> Iterator[Path]:
    """A worker as the page starts one; gives what it writes, printed and logged."""
    path = project / log
    with (
        path.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "letsgo_queue.cli.app", "worker", "jobs:worker", *options],
            cwd=project,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as worker,
    ):
        try:
            yield path
            worker.terminate()
            assert worker.wait(30) == 0
        finally:
            worker.kill()


def invoices(*logs: Path) -> set[str]:
    """What was handled; on a slow machine one may be handled twice, as on SQS."""
    text = "".join(log.read_text() for log in logs)
    # Not by lines: what is logged may come before a line's end.
    return set(re.findall(r"invoice \d+ has \d+ lines", text))


EXPECTED = {"invoice 1 has 1 lines", "invoice 2 has 100000 lines", "invoice 3 has 1 lines"}


def test_on_sqlite_with_two_workers(project: Path) -> None:
    (setting,) = re.findall(r"export LETSGO_QUEUE_URL='(.*)'", (ROOT / PAGE).read_text())
    environment = {**os.environ, "LETSGO_QUEUE_URL": setting}
    python("send.py", project=project, environment=environment)

    with ExitStack() as workers:
        logs = [
            workers.enter_context(working(project, environment, log=f"worker-{n}.log"))
            for n in range(2)
        ]
        wait_for(lambda: invoices(*logs) == EXPECTED, "the invoices")
        dead = wait_for(
            lambda: python("dead_letters.py", project=project, environment=environment),
            "the dead letter",
        )

    assert dead == '2 {"type":"invoice:new","payload":{"number":"4","lines":[]}}\n'
    assert "an invoice without lines" in "".join(log.read_text() for log in logs)
    assert [path.name for path in project.glob("*.db")] == ["work.db"]


def test_in_local_mode(project: Path) -> None:
    with working(project, os.environ, "--local", "--port", "0", log="worker.log") as log:
        started = wait_for(
            lambda: re.findall(r"worker running on (http://\S+)\n", log.read_text()),
            "the worker",
        )
        environment = {**os.environ, "LETSGO_LOCAL_QUEUE_URL": started[0]}
        python("send.py", project=project, environment=environment)
        wait_for(lambda: invoices(log) == EXPECTED, "the invoices")
        wait_for(lambda: "is dropped" in log.read_text(), "the one that fails")

    assert "an invoice without lines" in log.read_text()
    assert not list(project.glob("*.db"))
