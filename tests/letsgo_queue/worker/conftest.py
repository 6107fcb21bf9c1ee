"""Fixtures of the worker's tests."""

from __future__ import annotations

import pytest

from letsgo_queue import Worker
from letsgo_queue.transports.memory import MemoryTransport


@pytest.fixture
def worker(queue: MemoryTransport) -> Worker:
    return Worker(queue, concurrency=4)
