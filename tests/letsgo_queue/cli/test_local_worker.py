"""`letsgo-queue worker --local`: LetsGo's local mode from the command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.letsgo_queue.local_http.support import ask
from tests.support.command import run

WORKER = """
from letsgo_queue import Worker

worker = Worker()

@worker.handler("greet")
def greet(message: dict) -> None:
    print("hello", message["payload"], flush=True)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(WORKER)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "variables", "status_in_container"),
    [
        (["--host", "127.0.0.1", "--port", "0", "--allowed-host", "worker"], {"PORT": "1"}, 201),
        ([], {"PORT": "0"}, 403),
    ],
)
def test_handles_what_the_other_command_sends(
    project: Path, options: list[str], variables: dict[str, str], status_in_container: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "letsgo_queue.cli.app", "worker", "work", "--local", *options],
        cwd=project,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout
        assert worker.stderr
        try:
            started = worker.stderr.readline()
            found = re.search(r"worker running on (http://127\.0\.0\.1:\d+)$", started.strip())
            assert found, started
            arguments = ("--type", "greet", "--payload", '"Ada"', "--queue", found[1])
            sent = run("letsgo-queue", "enqueue", *arguments, cwd=project)
            assert sent.returncode == 0, sent.stderr
            assert worker.stdout.readline() == "hello Ada\n"
            in_container = ask(found[1], b"{}", headers={"Host": "worker:3002"})
            assert in_container[0] == status_in_container
            worker.send_signal(signal.SIGINT)
            assert worker.wait(30) == 0
        finally:
            worker.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "work", "--local", "--burst"), "--local has none"),
        (("worker", "work", "--local", "--port", "70000"), "port=70000"),
        (("worker", "work", "--local", "--host", "203.0.113.1", "--port", "0"), "203.0.113.1"),
        (("worker", "work", "--local", "--allowed-host", "worker:80"), "host 'worker:80'"),
        (("enqueue", "--type", "greet", "--queue", "http://127.0.0.1:1"), "--local"),
    ],
)
def test_a_mistake_is_one_clear_line(project: Path, arguments: tuple[str, ...], said: str) -> None:
    tried = run("letsgo-queue", *arguments, cwd=project)

    assert tried.returncode == 1
    assert said in tried.stderr
    assert "Traceback" not in tried.stderr
