"""The README's code blocks, run as a reader would run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.support import write_blocks

FILES = {"orders.py", "send.py", "work.py", "watch.py", "configured.py"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the README's files in it; every one is run here."""
    assert write_blocks("README.md", tmp_path) == FILES
    return tmp_path


@pytest.fixture
def environment(project: Path) -> Mapping[str, str]:
    """The README's setting for a laptop."""
    return {**os.environ, "LETSGO_QUEUE_URL": "sqlite:///work.db"}


def test_what_is_sent_is_received(project: Path, environment: Mapping[str, str]) -> None:
    sent = subprocess.run(
        [sys.executable, "send.py"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    route, size, sent_size = sent.stdout.split()
    assert route == "compressed"
    assert int(sent_size) < 250_000 < int(size)

    with subprocess.Popen(
        [sys.executable, "work.py"], cwd=project, env=environment, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        lines = [worker.stdout.readline().strip() for _ in range(2)]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0
    # Both may be due by the time that the worker has started.
    assert sorted(lines) == ["order 42 has 10000 lines", "order 43 has 0 lines"]


def test_the_worker_command_runs_the_same_worker(
    project: Path, environment: Mapping[str, str]
) -> None:
    subprocess.run([sys.executable, "send.py"], cwd=project, env=environment, check=True)
    worker = subprocess.run(
        [sys.executable, "-m", "letsgo_queue.cli.app", "worker", "work:worker", "--burst"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "order 42 has 10000 lines" in worker.stdout


def test_what_is_configured_in_code_works(project: Path, environment: Mapping[str, str]) -> None:
    configured = subprocess.run(
        [sys.executable, "configured.py"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert configured.stdout.split() == ["150000"]
    assert [path.name for path in project.glob("*.db")] == ["queue.db"]


def test_a_listener_sees_the_route(project: Path, environment: Mapping[str, str]) -> None:
    watched = subprocess.run(
        [sys.executable, "watch.py"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    message_type, route, size, *_ = watched.stdout.split()
    assert (message_type, route, int(size)) == ("report:ready", "compressed", 1_000_036)
