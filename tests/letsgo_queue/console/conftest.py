"""A console on a queue in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from letsgo_queue import Client, Reject, RetryPolicy, Worker
from letsgo_queue.console.extension import ConsoleOptions
from letsgo_queue.console.site import make_site
from letsgo_queue.settings import QueueSettings

HOST = "127.0.0.1:3003"
TOKEN = "a-token"

OpenConsole = Callable[..., TestClient]


class NoStockError(Exception):
    """What handlers in these tests raise."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/work.db"


@pytest.fixture
def open_console(url: str) -> Iterator[OpenConsole]:
    """Opens a console and signs in."""
    with ExitStack() as consoles:

        def open_one(*queues: str, read_only: bool = False) -> TestClient:
            site = make_site(
                ConsoleOptions(queues=queues or [url], read_only=read_only),
                QueueSettings(),
                token=TOKEN,
                hosts=[HOST],
                extensions=[],
            )
            client = consoles.enter_context(
                TestClient(site, base_url=f"http://{HOST}", headers={"origin": f"http://{HOST}"})
            )
            client.get("/", params={"token": TOKEN})
            return client

        yield open_one


def make_dead_letters(url: str, count: int) -> None:
    """Have messages fail: of each three, one is rejected, and the others raise an error."""
    with_queue = Client(url)
    with_queue.enqueue_many(
        [{"type": f"order:{number % 3}", "payload": {"number": number}} for number in range(count)]
    )
    worker = Worker(
        client=with_queue, retry_policy=RetryPolicy(base=0, cap=0, max_attempts=1), wait_seconds=0
    )

    @worker.handler("order:0")
    def reject(message: dict[str, object]) -> None:
        raise Reject("no such customer")

    @worker.default
    def fail(message: dict[str, object]) -> None:
        raise NoStockError("a secret")

    worker.run(burst=True)
    with_queue.close()
