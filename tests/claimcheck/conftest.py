"""Fixtures of the claim check's tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import set_default_client
from tests.claimcheck.lambda_claims import Claims
from tests.claimcheck.places import DynamoDBPlace, MemoryPlace, Place, SqlitePlace
from tests.claimcheck.support import Clock
from tests.conftest import use_aws, use_emulator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        real = ["aws"] if metafunc.config.getoption("--aws") else []
        metafunc.parametrize(
            "place", ["memory", "sqlite", "ministack", "moto", *real], indirect=True
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock
) -> Iterator[Place]:
    """Where claims are kept: the test runs on every kind of store."""
    name: str = request.param
    made: Place
    if name == "memory":
        made = MemoryPlace(clock)
    elif name == "sqlite":
        made = SqlitePlace(tmp_path, clock)
    elif name == "aws":
        made = DynamoDBPlace(use_aws(monkeypatch), clock)
    else:
        url = request.getfixturevalue(f"{name}_url")
        made = DynamoDBPlace(use_emulator(monkeypatch, name, url), clock)
    yield made
    made.close()


@pytest.fixture
def store(clock: Clock) -> MemoryClaimStore:
    return MemoryClaimStore(clock=clock)


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    """Claims in a file, by the clock of this machine."""
    store = SqliteClaimStore(tmp_path / "claims.db")
    yield Claims(store)
    store.close()


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
