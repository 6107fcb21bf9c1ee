"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.conftest import use_emulator
from tests.faults.backends import BACKENDS, AwsBackend, Backend, SqliteBackend
from tests.faults.rig import Rig, impatient
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer

MakeRig: TypeAlias = Callable[..., Rig]


@pytest.fixture
def make_rig(ministack: AwsServer, faulty_server: FaultyServer) -> Iterator[MakeRig]:
    """Makes rigs whose clients give up soon."""
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(ministack, faulty_server, **options))
        return rigs[-1]

    with impatient():
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
