"""A worker and a client that ended leave nothing behind: no thread, no socket, no open file."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import Client, MessageHandled, Worker
from tests.letsgo_queue.support import events_of, order, serving
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

OPEN_FILES = Path("/proc/self/fd")
MESSAGES = 30

pytestmark = pytest.mark.skipif(not OPEN_FILES.exists(), reason="the system does not tell")


def in_use() -> set[object]:
    """The sockets and files that are open, and the threads."""
    found: set[object] = set(threading.enumerate())
    for entry in OPEN_FILES.iterdir():
        with suppress(FileNotFoundError):  # it was opened to look at the folder
            found.add(str(entry.readlink()))
    return found


def worker_of(client: Client) -> Worker:
    worker = Worker(client=client, wait_seconds=0)

    @worker.handler("sync")
    def on_sync(message: dict[str, Any]) -> None: ...

    @worker.handler("async")
    async def on_async(message: dict[str, Any]) -> None: ...

    return worker


def send(client: Client) -> None:
    for number in range(MESSAGES):
        client.enqueue({"type": "async" if number % 2 else "sync", "payload": number})


def handle_all(client: Client) -> None:
    worker = worker_of(client)
    events = events_of(worker)
    send(client)
    worker.run(burst=True)
    assert [type(event) for event in events] == [MessageHandled] * MESSAGES


def test_on_sqlite(tmp_path: Path) -> None:
    before = in_use()
    client = Client(f"sqlite:///{tmp_path}/queue.db")

    handle_all(client)
    left = in_use() - before
    assert not any(isinstance(each, threading.Thread) for each in left), "the worker has ended"
    client.close()

    assert in_use() - before == set()


def test_on_sqs(ministack: AwsServer) -> None:
    url = ministack.make_queue()
    before = in_use()
    client = Client(url)

    handle_all(client)
    client.close()

    assert in_use() - before == set()


def test_in_local_mode() -> None:
    before = in_use()
    client = Client()
    worker = worker_of(client)
    events = events_of(worker)
    with serving(worker) as url:
        sender = Client(url)
        send(sender)
        wait_for(lambda: len(events) == MESSAGES, "all to be handled")
    sender.close()

    assert in_use() - before == set()


def test_closed_client_can_be_used_again(tmp_path: Path) -> None:
    client = Client(f"sqlite:///{tmp_path}/queue.db")
    client.enqueue(order())
    client.close()

    client.enqueue(order())

    client.close()


NOT_CLOSED = """
import sys
from letsgo_queue import Client, Worker

client = Client(sys.argv[1])
worker = Worker(client=client, wait_seconds=0)

@worker.default
async def handle(message: dict) -> None:
    print("handled")

client.enqueue({"type": "any"})
worker.run(burst=True)
"""


def test_python_warns_of_nothing_where_nobody_closed(tmp_path: Path, ministack: AwsServer) -> None:
    for url in (f"sqlite:///{tmp_path}/queue.db", ministack.make_queue()):
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", NOT_CLOSED, url],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert ended.stdout == "handled\n"
        assert ended.stderr == ""
