"""What every store does with contents, with records and under a claim check, on each of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from claimcheck import ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock, StoreContract
from tests.claimcheck.stores.support import change


class OurContract(StoreContract):
    """Our stores take their clock from a test."""

    @pytest.fixture
    def store_clock(self, clock: Clock) -> Clock:
        return clock


class TestMemory(OurContract):
    @pytest.fixture
    def store(self, memory_store: MemoryClaimStore) -> MemoryClaimStore:
        return memory_store

    def lose_part(self, store: MemoryClaimStore, claim_id: str, number: int) -> None:
        contents = store._contents[claim_id]
        parts = [None if n == number else part for n, part in enumerate(contents.parts)]
        store._contents[claim_id] = replace(contents, parts=parts)


class TestSqlite(OurContract):
    @pytest.fixture
    def store(self, sqlite_store: SqliteClaimStore) -> SqliteClaimStore:
        return sqlite_store

    def lose_part(self, store: SqliteClaimStore, claim_id: str, number: int) -> None:
        change(
            Path(store.url.removeprefix("sqlite:///")),
            "DELETE FROM claim_parts WHERE claim_id = ? AND part = ?",
            claim_id,
            number,
        )


class TestDynamoDB(OurContract):
    @pytest.fixture
    def store(self, dynamodb_store: DynamoDBClaimStore) -> DynamoDBClaimStore:
        return dynamodb_store

    def lose_part(self, store: DynamoDBClaimStore, claim_id: str, number: int) -> None:
        boto3.client("dynamodb", store.region).delete_item(
            TableName=store.table, Key=store.layout.key(f"{claim_id}/{number}")
        )

    @pytest.mark.usefixtures("atomic")
    def test_of_many_that_acquire_one_wins(self, store: ClaimStore) -> None:
        super().test_of_many_that_acquire_one_wins(store)


class TestLetsGo(TestDynamoDB):
    @pytest.fixture
    def store(self, letsgo_store: LetsGoClaimStore) -> LetsGoClaimStore:
        return letsgo_store


class TestS3(OurContract):
    @pytest.fixture
    def store(self, s3_store: S3ClaimStore) -> S3ClaimStore:
        return s3_store

    def expiries_after_renewal(self, before: int, asked: int) -> set[int]:
        return {before}

    @pytest.mark.usefixtures("atomic")
    def test_of_many_that_acquire_one_wins(self, store: ClaimStore) -> None:
        super().test_of_many_that_acquire_one_wins(store)


class TestDynamoDBWithABucket(TestS3):
    @pytest.fixture
    def store(self, bucket_store: DynamoDBBucketClaimStore) -> DynamoDBBucketClaimStore:
        return bucket_store
