"""What is in a store, on each of ours."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient

from claimcheck import ClaimStore, ClaimStoreError
from claimcheck.stores import dynamodb_items
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.inventory import inventory_of
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock, InventoryContract
from claimcheck.testing.claims import MINE, make_claim, read, write
from claimcheck.testing.inventory_contract import everything
from tests.claimcheck.stores.support import change
from tests.support.servers import AwsServer

MANY = 200_000


class OurContract(InventoryContract):
    """Our stores take their clock from a test."""

    @pytest.fixture
    def store_clock(self, clock: Clock) -> Clock:
        return clock


class TestMemory(OurContract):
    @pytest.fixture
    def store(self, memory_store: MemoryClaimStore) -> MemoryClaimStore:
        return memory_store


class TestSqlite(OurContract):
    @pytest.fixture
    def store(self, sqlite_store: SqliteClaimStore) -> SqliteClaimStore:
        return sqlite_store

    def test_damaged_rows_do_not_end_a_listing(self, store: SqliteClaimStore, path: Path) -> None:
        damaged, whole = write(store), write(store)
        store.acquire(damaged.key, MINE)
        change(path, "UPDATE claim_contents SET size = 'x', type = x'ff' WHERE rowid = 1")
        change(path, "UPDATE claim_records SET state = 'x', lease_until = 'soon'")

        claims, (record,) = everything(store.inventory())

        assert {each.id: each.size for each in claims} == {
            damaged.id: None,
            whole.id: whole.facts.size,
        }
        assert (record.state, record.is_held(store.now())) == (None, True)

    def test_records_of_all_consumers_are_found(self, store: SqliteClaimStore) -> None:
        claim = write(store)
        for consumer in ("billing", "shipping"):
            store.acquire(f"{claim.key}{consumer}", MINE)

        found = store.inventory().claim(claim.id)

        assert found is not None
        assert [each.consumer for each in found.records or ()] == ["billing", "shipping"]

    def test_very_many_are_listed_in_little_memory(
        self, store: SqliteClaimStore, path: Path
    ) -> None:
        store.look_up("none")  # which makes the file
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany(
                "INSERT INTO claim_contents VALUES (?, 'order:new', 1, 9, 9, ?, 2000000000)",
                ((f"claim-{n:022}", n) for n in range(MANY)),
            )
        first = next(store.inventory().pages())

        before, peak, listed = resident_bytes(), 0, 0
        ages = []
        for page in store.inventory().pages():
            peak = max(peak, resident_bytes())
            listed += len(page.claims)
            ages.append(page.claims[0].created_at)

        assert listed == MANY
        assert ages == list(range(MANY - 1, 0, -len(first.claims)))
        assert peak - before < 20_000_000


class TestDynamoDB(OurContract):
    @pytest.fixture
    def store(self, dynamodb_store: DynamoDBClaimStore) -> DynamoDBClaimStore:
        return dynamodb_store

    def test_more_claims_than_a_batch_has_keep_their_records(
        self, store: DynamoDBClaimStore
    ) -> None:
        claims = [write(store, 1) for _ in range(105)]
        for claim in claims:
            store.acquire(claim.key, MINE)

        found, _ = everything(store.inventory())

        assert {each.id for each in found} == {each.id for each in claims}
        assert all(each.is_held(store.now()) for each in found)

    def test_what_dynamodb_leaves_out_of_a_batch_is_asked_for_again(
        self, store: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claims = [write(store, 1) for _ in range(3)]
        for claim in claims:
            store.acquire(claim.key, MINE)
        call = BaseClient._make_api_call  # type: ignore[attr-defined]  # which no stub has

        def answer_for_one(client: Any, operation: str, params: dict[str, Any]) -> Any:
            if operation != "BatchGetItem":
                return call(client, operation, params)
            asked = params["RequestItems"][store.table]
            now, later = asked["Keys"][:1], asked["Keys"][1:]
            few = {"RequestItems": {store.table: {**asked, "Keys": now}}}
            left = {store.table: {**asked, "Keys": later}} if later else {}
            return call(client, operation, few) | {"UnprocessedKeys": left}

        monkeypatch.setattr(BaseClient, "_make_api_call", answer_for_one)
        monkeypatch.setattr(dynamodb_items, "FIRST_PAUSE_SECONDS", 0)
        found, _ = everything(store.inventory())

        assert [each.is_held(store.now()) for each in found] == [True] * 3

    def test_a_table_of_several_pages_is_listed_whole(self, store: DynamoDBClaimStore) -> None:
        claims = [write(store, *[300_000] * 2) for _ in range(4)]

        pages = list(store.inventory().pages())

        assert {each.id for page in pages for each in page.claims} == {each.id for each in claims}
        assert len(pages) > 1
        assert store.inventory().read_units >= 0


class TestLetsGo(OurContract):
    @pytest.fixture
    def store(self, letsgo_store: LetsGoClaimStore) -> LetsGoClaimStore:
        return letsgo_store

    def test_items_of_letsgo_are_left_alone(self, store: LetsGoClaimStore, aws: AwsServer) -> None:
        ours = write(store)
        with closing(aws.dynamodb()) as client:
            item = {"category": {"S": "page/0"}, "key": {"S": "/"}, "parts": {"N": "1"}}
            client.put_item(TableName=store.table, Item=item)

        claims, records = everything(store.inventory())

        assert ([each.id for each in claims], records) == ([ours.id], [])


class TestS3(OurContract):
    @pytest.fixture
    def store(self, s3_store: S3ClaimStore) -> S3ClaimStore:
        return s3_store


class TestDynamoDBWithABucket(OurContract):
    @pytest.fixture
    def store(self, bucket_store: DynamoDBBucketClaimStore) -> DynamoDBBucketClaimStore:
        return bucket_store

    def test_what_was_sent_before_there_was_a_bucket_is_listed_and_removed(
        self, store: DynamoDBBucketClaimStore
    ) -> None:
        before, since = write(store.table), write(store)
        inventory = store.inventory()

        claims, _ = everything(inventory)
        found = inventory.claim(before.id)
        assert found is not None
        inventory.remove(found)

        kept = {each.id: each.kept_in for each in claims}
        assert kept == {before.id: "dynamodb", since.id: "s3"}
        assert read(store.table, before) is None


def test_a_store_without_an_inventory_is_refused_in_one_line() -> None:
    class Own(MemoryClaimStore):
        inventory = None  # type: ignore[assignment]  # a store of somebody's own has no such method

    store: ClaimStore = Own()
    store.write(make_claim().facts, make_claim().parts)

    with pytest.raises(ClaimStoreError, match=r"memory:// cannot list its claims"):
        inventory_of(store)


def resident_bytes() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
