"""SQLite files that are busy, full, read-only or damaged: queue and store say so, and go on.

Both are in one file here, as they are beside an embedded queue.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from claimcheck import ClaimCheckMiddleware, ClaimStoreError
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import Client, LetsGoQueueError, Message, SendFailed, Worker
from letsgo_queue.errors import LetsGoError
from letsgo_queue.sqlite import BUSY_TIMEOUT_SECONDS
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.claimcheck.support import noise, small_claim_check
from tests.letsgo_queue.support import outgoing

PATIENCE_SECONDS = BUSY_TIMEOUT_SECONDS - 10
"""Whoever takes longer waits for a lock."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


class Both:
    """Queue and store in one file, and both ends of the queue."""

    def __init__(self, path: Path) -> None:
        self.transport = SqliteTransport(f"sqlite:///{path}")
        self.store = SqliteClaimStore(path)
        self.middleware = [ClaimCheckMiddleware(small_claim_check(self.store))]
        self.client = Client(self.transport, middleware=self.middleware)

    def enqueue(self, seed: int, size: int = 3_000) -> None:
        self.client.enqueue({"type": "work", "payload": noise(size, seed)})

    def work(self) -> list[str]:
        """Handle what is there."""
        worker = Worker(self.transport, middleware=self.middleware)
        payloads: list[str] = []

        @worker.handler("work")
        def on_work(message: Message[str]) -> None:
            payloads.append(message.payload)

        worker.run(burst=True)
        return payloads

    def close(self) -> None:
        self.transport.close()
        self.store.close()


@contextmanager
def both(path: Path) -> Iterator[Both]:
    ends = Both(path)
    yield ends
    ends.close()


def rows(path: Path) -> int:
    """How many rows messages and contents have; receipts stay."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ("queue_messages", "claim_contents", "claim_parts")
        return sum(
            int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in tables
        )


def test_a_busy_writer_makes_others_wait(path: Path, thread: ThreadPoolExecutor) -> None:
    """A backup, a person at a prompt, another program: nobody fails for it."""
    with both(path) as ends, closing(connect(path)) as other:
        ends.enqueue(1)
        other.execute("BEGIN IMMEDIATE")

        enqueued = thread.submit(ends.enqueue, 2)

        with pytest.raises(TimeoutError):
            enqueued.result(0.5)
        other.commit()
        enqueued.result(PATIENCE_SECONDS)
        assert sorted(ends.work()) == sorted([noise(3_000, 1), noise(3_000, 2)])
    assert rows(path) == 0


def test_readers_wait_for_nobody(path: Path, thread: ThreadPoolExecutor) -> None:
    """WAL: looking at a record goes on beside a writer, and a long look stops no writer."""
    with both(path) as ends, closing(connect(path)) as reader, closing(connect(path)) as writer:
        ends.enqueue(1)
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM queue_messages").fetchone()
        ends.enqueue(2)
        writer.execute("BEGIN IMMEDIATE")
        assert thread.submit(ends.store.look_up, "A@").result(PATIENCE_SECONDS) is None
        writer.rollback()
        reader.rollback()
        assert len(ends.work()) == 2


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from letsgo_queue.errors import LetsGoError
from tests.faults.test_sqlite_files import both

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
acknowledged, errors = [], []
with both(Path(sys.argv[1])) as ends:
    ends.enqueue(0)
    acknowledged.append(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    for seed in range(1, 40):
        try:
            ends.enqueue(seed, 20_000)
            acknowledged.append(seed)
        except LetsGoError as error:
            errors.append([type(error).__name__, error.retryable, str(error)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ends.enqueue(99)
    acknowledged.append(99)
print(json.dumps([acknowledged, errors]))
"""


def test_a_full_disk_refuses_and_loses_nothing(path: Path) -> None:
    """A limit on the size of files stands in for the disk; the same process goes on after it."""
    acknowledged, errors = json.loads(run(FULL_DISK, str(path)))

    assert errors
    assert 1 < len(acknowledged) < 40
    assert all(retryable and "queue.db" in text for _, retryable, text in errors)
    with both(path) as ends:
        payloads = ends.work()
    expected = [noise(3_000 if seed in {0, 99} else 20_000, seed) for seed in acknowledged]
    assert sorted(payloads) == sorted(expected)
    assert rows(path) == 0, "what was refused has left nothing"


