"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.conftest import use_emulator
from tests.faults.backends import (
    ATOMIC,
    BACKENDS,
    AwsBackend,
    Backend,
    BackendName,
    SqliteBackend,
)
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


@pytest.fixture(params=ATOMIC)
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """A queue and a store that work, on SQLite and MiniStack."""
    yield from make_backend(request, tmp_path, monkeypatch)


@pytest.fixture(params=BACKENDS)
def any_backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """The same on moto too, for tests that ask it for one thing at a time."""
    yield from make_backend(request, tmp_path, monkeypatch)


def make_backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    name: BackendName = request.param
    if name == "sqlite":
        yield SqliteBackend(tmp_path)
        return
    server = use_emulator(monkeypatch, name, request.getfixturevalue(f"{name}_url"))
    yield AwsBackend(server)
    server.remove_all()
