"""Fixtures of the claim check's tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.removals import Removals
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from letsgo_queue import set_default_client
from tests.claimcheck.lambda_claims import Claims
from tests.claimcheck.places import DynamoDBPlace, LetsGoPlace, MemoryPlace, Place, SqlitePlace
from tests.claimcheck.s3_places import AwsPlace, BucketPlace, Places, S3Place
from tests.conftest import use_aws, use_emulator

PLACES: Mapping[str, tuple[str, type[AwsPlace]]] = {
    "ministack": ("ministack", DynamoDBPlace),
    "letsgo": ("ministack", LetsGoPlace),
    "moto": ("moto", DynamoDBPlace),
    "bucket": ("ministack", BucketPlace),
    "s3": ("ministack", S3Place),
}
"""What is kept on a server: which server, and how."""

MARKS = dict.fromkeys(("moto", "letsgo", "bucket"), pytest.mark.long)
"""Repetitions of `ministack` and `s3`: another server, another table, a table with a bucket."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        real = ["aws"] if metafunc.config.getoption("--aws") else []
        places = [pytest.param(each, marks=MARKS.get(each, ())) for each in PLACES]
        metafunc.parametrize("place", ["memory", "sqlite", *places, *real], indirect=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """Tables and buckets of each server, made when a test first asks for them."""
    with Places() as places:
        yield places


@pytest.fixture
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock
) -> Iterator[Place]:
    """Where claims are kept: the test runs on every kind of store."""
    name: str = request.param
    if name in {"memory", "sqlite"}:
        made = MemoryPlace(clock) if name == "memory" else SqlitePlace(tmp_path, clock)
        yield made
        made.close()
    elif name == "aws":
        server = use_aws(monkeypatch)
        on_aws = DynamoDBPlace(server)
        on_aws.begin(clock)
        yield on_aws
        on_aws.close()
        server.remove_all()
    else:
        emulator, kind = PLACES[name]
        server = use_emulator(monkeypatch, emulator, request.getfixturevalue(f"{emulator}_url"))
        request.getfixturevalue("removals_at_once")
        places: Places = request.getfixturevalue("places")
        found = places.get(server, kind)
        found.begin(clock)
        yield found


@pytest.fixture
def removals_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No removal waits for a thread: what is left is left when the test looks."""
    monkeypatch.setattr(Removals, "add", lambda _, claim_id, remove: remove())


@pytest.fixture
def store(clock: Clock) -> MemoryClaimStore:
    return MemoryClaimStore(clock=clock)


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    """Claims in a file, by the clock of this machine."""
    store = SqliteClaimStore(tmp_path / "claims.db")
    yield Claims(store)
    store.close()


@pytest.fixture(autouse=True)
def own_default_client() -> Iterator[None]:
    set_default_client(None)
    yield
    set_default_client(None)
