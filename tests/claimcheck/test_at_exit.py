"""Sending from `atexit`, when the interpreter starts no threads any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import Client, Worker
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer

SIZE = 2_500_000
"""Bytes of a payload: over what any queue takes, and several parts where it is stored."""

PROGRAM = """
import asyncio, atexit, sys
from letsgo_queue import aenqueue, aenqueue_many, enqueue, enqueue_many
import claimcheck

sys.path.insert(0, sys.argv[1])
from tests.claimcheck.support import noise

claimcheck.install()
large = [{"type": "a:b", "payload": noise(int(sys.argv[2]), seed)} for seed in range(6)]

def at_exit():
    enqueue(large[0])
    assert len(enqueue_many(large[1:3])) == 2
    asyncio.run(aenqueue(large[3]))
    assert len(asyncio.run(aenqueue_many(large[4:]))) == 2
    print("sent")

if len(sys.argv) > 3:
    asyncio.run(aenqueue({"type": "a:b", "payload": "before"}))  # so that its thread is there
atexit.register(at_exit)
"""

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["embedded", "aws"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url, store = f"sqlite:///{tmp_path}/queue.db", f"sqlite:///{tmp_path}/claims.db"
    if request.param == "aws":
        server: AwsServer = request.getfixturevalue("ministack")
        url, store = server.make_queue(), f"dynamodb://{server.make_table_name()}"
        ClaimTable(store.rpartition("/")[2], region=server.region).create()
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_STORE", store)
    return url


@pytest.mark.parametrize("before", [[], ["threads"]])
def test_large_messages_are_sent_at_exit(url: str, before: list[str]) -> None:
    arguments = [str(ROOT), str(SIZE), *before]
    sent = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (sent.returncode, sent.stdout, sent.stderr) == (0, "sent\n", "")
    handled: list[str] = []
    client = Client(url, middleware=[ClaimCheckMiddleware()])
    worker = Worker(client=client, concurrency=1)

    @worker.handler("a:b")
    def handle(message: dict[str, Any]) -> None:
        handled.append(message["payload"])

    worker.run(burst=True)
    expected = {noise(SIZE, seed) for seed in range(6)} | ({"before"} if before else set())
    assert len(handled) == len(expected)
    assert set(handled) == expected
    client.close()
