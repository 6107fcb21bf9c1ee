"""Fixtures of the queue's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import PassingTime
from tests.support.servers import AwsServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def time_passes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> PassingTime:
    """Hours pass for a worker and its queue in no time: all that is due happens at once."""
    return PassingTime(clock, monkeypatch)


@pytest.fixture
def queue(clock: Clock) -> MemoryTransport:
    """A queue in memory, whose time only passes when the test says so."""
    return MemoryTransport(clock=clock)


@pytest.fixture
def client(queue: MemoryTransport) -> Client:
    return Client(queue)


@pytest.fixture(params=["sqs", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A queue that several processes can use."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/queue.db"
    ministack: AwsServer = request.getfixturevalue("ministack")
    return ministack.make_queue()


@pytest.fixture(autouse=True)
def own_default_client(own_default_client: None) -> None:
    """Each test of the queue has one."""
