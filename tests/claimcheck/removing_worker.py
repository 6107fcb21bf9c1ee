"""The application of `test_removals_at_the_end.py`: contents are removed slowly, or never.

removing_worker.py HOW     have a process handle what is on the queue, and end
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from claimcheck import ClaimCheck, ClaimCheckMiddleware
from claimcheck.stores import removals
from claimcheck.stores.base import ClaimFacts
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import Client, Worker
from letsgo_queue.forking import PerProcess

HERE = Path.cwd()
CONTENTS = HERE / "contents"
HANGS = (HERE / "hang").exists()
SLOW_SECONDS = 0.5
if not HANGS:
    removals.FINISH_SECONDS = 30.0


class SlowStore(SqliteClaimStore):
    """Removes contents in the background, as S3's stores do: here a file for each claim."""

    _removals = PerProcess(removals.Removals)

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write contents, and the file."""
        super().write(facts, parts)
        (CONTENTS / facts.id).touch()

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove the file, slowly."""
        assert later
        self._removals.get().add(claim_id, partial(_remove_slowly, CONTENTS / claim_id))


def _remove_slowly(file: Path) -> None:
    if HANGS:
        threading.Event().wait()
    time.sleep(SLOW_SECONDS)
    file.unlink()


store = SlowStore(HERE / "claims.db")
middleware = [ClaimCheckMiddleware(ClaimCheck(store, threshold=1_000, inline_limit=1_000))]
worker = Worker(f"sqlite:///{HERE}/queue.db", middleware=middleware)


@worker.handler("order:new")
def handle(message: object) -> None:
    """Do nothing."""


def send(count: int) -> None:
    """Have stored messages on the queue."""
    CONTENTS.mkdir()
    client = Client(f"sqlite:///{HERE}/queue.db", middleware=middleware)
    for _ in range(count):
        client.enqueue({"type": "order:new", "payload": os.urandom(2_000).hex()})
    client.close()


def work() -> None:
    """Handle all messages on the queue."""
    worker.run(burst=True)


def fork() -> None:
    """The same in a process that ends at once when it is done: `atexit` does nothing there."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)


def use_multiprocessing() -> None:
    """The same in a process of multiprocessing."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()


def consume() -> None:
    """Without a worker: open all messages on the queue, and end."""
    from letsgo_queue.transports.sqlite import SqliteTransport

    queue = SqliteTransport(f"sqlite:///{HERE}/queue.db")
    check = ClaimCheck(store)
    for message in queue.receive(max_messages=10, wait_seconds=0, visibility_timeout=None):
        with check.open(message.body):
            queue.delete(message)


if __name__ == "__main__":
    {"work": work, "fork": fork, "multiprocessing": use_multiprocessing, "consume": consume}[
        sys.argv[1]
    ]()
