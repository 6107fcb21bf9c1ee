"""What every store does with contents."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from claimcheck import ClaimCorrupted, ClaimStore
from claimcheck.stores.base import PART_BYTES, Contents
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from tests.claimcheck.stores.support import MINE, change, make_claim, read, remove, renew, write


class ContentsContract:
    @abstractmethod
    def lose_part(self, store: Any, claim_id: str, number: int) -> None:
        """Remove one part behind the store's back."""

    @pytest.mark.parametrize(
        "sizes",
        [(2,), (2_000, 2_000), (*[PART_BYTES] * 6, 10)],
        ids=["1 part", "2 parts", "7 parts"],
    )
    def test_gives_back_what_was_written(self, store: ClaimStore, sizes: tuple[int, ...]) -> None:
        claim = write(store, *sizes)

        assert read(store, claim) == claim.contents
        assert read(store, claim) == claim.contents

    def test_keeps_what_is_no_letsgo_message(self, store: ClaimStore) -> None:
        claim = write(store, type=None)

        assert read(store, claim) == claim.contents

    def test_keeps_parts_that_are_views(self, store: ClaimStore) -> None:
        claim = make_claim()

        store.write(claim.facts, [memoryview(part) for part in claim.parts])

        assert read(store, claim) == claim.contents

    def test_keeps_what_has_a_type_of_any_length(self, store: ClaimStore) -> None:
        claim = write(store, PART_BYTES, type="é" * 100_000)

        assert read(store, claim) == claim.contents

    def test_finds_nothing_where_nothing_was_written(self, store: ClaimStore) -> None:
        assert read(store, make_claim()) is None
        assert read(store, make_claim(*[10] * 7)) is None

    def test_writes_the_same_again(self, store: ClaimStore) -> None:
        claim = write(store)

        store.write(claim.facts, claim.parts)

        assert read(store, claim) == claim.contents

    def test_a_missing_part_is_none(self, store: ClaimStore) -> None:
        claim = write(store, 10, 20, 30)
        first, _, last = claim.parts
        self.lose_part(store, claim.id, 1)

        assert read(store, claim) == replace(claim.contents, parts=[first, None, last])

    def test_the_first_part_may_be_the_missing_one(self, store: ClaimStore) -> None:
        claim = write(store, 10, 20)
        self.lose_part(store, claim.id, 0)

        assert read(store, claim) == replace(claim.contents, parts=[None, claim.parts[1]])

    @pytest.mark.parametrize("named", [1, 2, 4, 1_000])
    def test_refuses_a_ticket_that_names_another_number_of_parts(
        self, store: ClaimStore, named: int
    ) -> None:
        claim = write(store, 10, 20, 30)
        reading = store.read(claim.id, named, stored=60)

        with pytest.raises(ClaimCorrupted, match=f"is 3 in the store, and {named} in its"):
            reading.result()

    def test_a_reading_may_be_cancelled(self, store: ClaimStore) -> None:
        claim = write(store, *[10] * 20)

        store.read(claim.id, 20, stored=200).cancel()
        reading = store.read(claim.id, 20, stored=200)
        found = reading.result()
        reading.cancel()

        assert found == claim.contents

    def test_removing_leaves_nothing_of_it(self, store: ClaimStore) -> None:
        claim, other = write(store, 10, 20, 30), write(store)

        remove(store, claim)

        assert read(store, claim) is None
        assert read(store, other) == other.contents

    def test_removing_what_is_gone_is_no_error(self, store: ClaimStore) -> None:
        claim = write(store)
        self.lose_part(store, claim.id, 0)

        remove(store, claim)
        remove(store, claim)

        assert read(store, claim) is None

    def test_renewed_contents_expire_later(self, store: ClaimStore) -> None:
        claim, other = write(store, 10, 20, 30), write(store)
        later = claim.facts.expires_at + 1_000

        renew(store, claim, later)

        assert read(store, claim) == replace(claim.contents, expires_at=later)
        assert read(store, other) == other.contents

    def test_renewing_makes_nothing_that_is_gone(self, store: ClaimStore) -> None:
        claim = make_claim()

        renew(store, claim, claim.facts.expires_at)

        assert read(store, claim) is None

    def test_renewing_brings_no_part_back(self, store: ClaimStore) -> None:
        claim = write(store, 10, 20)
        self.lose_part(store, claim.id, 1)
        later = claim.facts.expires_at + 1_000

        renew(store, claim, later)

        assert read(store, claim) == Contents([claim.parts[0], None], later)

    def test_contents_come_back_when_they_are_written_again(self, store: ClaimStore) -> None:
        claim = write(store)
        remove(store, claim)

        store.write(claim.facts, claim.parts)

        assert read(store, claim) == claim.contents

    def test_contents_and_records_do_not_touch_each_other(self, store: ClaimStore) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)

        remove(store, claim)
        assert store.look_up(claim.key) is not None

        store.write(claim.facts, claim.parts)
        store.complete(claim.key, MINE.id)
        assert read(store, claim) == claim.contents


class TestMemory(ContentsContract):
    @pytest.fixture
    def store(self, memory_store: MemoryClaimStore) -> MemoryClaimStore:
        return memory_store

    def lose_part(self, store: MemoryClaimStore, claim_id: str, number: int) -> None:
        contents = store._contents[claim_id]
        parts = [None if n == number else part for n, part in enumerate(contents.parts)]
        store._contents[claim_id] = replace(contents, parts=parts)


class TestSqlite(ContentsContract):
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


class TestDynamoDB(ContentsContract):
    @pytest.fixture
    def store(self, dynamodb_store: DynamoDBClaimStore) -> DynamoDBClaimStore:
        return dynamodb_store

    def lose_part(self, store: DynamoDBClaimStore, claim_id: str, number: int) -> None:
        boto3.client("dynamodb", store.region).delete_item(
            TableName=store.table, Key=store.layout.key(f"{claim_id}/{number}")
        )


class TestLetsGo(TestDynamoDB):
    @pytest.fixture
    def store(self, letsgo_store: LetsGoClaimStore) -> LetsGoClaimStore:
        return letsgo_store
