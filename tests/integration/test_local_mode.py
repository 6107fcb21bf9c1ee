"""LetsGo's local mode, whole: a worker's process, small and large messages, only receipts left."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import claimcheck
from letsgo_queue import SendFailed

pytestmark = pytest.mark.usefixtures("own_default_client")

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 30

WORKER = """
import hashlib, json
from claimcheck import unwrap_claim_check
from letsgo_queue import Delivery, Worker

worker = Worker()


@worker.default
@unwrap_claim_check
def on_message(message: dict, delivery: Delivery) -> None:
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
    digest = hashlib.sha256(body).hexdigest()
    print(json.dumps([delivery.message_id, len(body), digest]), flush=True)


worker.serve(port=0, on_ready=lambda url: print(url, flush=True))
"""


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of this user's claims."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "letsgo-claimcheck" / "claims.db"


@contextmanager
def worker_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    script = folder / "local_worker.py"
    script.write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def large() -> dict[str, str]:
    """4 MB that compress to over 1 MiB, so that they do not travel themselves."""
    digests = (hashlib.sha512(str(n).encode()).hexdigest() for n in range(31_250))
    return {"type": "order:new", "payload": "".join(digests)}


def left_in(claims: Path) -> tuple[int, list[str]]:
    """How many parts are in the file, and the states of its records."""
    with closing(sqlite3.connect(claims)) as connection:
        (parts,) = connection.execute("SELECT count(*) FROM claim_parts").fetchone()
        states = connection.execute("SELECT state FROM claim_records").fetchall()
    return parts, [state for (state,) in states]


def test_messages_of_any_size_arrive_byte_for_byte(
    claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"type": "order:new", "payload": {"order_id": "42", "note": "Grüße 🎉 a gift"}}

    with worker_process(tmp_path) as worker:
        assert worker.stdout
        url = worker.stdout.readline().strip()
        # Another name than the worker has for itself.
        monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", url.replace("127.0.0.1", "localhost") + "/")

        for message, size, route in ((small, 77, "inline"), (large(), 4_000_033, "stored")):
            body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
            sent = claimcheck.enqueue(message)
            arrived = json.loads(worker.stdout.readline())

            assert (sent.size, sent.route) == (size, route)
            assert arrived == [sent.message_id, size, hashlib.sha256(body).hexdigest()]

        worker.send_signal(signal.SIGTERM)
        assert worker.wait(WAIT_SECONDS) == 0

    assert left_in(claims) == (0, ["done"])


def test_a_claim_that_was_not_sent_is_removed(
    claims: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SendFailed, match="--local"):
        claimcheck.enqueue(large(), queue="http://127.0.0.1:1")

    assert left_in(claims) == (0, [])
