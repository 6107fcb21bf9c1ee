"""The tests of a store's inventory, with which people look after its claims."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from claimcheck.stores.base import ClaimStore
from claimcheck.stores.inventory import Inventory, StoredClaim, StoredRecord, inventory_of
from claimcheck.testing.base import StoreTests
from claimcheck.testing.claims import MINE, OTHERS, read, write


class InventoryContract(StoreTests):
    """Tests of `store.inventory()`; see `StoreContract` for the fixtures."""

    @pytest.fixture
    def inventory(self, store: ClaimStore) -> Inventory:
        return inventory_of(store)

    def test_an_empty_store_has_nothing(self, inventory: Inventory) -> None:
        assert everything(inventory) == ([], [])
        assert inventory.claim("none") is None
        assert inventory.record("none@") is None

    def test_a_claim_is_listed_once_whatever_its_parts(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        written = [write(store, 100, 50), write(store, 10), write(store, 20, 20, 5)]

        claims, _ = everything(inventory)

        assert sorted((each.id, each.stored, each.parts) for each in claims) == sorted(
            (each.id, each.facts.stored, each.facts.parts) for each in written
        )
        if inventory.newest_first:
            assert [each.id for each in claims] == [each.id for each in reversed(written)]

    def test_a_claim_says_what_its_sender_said(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        facts = write(store, type="größe:neu").facts
        untyped = write(store, type=None)

        found = inventory.claim(facts.id)

        assert found is not None
        assert (found.id, found.type, found.parts) == (facts.id, facts.type, facts.parts)
        assert (found.size, found.stored) == (facts.size, facts.stored)
        assert found.expires_at == facts.expires_at
        assert found.created_at == facts.created_at or found.kept_in == "s3"
        assert not found.records
        without = inventory.claim(untyped.id)
        assert without is not None
        assert without.type is None

    def test_the_state_of_a_claim_is_that_of_its_record(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        leased, handed_over, done = write(store), write(store), write(store)
        for claim in (leased, handed_over, done):
            store.acquire(claim.key, MINE)
        store.hand_over(handed_over.key, MINE.id)
        store.complete(done.key, MINE.id)

        states = {}
        for claim in (leased, handed_over, done):
            found = inventory.claim(claim.id)
            assert found is not None
            record = found.record(store.now())
            assert record is not None
            assert record == inventory.record(claim.key)
            assert (record.claim_id, record.consumer) == (claim.id, "")
            states[claim.id] = (record.state, found.is_held(store.now()))

        assert states == {
            leased.id: ("leased", True),
            handed_over.id: ("handed_over", True),
            done.id: ("done", False),
        }
        claims, records = everything(inventory)
        if inventory.lists_records:
            assert {each.key for each in records} == {leased.key, handed_over.key, done.key}
            listed = {each.id: each.record(store.now()) for each in claims}
            assert {each: record and record.state for each, record in listed.items()} == {
                each: state for each, (state, _) in states.items()
            }

    def test_the_lease_of_a_consumer_is_found_or_the_store_says_that_it_is_not(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        claim = write(store)
        store.acquire(f"{claim.key}billing", MINE)

        found = inventory.claim(claim.id)

        assert found is not None
        assert found.is_held(store.now()) == inventory.finds_consumers
        assert inventory.record(f"{claim.key}billing") is not None

    def test_a_receipt_without_contents_is_a_record(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)
        store.complete(claim.key, MINE.id)
        store.remove(claim.id, claim.facts.parts)

        claims, records = everything(inventory)

        assert claims == []
        assert inventory.claim(claim.id) is None
        receipt = inventory.record(claim.key)
        assert receipt is not None
        assert (receipt.state, receipt.lease_until) == ("done", None)
        assert records == ([receipt] if inventory.lists_records else [])

    def test_an_operator_ends_the_lease_that_was_read_and_no_other(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)
        seen = inventory.record(claim.key)
        assert seen is not None
        store.release(claim.key, MINE.id)
        store.acquire(claim.key, OTHERS)

        assert not store.release(claim.key, seen.lease_id)  # another delivery has it by now

        now_seen = inventory.record(claim.key)
        assert now_seen is not None
        assert store.release(claim.key, now_seen.lease_id)
        assert store.look_up(claim.key) is None

    def test_contents_are_removed_where_they_are(
        self, store: ClaimStore, inventory: Inventory
    ) -> None:
        claim, other = write(store), write(store)
        found = inventory.claim(claim.id)
        assert found is not None

        inventory.remove(found)
        inventory.remove(found)  # gone already

        assert read(store, claim) is None
        assert read(store, other) == other.contents
        claims, _ = everything(inventory)
        assert [each.id for each in claims] == [other.id]


def everything(inventory: Inventory) -> tuple[Sequence[StoredClaim], Sequence[StoredRecord]]:
    """Return the claims and the records of all pages."""
    pages = list(inventory.pages())
    return [each for page in pages for each in page.claims], [
        each for page in pages for each in page.records
    ]
