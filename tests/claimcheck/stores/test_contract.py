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
from claimcheck.testing.claims import read, write
from tests.claimcheck.stores.support import change


class OurContract(StoreContract):
    """Our stores take their clock from a test."""

    leaves_what_was_written_back = True

    @pytest.fixture
    def store_clock(self, clock: Clock) -> Clock:
        return clock

    def test_a_removal_that_arrives_late_leaves_what_was_written_back(
        self, store: ClaimStore
    ) -> None:
        if not self.leaves_what_was_written_back:
            pytest.skip("S3 has no condition for it")
        claim = write(store, 10, 20, 30)
        before = claim.facts.expires_at
        later = replace(claim.facts, expires_at=before + 1)

        store.remove(claim.id, claim.facts.parts, expiring_by=before - 1)
        assert read(store, claim) == claim.contents
        store.remove(claim.id, claim.facts.parts, expiring_by=before)
        assert read(store, claim) is None

        store.write(later, claim.parts)
        store.remove(claim.id, claim.facts.parts, expiring_by=before)
        assert read(store, claim) == replace(claim.contents, expires_at=before + 1)
        store.remove(claim.id, claim.facts.parts)
        assert read(store, claim) is None


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

    leaves_what_was_written_back = False

    def expiries_after_renewal(self, before: int, asked: int) -> set[int]:
        return {before}

    @pytest.mark.usefixtures("atomic")
    def test_of_many_that_acquire_one_wins(self, store: ClaimStore) -> None:
        super().test_of_many_that_acquire_one_wins(store)


class TestDynamoDBWithABucket(TestS3):
    @pytest.fixture
    def store(self, bucket_store: DynamoDBBucketClaimStore) -> DynamoDBBucketClaimStore:
        return bucket_store
