"""The tests of a store under a claim check: deliveries from beginning to end."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.core.ticket import MIN_PART_BYTES
from claimcheck.errors import ClaimAlreadyProcessed, ClaimInProgress, ClaimMissing
from claimcheck.stores.base import MAX_LABEL_CHARACTERS, ClaimStore, Record, State
from claimcheck.testing.base import StoreTests

_ANY_PURGE = pytest.mark.parametrize("purge", ["after", "before", "never"])


class LifeContract(StoreTests):
    """Tests of a store under a claim check."""

    def test_tickets_and_errors_can_name_it(self, store: ClaimStore) -> None:
        assert 0 < len(store.label) <= MAX_LABEL_CHARACTERS
        assert store.label.isascii()
        assert store.label.isprintable()
        assert store.url
        assert store.missing_advice

    def test_it_has_the_records_that_it_has(self, store: ClaimStore) -> None:
        """A claim check that gets the same store twice must see one store."""
        assert store.records_at is not None
        assert store.records_at == store.records_at  # the property makes a new value each time

    def test_a_ticket_can_name_its_parts(self, store: ClaimStore) -> None:
        """Smaller parts would be too many for a ticket: readers refuse it."""
        assert store.part_bytes is None or store.part_bytes >= MIN_PART_BYTES

    @_ANY_PURGE
    def test_a_delivery_that_succeeds_leaves_a_receipt(
        self, store: ClaimStore, purge: Purge
    ) -> None:
        check = ClaimCheck(store, purge=purge)
        claim = _Sealed(check)
        state: State = "handed_over" if purge == "before" else "leased"

        with check.open(claim.body) as opened:
            assert opened.body == claim.original
            assert claim.record() == self.held(120, state)
        store.close()

        assert claim.record() == Record("done", 0)
        assert claim.is_there() == (purge == "never")
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(claim.body)

    @_ANY_PURGE
    def test_a_delivery_that_fails_gives_the_claim_back(
        self, store: ClaimStore, purge: Purge
    ) -> None:
        check = ClaimCheck(store, purge=purge)
        claim = _Sealed(check)

        assert check.open(claim.body).release()

        assert claim.record() is None
        with check.open(claim.body) as opened:
            assert opened.body == claim.original

    def test_of_two_deliveries_at_once_one_is_told_to_come_back(self, store: ClaimStore) -> None:
        check = ClaimCheck(store)
        claim = _Sealed(check)
        opened = check.open(claim.body, lease_seconds=300)

        with pytest.raises(ClaimInProgress) as held:
            check.open(claim.body)

        assert held.value.retry_after is not None
        assert Record("leased", held.value.retry_after) == self.held(300)
        assert opened.complete()

    def test_a_claim_that_is_not_there_is_missing(self, store: ClaimStore) -> None:
        check = ClaimCheck(store)
        claim = _Sealed(check)
        check.discard(claim.sealed)

        with pytest.raises(ClaimMissing):
            check.open(claim.body)

        assert claim.record() is None

    def test_many_threads_seal_and_open_at_once(self, store: ClaimStore) -> None:
        check = ClaimCheck(store)

        def work(number: int) -> bool:
            claim = _Sealed(check, size=400_000, seed=number)
            with check.open(claim.body) as opened:
                return opened.body == claim.original

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))

    def test_a_store_that_was_closed_opens_again(self, store: ClaimStore) -> None:
        check = ClaimCheck(store)
        claim = _Sealed(check)

        store.close()
        store.close()

        with check.open(claim.body) as opened:
            assert opened.body == claim.original


class _Sealed:
    """A message whose body is in the store."""

    def __init__(self, check: ClaimCheck, *, size: int = 300_000, seed: int = 1) -> None:
        noise = random.Random(seed).randbytes(size).hex()
        self.original = json.dumps({"type": "order:new", "payload": noise})
        self.sealed = check.seal(self.original)
        assert self.sealed.route == "stored"
        self.body = self.sealed.body.decode()
        self._store = check.store

    def record(self) -> Record | None:
        return self._store.look_up(f"{self.sealed.claim_id}@")

    def is_there(self) -> bool:
        sealed = self.sealed
        assert sealed.claim_id is not None
        reading = self._store.read(sealed.claim_id, sealed.parts, stored=sealed.stored)
        return reading.result() is not None
