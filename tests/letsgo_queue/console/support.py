"""What the tests of the console share: a client that has signed in, and dead letters."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from html import unescape

from starlette.testclient import TestClient

from letsgo_queue import Client, Reject, RetryPolicy, Worker
from letsgo_queue.console.extension import ConsoleOptions, Extension
from letsgo_queue.console.site import make_site
from letsgo_queue.settings import QueueSettings
from tests.support.waiting import wait_for

HOST = "127.0.0.1:3003"
TOKEN = "a-token"


class NoStockError(Exception):
    """What handlers in these tests raise."""


@contextmanager
def signed_in(
    options: ConsoleOptions, extensions: Sequence[Extension] | None = None
) -> Iterator[TestClient]:
    """A console, and somebody who has signed in there.

    Args:
        options: What it is started with.
        extensions: What other packages add; by default those that are installed.
    """
    site = make_site(options, QueueSettings(), token=TOKEN, hosts=[HOST], extensions=extensions)
    headers = {"origin": f"http://{HOST}"}
    with TestClient(site, base_url=f"http://{HOST}", headers=headers) as client:
        client.get("/", params={"token": TOKEN})
        yield client


def make_dead_letters(url: str, count: int) -> None:
    """Have messages fail one after the other: of each three, one is rejected, the others raise."""
    with_queue = Client(url)
    with_queue.enqueue_many(
        [{"type": f"order:{number % 3}", "payload": {"number": number}} for number in range(count)]
    )
    worker = Worker(
        client=with_queue,
        concurrency=1,
        retry_policy=RetryPolicy(base=0, cap=0, max_attempts=1),
        wait_seconds=0,
    )

    @worker.handler("order:0")
    def reject(message: dict[str, object]) -> None:
        raise Reject("no such customer")

    @worker.default
    def fail(message: dict[str, object]) -> None:
        raise NoStockError("a secret")

    worker.run(burst=True)
    with_queue.close()


def store_rows(url: str, ids: Sequence[str], body: str) -> None:
    """Write messages and dead letters into a file, whatever their ids and their body."""
    client = Client(url)
    client.enqueue({"type": "first"})
    client.close()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DELETE FROM queue_messages")
        for each in ids:
            row = {"message_id": each, "body": body, "attributes": "{}", "sent_at": time.time()}
            dead = {**row, "receive_count": 1, "dead_at": time.time()}
            for table, values in (("queue_messages", row), ("queue_dead_letters", dead)):
                names = ",".join(values)
                places = ",".join(f":{name}" for name in values)
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)


def ids_in(text: str) -> list[str]:
    """The ids of the messages that a form would send."""
    return re.findall(r'name="id" value="([^"]+)"', text)


def query_in(text: str) -> str:
    """The filter that a form would send."""
    found = re.search(r'name="query" value="([^"]*)"', text)
    assert found
    return unescape(found[1])


def finished(console: TestClient, path: str) -> str:
    """The page of a work once it is over."""
    wait_for(lambda: "data-progress" not in console.get(path).text, "the work")
    return console.get(path).text
