"""docs/how-to/dead-letters.md, followed from its first command to its last."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsgo_queue.admin import QueueStatus
from letsgo_queue.admin.sqlite import SqliteAdmin
from tests.docs.support import commands, install_commands, write_blocks
from tests.letsgo_queue.support import wait_for
from tests.support.servers import AwsServer

PAGE = "docs/how-to/dead-letters.md"
CREATE, EXPORT, *REST = commands(PAGE)


class Reader:
    """Types the page's commands into a shell, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        assert write_blocks(PAGE, folder) == {"orders.py", "redrive.py"}
        install_commands(folder / "bin")
        self._folder = folder

    def start(self, command: str) -> subprocess.Popen[str]:
        path = os.pathsep.join((str(self._folder / "bin"), os.environ["PATH"]))
        return subprocess.Popen(
            ["sh", "-c", command],
            cwd=self._folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, command: str, *, code: int = 0) -> str:
        with self.start(command) as process:
            output, errors = process.communicate(timeout=60)
        assert process.returncode == code, f"{command}\n{errors}"
        return output


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


@pytest.fixture
def name(ministack: AwsServer) -> Iterator[str]:
    yield "letsgo-orders"
    for url in ministack.sqs().list_queues(QueueNamePrefix="letsgo-orders").get("QueueUrls", []):
        ministack.sqs().delete_queue(QueueUrl=url)


def test_queues_are_made_on_sqs(reader: Reader, name: str) -> None:
    url = reader.type(CREATE).strip()

    assert url.endswith(f"/{name}")
    status = json.loads(reader.type(f"letsgo-queue queue status --json --queue {url}"))
    assert status["dead"] == 0


@pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
def test_one_letter_is_followed(reader: Reader, tmp_path: Path) -> None:
    create, enqueue, work, status, alarm, listing, body, show, redrive_one, redrive = REST

    def type(command: str, code: int = 0) -> str:
        return reader.type(f"{EXPORT}; {command}", code=code)

    assert "sqlite:///work.db" in type(create)
    message_id = type(enqueue).strip()
    admin = SqliteAdmin(f"sqlite:///{tmp_path}/work.db")
    with reader.start(f"{EXPORT}; exec {work}") as worker:
        wait_for(lambda: admin.status() == QueueStatus(0, 0, 0, 1), "the dead letter")
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert message_id in log

    assert "dead       1" in type(status)
    assert json.loads(type(alarm, code=3))["dead"] == 1
    assert message_id in type(listing)
    assert json.loads(type(body)) == {"type": "order:new", "payload": {"lines": []}}
    assert "inline" in type(show)

    assert "1 dead letter moved" in type(redrive_one)
    assert "0 dead letters moved" in type(redrive)
    assert admin.status() == QueueStatus(1, 0, 0, 0)
    admin.close()


def test_the_code_redrives(reader: Reader, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/work.db?max_receive_count=1&visibility_timeout=0"
    export = f"export LETSGO_QUEUE_URL='{url}'"
    reader.type(f"{export}; letsgo-queue enqueue --type order:new --payload '{{\"lines\": []}}'")
    with reader.start(f"{export}; exec letsgo-queue worker orders:worker") as worker:
        admin = SqliteAdmin(url)
        wait_for(lambda: admin.status().dead == 1, "the dead letter")
        admin.close()
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)

    printed = reader.type(f"{export}; {sys.executable} redrive.py")

    expected = "QueueStatus(waiting=1, in_flight=0, delayed=0, dead=0)"
    assert printed.splitlines() == ["moved 1", f"1 {expected}"]
