"""One store of each kind, with a clock that only moves when told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.places import make_letsgo_store
from tests.claimcheck.s3_places import BucketPlace, Places, S3Place
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer


@pytest.fixture
def memory_store(clock: Clock) -> MemoryClaimStore:
    return MemoryClaimStore(clock=clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims.db"


@pytest.fixture
def sqlite_store(path: Path, clock: Clock) -> Iterator[SqliteClaimStore]:
    store = SqliteClaimStore(path, clock=clock)
    yield store
    store.close()


@pytest.fixture
def table(aws: AwsServer) -> str:
    return make_table(aws)


@pytest.fixture
def dynamodb_store(aws: AwsServer, table: str, clock: Clock) -> Iterator[DynamoDBClaimStore]:
    store = DynamoDBClaimStore(table, region=aws.region, clock=clock)
    yield store
    store.close()


@pytest.fixture
def letsgo_store(aws: AwsServer, clock: Clock) -> Iterator[LetsGoClaimStore]:
    store = make_letsgo_store(aws, clock)
    yield store
    store.close()


@pytest.fixture
def s3_store(
    aws: AwsServer, places: Places, clock: Clock, removals_at_once: None
) -> Iterator[S3ClaimStore]:
    on_aws = aws.endpoint_url is None
    place = S3Place(aws) if on_aws else places.get(aws, S3Place)
    place.begin(clock)
    yield place.store
    if on_aws:
        place.close()


@pytest.fixture
def bucket_store(
    ministack: AwsServer, places: Places, clock: Clock, removals_at_once: None
) -> DynamoDBBucketClaimStore:
    place = places.get(ministack, BucketPlace)
    place.begin(clock)
    return place.store


@pytest.fixture
def ministack_table(ministack: AwsServer) -> str:
    return make_table(ministack)


@pytest.fixture
def server(ministack: AwsServer) -> Iterator[FaultyServer]:
    """MiniStack on a bad day."""
    with FaultyServer(str(ministack.endpoint_url)) as server:
        yield server


@pytest.fixture
def atomic(request: pytest.FixtureRequest) -> None:
    """Skips where a server does not keep others out between a condition and its write."""
    if "aws" in request.fixturenames and request.getfixturevalue("aws").name == "moto":
        pytest.skip("moto has many threads and no lock: two conditional writes can succeed")


def make_table(aws: AwsServer) -> str:
    name = aws.make_table_name()
    ClaimTable(name, region=aws.region).create()
    return name
