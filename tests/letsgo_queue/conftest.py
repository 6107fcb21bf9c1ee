"""Fixtures of the queue's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from letsgo_queue import Client, set_default_client
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> MemoryTransport:
    """A queue in memory, whose time only passes when the test says so."""
    return MemoryTransport(clock=clock)


@pytest.fixture
def client(queue: MemoryTransport) -> Client:
    return Client(queue)


@pytest.fixture(autouse=True)
def own_default_client() -> Iterator[None]:
    set_default_client(None)
    yield
    set_default_client(None)
