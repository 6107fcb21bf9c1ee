"""Fixtures of the claim check's tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import set_default_client
from tests.claimcheck.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have botocore try again at once."""
    clock = SimpleNamespace(time=time.time, sleep=lambda _: None)
    monkeypatch.setattr("botocore.endpoint.time", clock)


@pytest.fixture(autouse=True)
def own_default_client() -> Iterator[None]:
    set_default_client(None)
    yield
    set_default_client(None)