READ_ONLY = """
import json, sys
from pathlib import Path
from letsgo_queue.errors import LetsGoError
from tests.faults.test_sqlite_files import both

errors = []
with both(Path(sys.argv[1])) as ends:
    for call in (lambda: ends.enqueue(1), lambda: ends.enqueue(1, 10), ends.work):
        try:
            call()
        except LetsGoError as error:
            errors.append([type(error).__name__, str(error)])
print(json.dumps(errors))
"""

# Root writes to what is read-only, unless it gave up that right (CAP_DAC_OVERRIDE) before an exec.
WITHOUT_RIGHTS = """
import ctypes, os, sys

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
if os.geteuid() == 0:
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux" and os.geteuid() == 0, reason="root writes anywhere")
def test_a_file_that_turns_read_only_is_an_error_and_keeps_what_it_has(path: Path) -> None:
    with both(path) as ends:
        ends.enqueue(1)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        errors = json.loads(run(WITHOUT_RIGHTS, READ_ONLY, str(path)))
    finally:
        path.parent.chmod(0o755)
        path.chmod(0o644)

    assert [name for name, _ in errors] == [
        "ClaimStoreError",
        "SendFailed",
        "QueueUnavailable",
    ]
    assert all("Check that" in text and "queue.db" in text for _, text in errors)
    with both(path) as ends:
        assert ends.work() == [noise(3_000, 1)]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "header"])
def test_a_damaged_file_is_an_error_of_ours_and_is_not_touched(path: Path, damage: str) -> None:
    with both(path) as ends:
        for seed in range(20):
            ends.enqueue(seed, 10_000)
    content = path.read_bytes()
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "overwritten":
        content = content[:4096] + b"\xa5" * (len(content) - 4096)
    else:
        content = b"\xa5" * 100 + content[100:]
    path.write_bytes(content)

    with both(path) as ends:
        with pytest.raises(ClaimStoreError, match=r"queue\.db"):
            ends.enqueue(1)
        with pytest.raises(SendFailed, match=r"queue\.db"):
            ends.transport.send(outgoing("{}"))
        with pytest.raises(LetsGoQueueError, match=r"queue\.db"):
            ends.work()

    # What can still be rescued from it, is still there.
    assert path.read_bytes()[4096 : len(content)] == content[4096:]


@pytest.mark.parametrize("schema", ["queue_schema", "claims_schema"])
def test_a_newer_schema_of_one_is_an_error_of_that_one(path: Path, schema: str) -> None:
    with both(path) as ends:
        ends.enqueue(1)
    with closing(connect(path)) as connection:
        connection.execute(f"UPDATE {schema} SET version = version + 1")

    with (
        both(path) as ends,
        pytest.raises(LetsGoError, match=r"schema \d, .* Upgrade"),
    ):
        ends.enqueue(2)

    assert rows(path) == 3, "the first message's, and nothing of the second"


WRITER = """
import sys
from pathlib import Path
from tests.faults.test_sqlite_files import both

with both(Path(sys.argv[1])) as ends:
    seed = int(sys.argv[2])
    while True:
        ends.enqueue(seed, 50_000)
        print(seed, flush=True)
        seed += 1
"""


def test_a_writer_that_is_killed_leaves_a_usable_file(path: Path) -> None:
    """At whatever moment: what it was told is there, and at most one message more."""
    acknowledged: list[int] = []
    for number in range(3):
        command = [sys.executable, "-c", WRITER, str(path), str(1000 * number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
            assert writer.stdout is not None
            lines = writer.stdout
            acknowledged += [int(lines.readline()) for _ in range(5 + 3 * number)]
            writer.send_signal(signal.SIGKILL)
            acknowledged += map(int, lines.read().split())
        assert writer.returncode == -signal.SIGKILL
        with closing(connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    with both(path) as ends:
        payloads = ends.work()
    expected = {noise(50_000, seed) for seed in acknowledged}
    assert expected <= set(payloads)
    assert len(payloads) == len(set(payloads)) <= len(expected) + 3


ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
