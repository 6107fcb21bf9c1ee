"""Fixtures of the heartbeat's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claimcheck.testing import Clock
from letsgo_queue.worker import heartbeat as heartbeats
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.parts import Parts
from tests.letsgo_queue.worker.heartbeat.support import (
    Extended,
)


@pytest.fixture
def queue(clock: Clock) -> Extended:
    return Extended(clock)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "LOOK_SECONDS", 0.01)


@pytest.fixture
def heartbeat(queue: Extended, parts: Parts) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(queue, parts)
    yield heartbeat
    heartbeat.close()
