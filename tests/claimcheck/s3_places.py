"""The stores that keep contents in S3, as places to keep claims; see `places`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.places import DynamoDBPlace, Left
from tests.support.servers import AwsServer

_RECORDS = "records/"


class Kept(NamedTuple):
    """An object, as S3 has it."""

    data: bytes
    metadata: Mapping[str, str]


class S3Place:
    """A bucket that serves many tests."""

    def __init__(self, aws: AwsServer) -> None:
        self.server = aws
        self._client = aws.s3()
        self._clock: Clock | None = None
        self.name = aws.make_bucket()
        self.store = self._make("")

    @cached_property
    def elsewhere(self) -> S3ClaimStore:
        return self._make("elsewhere")

    def begin(self, clock: Clock) -> None:
        """Be empty, and go by the clock of a test."""
        self._clock = clock
        for store in self._stores():
            store._clock = clock
        self.restore({})

    def left(self) -> Left:
        keys = self._keys()
        records = sum(_RECORDS in key for key in keys)
        return Left(len(keys) - records, records)

    def remove_record(self, claim_id: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=f"{_RECORDS}{claim_id}@")

    def backup(self) -> dict[str, Kept]:
        return {key: self.read(key) for key in self._keys()}

    def restore(self, backup: Any) -> None:
        for key in self._keys():
            self._client.delete_object(Bucket=self.name, Key=key)
        for key, kept in backup.items():
            self.put(key, kept)

    def put(self, key: str, kept: Kept) -> None:
        """Have an object in the bucket."""
        self._client.put_object(Bucket=self.name, Key=key, Body=kept.data, Metadata=kept.metadata)

    def key_of(self, claim_id: str) -> str:
        """The key of the contents of a claim, whichever folder they are in."""
        (key,) = (each for each in self._keys() if each.endswith(f"/{claim_id}"))
        return key

    def close(self) -> None:
        for store in self._stores():
            store.close()
        self._client.close()

    def _make(self, prefix: str) -> S3ClaimStore:
        return S3ClaimStore(self.name, prefix=prefix, region=self.server.region, clock=self._clock)

    def _stores(self) -> Iterator[S3ClaimStore]:
        yield self.store
        if "elsewhere" in vars(self):
            yield self.elsewhere

    def _keys(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self.name)
        assert not found["IsTruncated"]
        return [each["Key"] for each in found.get("Contents", [])]

    def read(self, key: str) -> Kept:
        """An object in the bucket."""
        found = self._client.get_object(Bucket=self.name, Key=key)
        with found["Body"] as body:
            return Kept(body.read(), found["Metadata"])


class BucketPlace:
    """A bucket and a table."""

    def __init__(self, aws: AwsServer) -> None:
        self.server = aws
        self.bucket = S3Place(aws)
        self._table = DynamoDBPlace(aws)
        self.store = self._make(self._table.store.table)

    @cached_property
    def elsewhere(self) -> DynamoDBBucketClaimStore:
        table = self.server.make_table_name()
        ClaimTable(table, region=self.server.region).create()
        return self._make(table)

    def begin(self, clock: Clock) -> None:
        """Be empty, and go by the clock of a test."""
        self.bucket.begin(clock)
        self._table.begin(clock)
        for store in self._stores():
            store.table._clock = clock

    def left(self) -> Left:
        bucket, table = self.bucket.left(), self._table.left()
        return Left(bucket.parts + table.parts, bucket.records + table.records)

    def remove_record(self, claim_id: str) -> None:
        self._table.remove_record(claim_id)

    def backup(self) -> tuple[object, object]:
        return self.bucket.backup(), self._table.backup()

    def restore(self, backup: Any) -> None:
        bucket, table = backup
        self.bucket.restore(bucket)
        self._table.restore(table)

    def close(self) -> None:
        for store in self._stores():
            store.close()
        self.bucket.close()
        self._table.close()

    def _make(self, table: str) -> DynamoDBBucketClaimStore:
        return DynamoDBBucketClaimStore(
            table,
            self.bucket.name,
            region=self.server.region,
            clock=self._table.store._clock,
        )

    def _stores(self) -> Iterator[DynamoDBBucketClaimStore]:
        yield self.store
        if "elsewhere" in vars(self):
            yield self.elsewhere


AwsPlace: TypeAlias = DynamoDBPlace | S3Place | BucketPlace

P = TypeVar("P", bound=AwsPlace)


class Places:
    """Places that serve many tests: one of each kind on each emulator."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], AwsPlace] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._made.values():
            each.close()

    def get(self, server: AwsServer, kind: type[P]) -> P:
        """The place of a kind on a server, with the environment that a test has."""
        name = (server.name, kind.__name__)
        made = self._made.get(name)
        if made is None:
            # The server of a test removes after the test all that it made.
            own = AwsServer(server.name, server.endpoint_url, server.region)
            made = self._made[name] = kind(own)
        assert isinstance(made, kind)
        return made
