"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.conftest import use_emulator
from tests.faults.backends import (
    AwsBackend,
    Backend,
    BackendName,
    SqliteBackend,
    server_of,
)
from tests.faults.rig import ATTEMPTS, Rig, impatient
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer

MakeRig: TypeAlias = Callable[..., Rig]


@pytest.fixture
def make_rig(ministack: AwsServer, faulty_server: FaultyServer) -> Iterator[MakeRig]:
    """Makes rigs whose clients give up soon."""
    rigs: list[Rig] = []
    with ExitStack() as stack:

        def make(*, store_retries: int = ATTEMPTS - 1, **options: Any) -> Rig:
            stack.enter_context(impatient(store_retries))
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


@pytest.fixture(
    params=(
        "ministack",
        pytest.param("sqlite", marks=pytest.mark.long),
        pytest.param("s3", marks=pytest.mark.long),
    )
)
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """A queue and a store that work: records of each kind."""
    name: BackendName = request.param
    if name == "sqlite":
        yield SqliteBackend(tmp_path)
        return
    on = server_of(name)
    server = use_emulator(monkeypatch, on, request.getfixturevalue(f"{on}_url"))
    yield AwsBackend(server, name)
    server.remove_all()
