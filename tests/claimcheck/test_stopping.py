"""A worker that is told to stop ends, also while its store does not answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from claimcheck import ClaimCheck
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import noisy_body
from tests.support.quick_python import quick_python

CALL_SECONDS = 76
"""How long the library's client tries before it gives a call up."""

WORKER = """
import sys
from claimcheck import ClaimCheck, ClaimCheckMiddleware, open_store
from letsgo_queue import Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport

queue = MemoryTransport()
queue.send(OutgoingMessage(type="order:new", body=sys.stdin.buffer.read()))
check = ClaimCheck(open_store(sys.argv[1]))
worker = Worker(queue, middleware=[ClaimCheckMiddleware(check)], drain_timeout=0)
worker.default(lambda message: None)
worker.run()
"""


class DeafServer:
    """Takes connections and says nothing."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listening, *self._connections):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._connections.append(self._listening.accept()[0])
                self.called.set()


@pytest.fixture
def server() -> Iterator[DeafServer]:
    server = DeafServer()
    yield server
    server.close()


@pytest.mark.parametrize("store", ["dynamodb://claims", "s3://claims"])
def test_a_store_that_does_not_answer_keeps_no_worker_from_ending(
    server: DeafServer, store: str
) -> None:
    check = ClaimCheck(MemoryClaimStore(), threshold=1_000, inline_limit=1_000)
    settings = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_REGION": "us-west-2",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    with subprocess.Popen(
        [*quick_python(), "-c", WORKER, store],
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
    ) as worker:
        try:
            assert worker.stdin is not None
            worker.stdin.write(check.seal(noisy_body(6_000)).body)
            worker.stdin.close()
            assert server.called.wait(60)
            worker.send_signal(signal.SIGTERM)

            assert worker.wait(CALL_SECONDS / 2) == 0
        finally:
            worker.kill()
