"""The tests of how a store keeps contents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claimcheck.errors import ClaimCorrupted
from claimcheck.stores.base import PART_BYTES, ClaimStore, Contents
from claimcheck.testing.base import StoreTests
from claimcheck.testing.claims import MINE, make_claim, read, remove, renew, write


class ContentsContract(StoreTests):
    """Tests of how a store keeps contents."""

    @pytest.mark.parametrize(
        "sizes",
        [(2,), (2_000, 2_000), (*[PART_BYTES] * 6, 10)],
        ids=["1 part", "2 parts", "7 parts"],
    )
    def test_gives_back_what_was_written(self, store: ClaimStore, sizes: tuple[int, ...]) -> None:
        """A store returns the same bytes at every read."""
        claim = write(store, *sizes)

        assert read(store, claim) == claim.contents
        assert read(store, claim, consistent=False) == claim.contents

    def test_keeps_contents_without_a_type(self, store: ClaimStore) -> None:
        """A body that is no LetsGo message has none."""
        claim = write(store, type=None)

        assert read(store, claim) == claim.contents

    def test_keeps_parts_that_are_views(self, store: ClaimStore) -> None:
        """Contents that do not compress arrive as views of the body."""
        claim = make_claim(in_one_part=store.part_bytes is None)

        store.write(claim.facts, [memoryview(part) for part in claim.parts])

        assert read(store, claim) == claim.contents

    @pytest.mark.parametrize("name", ["é" * 100_000, 'a/b?c#d&e="f"%00\u2028 '])
    def test_keeps_contents_with_a_type_of_any_text(self, store: ClaimStore, name: str) -> None:
        """A type may be long, and may contain characters that are special to the store."""
        claim = write(store, PART_BYTES, type=name)

        assert read(store, claim) == claim.contents

    def test_finds_nothing_where_nothing_was_written(self, store: ClaimStore) -> None:
        """A read returns None, and raises no error."""
        assert read(store, make_claim(10)) is None
        assert read(store, make_claim(*[10] * 7)) is None

    def test_writes_the_same_again(self, store: ClaimStore) -> None:
        """A write whose answer was lost is repeated."""
        claim = write(store)

        store.write(claim.facts, claim.parts)

        assert read(store, claim) == claim.contents

    def test_a_missing_part_is_none(self, store: ClaimStore) -> None:
        """The others are there."""
        self.skip_in_one_part(store)
        claim = write(store, 10, 20, 30)
        first, _, last = claim.parts
        self.lose_part(store, claim.id, 1)

        assert read(store, claim) == replace(claim.contents, parts=[first, None, last])

    def test_the_first_part_may_be_the_missing_one(self, store: ClaimStore) -> None:
        """The store knows how many there were without it."""
        self.skip_in_one_part(store)
        claim = write(store, 10, 20)
        self.lose_part(store, claim.id, 0)

        assert read(store, claim) == replace(claim.contents, parts=[None, claim.parts[1]])

    @pytest.mark.parametrize("named", [1, 2, 4, 1_000])
    def test_refuses_a_ticket_that_names_another_number_of_parts(
        self, store: ClaimStore, named: int
    ) -> None:
        """One of them was not written by the sender."""
        self.skip_in_one_part(store)
        claim = write(store, 10, 20, 30)
        reading = store.read(claim.id, named, stored=claim.facts.stored)

        with pytest.raises(ClaimCorrupted, match=f"is 3 in the store, and {named} in its"):
            reading.result()

    def test_a_reading_may_be_cancelled(self, store: ClaimStore) -> None:
        """A caller may cancel a reading before its result, and after it."""
        claim = write(store, *[10] * 20)
        facts = claim.facts

        store.read(claim.id, facts.parts, stored=facts.stored).cancel()
        reading = store.read(claim.id, facts.parts, stored=facts.stored)
        found = reading.result()
        reading.cancel()

        assert found is not None
        assert b"".join(part or b"" for part in found.parts) == b"".join(claim.parts)

    def test_removing_leaves_nothing_of_it(self, store: ClaimStore) -> None:
        """Removing touches no other claim."""
        claim, other = write(store, 10, 20, 30), write(store)

        remove(store, claim)

        assert read(store, claim) is None
        assert read(store, other) == other.contents

    def test_what_may_be_removed_later_is_gone_once_the_store_is_closed(
        self, store: ClaimStore
    ) -> None:
        """Nobody waits for the removal before that."""
        claim = write(store, 10, 20, 30)

        store.remove(claim.id, claim.facts.parts, later=True)
        store.close()

        assert read(store, claim) is None

    def test_removing_what_is_gone_is_no_error(self, store: ClaimStore) -> None:
        """Two deliveries may remove the same contents."""
        claim = write(store)

        remove(store, claim)
        remove(store, claim)

        assert read(store, claim) is None

    def test_removing_what_has_lost_a_part_leaves_nothing(self, store: ClaimStore) -> None:
        """An expiry may begin with any part."""
        self.skip_in_one_part(store)
        claim = write(store, 10, 20)
        self.lose_part(store, claim.id, 0)

        remove(store, claim)

        assert read(store, claim) is None

    def test_renewed_contents_are_as_they_were(self, store: ClaimStore) -> None:
        """Only their expiry may change."""
        claim, other = write(store, 10, 20, 30), write(store)
        later = claim.facts.expires_at + 1_000

        renew(store, claim, later)

        found = read(store, claim)
        assert found is not None
        assert list(found.parts) == claim.parts
        assert found.expires_at in self.expiries_after_renewal(claim.facts.expires_at, later)
        assert read(store, other) == other.contents

    def expiries_after_renewal(self, before: int, renewed: int) -> set[int]:
        """The allowed expiries of renewed contents. Override it if `renew` may do nothing."""
        return {renewed}

    def test_renewing_makes_nothing_that_is_gone(self, store: ClaimStore) -> None:
        """Otherwise a claim would come back empty."""
        claim = make_claim(10)

        renew(store, claim, claim.facts.expires_at)

        assert read(store, claim) is None

    def test_renewing_brings_no_part_back(self, store: ClaimStore) -> None:
        """Parts that are gone stay gone."""
        self.skip_in_one_part(store)
        claim = write(store, 10, 20)
        self.lose_part(store, claim.id, 1)
        later = claim.facts.expires_at + 1_000

        renew(store, claim, later)

        assert read(store, claim) == Contents([claim.parts[0], None], later)

    def test_contents_come_back_when_they_are_written_again(self, store: ClaimStore) -> None:
        """This happens after a handler that failed, with `purge="before"`."""
        claim = write(store)
        remove(store, claim)

        store.write(claim.facts, claim.parts)

        assert read(store, claim) == claim.contents

    def test_contents_and_records_do_not_touch_each_other(self, store: ClaimStore) -> None:
        """Removing contents leaves the record, and completing the record leaves the contents."""
        claim = write(store)
        store.acquire(claim.key, MINE)

        remove(store, claim)
        assert store.look_up(claim.key) is not None

        store.write(claim.facts, claim.parts)
        store.complete(claim.key, MINE.id)
        assert read(store, claim) == claim.contents
