"""docs/infrastructure/systemd: systemd reads the unit, and its command runs here."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from letsgo_queue import Client
from letsgo_queue.worker.processes import ENDING_SECONDS
from tests.docs.infrastructure.support import INFRASTRUCTURE, free_port, in_process, option

UNIT = INFRASTRUCTURE / "systemd/shop-worker.service"
EXPOSURE = 25
"""In tenths, as systemd counts what a service may do: 100 for one with no limits."""


@pytest.fixture
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its manual says
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def test_the_command_handles_messages(service: configparser.SectionProxy, tmp_path: Path) -> None:
    for path in (INFRASTRUCTURE / "container/app").glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    client = Client(f"sqlite:///{tmp_path}/work.db")
    client.enqueue({"type": "order:new", "payload": {"order_id": "1", "lines": []}})
    client.close()
    program, *arguments = shlex.split(service["ExecStart"])
    assert program == f"{service['WorkingDirectory']}/venv/bin/letsgo-queue"

    done = subprocess.run(
        [
            *in_process(["letsgo-queue", *arguments, "--burst"]),
            *("--processes", "1", "--health-port", str(free_port())),
        ],
        cwd=tmp_path,
        env={"LETSGO_QUEUE_URL": f"sqlite:///{tmp_path}/work.db", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "order 1 has 0 lines\n"), done.stderr


def test_systemd_waits_until_the_worker_has_ended(service: configparser.SectionProxy) -> None:
    drain = option(shlex.split(service["ExecStart"]), "--drain-timeout")
    assert drain + ENDING_SECONDS < float(service["TimeoutStopSec"])


def test_systemd_knows_all_of_it(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here")
    unit = tmp_path / UNIT.name
    # The program must be there.
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))

    for command in (
        ["verify", "--man=no", str(unit)],
        ["security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit)],
    ):
        done = subprocess.run(
            [analyze, *command],
            env={**os.environ, "SYSTEMD_COLORS": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert unit.name not in done.stderr  # where it tells what it ignores
