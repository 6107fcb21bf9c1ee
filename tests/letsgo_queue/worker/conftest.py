"""Fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from letsgo_queue import Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.parts import Parts
from tests.letsgo_queue.support import DEADLINE_SECONDS
from tests.letsgo_queue.worker.support import Busy
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer


@pytest.fixture
def worker(queue: MemoryTransport) -> Worker:
    return Worker(queue, concurrency=4)


@pytest.fixture
def parts() -> Iterator[Parts]:
    """Threads that end with the test; what uses them is closed before."""
    parts = Parts(lambda: None)
    yield parts
    parts.join(DEADLINE_SECONDS)
    assert not any(thread.is_alive() for thread in parts._threads), "a thread is left"


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.go_on.set()


@pytest.fixture
def proxy(ministack: AwsServer) -> Iterator[FaultyServer]:
    """Stands before MiniStack; a test has it hold or refuse calls."""
    with FaultyServer(str(ministack.endpoint_url)) as proxy:
        yield proxy
