"""A large message that dies: its claim waits for it, and opens when the message is redriven."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from claimcheck import ClaimCheck, ClaimCheckMiddleware, ClaimStore, open_store
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import Client, QueueSettings, RetryPolicy, Worker
from letsgo_queue.admin import QueueOptions, QueueStatus, create_queue, open_admin
from tests.claimcheck.support import noise
from tests.letsgo_queue.admin.support import make_sqs_queue
from tests.letsgo_queue.support import order, running
from tests.support.command import run
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

PAYLOAD = noise(4_000_000)

AT_ONCE = RetryPolicy(base=0, cap=0)


def die_and_come_back(url: str, store: ClaimStore, folder: Path) -> None:
    """Enqueue 4 MB, let its handler fail until it is dead, redrive it by command, handle it."""
    middleware = ClaimCheckMiddleware(ClaimCheck(store))
    client = Client(url, middleware=[middleware])
    opened: list[int] = []
    broken = True

    def on_order(message: dict[str, Any]) -> None:
        opened.append(len(message["payload"]["text"]))
        if broken:
            raise RuntimeError("this handler has a bug")

    def worker_with(handler: Callable[[dict[str, Any]], None]) -> Worker:
        worker = Worker(
            client=client, middleware=[middleware], wait_seconds=1, retry_policy=AT_ONCE
        )
        worker.handler("order:new")(handler)
        return worker

    client.enqueue(order(text=PAYLOAD))
    with closing(open_admin(url, QueueSettings())) as admin:
        with running(worker_with(on_order)):
            wait_for(lambda: admin.status() == QueueStatus(0, 0, 0, 1), "the dead letter")
        (letter,) = admin.dead_letters()
        assert letter.type == "order:new"
        assert letter.size < 1_000

        broken = False
        moved = run("letsgo-queue", "dead-letter", "redrive", "--queue", url, cwd=folder)

        assert moved.returncode == 0, moved.stderr
        assert "1 dead letter moved" in moved.stdout
        with running(worker_with(on_order)):
            wait_for(lambda: admin.status() == QueueStatus(0, 0, 0, 0), "the handler")
    assert opened == [len(PAYLOAD)] * 2
    client.close()
    store.close()


def test_on_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    url = create_queue(f"sqlite:///{path}", QueueSettings(), QueueOptions(max_receive_count=1))

    die_and_come_back(url, open_store(f"sqlite:///{path}"), tmp_path)

    with closing(sqlite3.connect(path)) as connection:
        for table in ("queue_messages", "queue_dead_letters", "claim_contents", "claim_parts"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert connection.execute("SELECT state FROM claim_records").fetchall() == [("done",)]


def test_on_sqs_and_dynamodb(ministack: AwsServer, tmp_path: Path) -> None:
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    url = make_sqs_queue(ministack)

    die_and_come_back(url, open_store(f"dynamodb://{table}", region=ministack.region), tmp_path)

    left = ministack.dynamodb().scan(TableName=table, ConsistentRead=True)["Items"]
    assert [item["state"]["S"] for item in left] == ["done"]
