"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from claimcheck.core import claim_check
from claimcheck.stores import dynamodb_items
from tests.conftest import use_emulator
from tests.faults.backends import BACKENDS, AwsBackend, Backend, SqliteBackend
from tests.faults.rig import Rig
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer

MakeRig: TypeAlias = Callable[..., Rig]


@pytest.fixture
def make_rig(
    ministack: AwsServer, faulty_server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeRig]:
    """Makes rigs that give up soon, so that faults reach our code and not only botocore's."""
    monkeypatch.setattr(dynamodb_items, "CONNECT_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(dynamodb_items, "READ_TIMEOUT_SECONDS", 5)
    monkeypatch.setattr(dynamodb_items, "MAX_RETRIES", 1)
    monkeypatch.setattr(claim_check, "PART_BYTES", 70_000)
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(ministack, faulty_server, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def faulty_server(ministack: AwsServer) -> Iterator[FaultyServer]:
    """MiniStack behind a proxy that does nothing wrong yet."""
    assert ministack.endpoint_url is not None
    with FaultyServer(ministack.endpoint_url) as server:
        yield server


@pytest.fixture(params=BACKENDS)
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """A queue and a store that work: the test runs on SQLite, MiniStack and moto."""
    if request.param == "sqlite":
        yield SqliteBackend(tmp_path)
        return
    url = request.getfixturevalue(f"{request.param}_url")
    server = use_emulator(monkeypatch, request.param, url)
    yield AwsBackend(server)
    server.remove_all()
