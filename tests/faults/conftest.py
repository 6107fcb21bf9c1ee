"""Fixtures of the fault tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from botocore.loaders import JSONFileLoader

from claimcheck import middleware
from claimcheck.core import claim_check
from claimcheck.stores import dynamodb
from tests.faults.backends import BACKENDS, AwsBackend, Backend, SqliteBackend
from tests.faults.proxy import FaultyProxy
from tests.faults.rig import Rig
from tests.support.servers import AwsServer

MakeRig: TypeAlias = Callable[..., Rig]


@pytest.fixture
def make_rig(
    ministack: AwsServer, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeRig]:
    """Makes rigs that give up soon, so that faults reach our code and not only botocore's."""
    monkeypatch.setattr(dynamodb, "CONNECT_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(dynamodb, "READ_TIMEOUT_SECONDS", 5)
    monkeypatch.setattr(dynamodb, "MAX_RETRIES", 1)
    monkeypatch.setattr(middleware, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(middleware, "LONGEST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(claim_check, "PART_BYTES", 70_000)
    rigs: list[Rig] = []

    def make(**options: Any) -> Rig:
        rigs.append(Rig(ministack, proxy, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def proxy(ministack: AwsServer) -> Iterator[FaultyProxy]:
    """A proxy in front of MiniStack, which does nothing wrong yet."""
    assert ministack.endpoint_url is not None
    with FaultyProxy(ministack.endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="session", autouse=True)
def aws_models_are_read_once() -> Iterator[None]:
    """Each client reads a megabyte of JSON, and these tests make hundreds."""
    read = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """A queue and a store that work: the test runs on SQLite, and on SQS and DynamoDB."""
    if request.param == "sqlite":
        return SqliteBackend(tmp_path)
    return AwsBackend(request.getfixturevalue("ministack"))
