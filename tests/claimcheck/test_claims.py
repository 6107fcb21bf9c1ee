"""Which claims may go, and that they do, on every kind of store."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from claimcheck.claims import Choice, delete_claims, longest_stay
from claimcheck.errors import ClaimStoreUnavailable
from claimcheck.stores.base import Lease
from claimcheck.stores.inventory import StoredClaim, inventory_of
from claimcheck.testing import Clock
from claimcheck.testing.claims import Claim, make_claim, read
from letsgo_queue.admin import Retention
from tests.claimcheck.places import Place

DAY = 24 * 3600
HOUR = 3600
NOW = int(time.time())
STAY = longest_stay([Retention(queue=2 * DAY, dead=6 * DAY)])


def write(place: Place, *, due: int) -> Claim:
    """Write a claim now, whose message is due then."""
    in_one_part = place.store.part_bytes is None
    made = make_claim(10, 10, expires_at=due + 15 * DAY, in_one_part=in_one_part)
    claim = replace(made, facts=replace(made.facts, created_at=NOW))
    place.store.write(claim.facts, claim.parts)
    return claim


def chosen(place: Place, choice: Choice) -> set[str]:
    return {each.id for each in choice.find(place.store, inventory_of(place.store))}


def test_a_claim_is_orphaned_when_its_message_cannot_be_anywhere(
    place: Place, clock: Clock
) -> None:
    clock.now = NOW
    at_once, delayed, held = (write(place, due=NOW + days * DAY) for days in (0, 2, 0))
    orphaned = Choice(stay=STAY)

    clock.now = NOW + STAY - DAY
    assert chosen(place, orphaned) == set()

    clock.now = NOW + STAY + DAY
    place.store.acquire(held.key, Lease("of a late delivery", 3 * DAY))
    assert chosen(place, orphaned) == {at_once.id}

    clock.now = NOW + STAY + 5 * DAY  # the lease ran out too
    assert chosen(place, orphaned) == {at_once.id, delayed.id, held.id}


def test_a_failure_that_renewed_nothing_counts_as_well(place: Place, clock: Clock) -> None:
    """A message is redriven and fails again, before its contents are old enough to be renewed."""
    clock.now = NOW
    claim = write(place, due=NOW)
    orphaned = Choice(stay=longest_stay([Retention(queue=HOUR, dead=HOUR)]))

    clock.now = NOW + 11 * HOUR + 2 * HOUR  # failed, was a dead letter for an hour, and is back
    assert chosen(place, orphaned) == set()

    clock.now = NOW + 12 * HOUR + 4 * HOUR
    assert chosen(place, orphaned) == {claim.id}


def test_a_claim_has_expired_when_the_store_should_have_removed_it(
    place: Place, clock: Clock
) -> None:
    clock.now = NOW
    claim, later = write(place, due=NOW), write(place, due=NOW + 40 * DAY)
    in_bucket = place.store.part_bytes is None  # where a rule decides, whatever was said
    days = 43 if in_bucket else 15

    clock.now = NOW + (days - 1) * DAY
    assert chosen(place, Choice(expired=True)) == set()

    clock.now = NOW + (days + 1) * DAY
    both = {claim.id, later.id}
    assert chosen(place, Choice(expired=True)) == (both if in_bucket else {claim.id})


def test_each_claim_is_looked_at_again_before_it_goes(place: Place, clock: Clock) -> None:
    clock.now = NOW
    gone, taken, removed = (write(place, due=NOW) for _ in range(3))
    inventory, choice = inventory_of(place.store), Choice(stay=STAY)
    clock.now = NOW + STAY + DAY
    ids = sorted(chosen(place, choice))
    place.store.acquire(taken.key, Lease("of a late delivery", 60))
    place.store.remove(removed.id, removed.facts.parts)

    results = list(delete_claims(place.store, inventory, ids, choice))

    assert {result.id: result.error for result in results} == {
        gone.id: None,
        taken.id: "a delivery holds it",
        removed.id: "its contents are gone already",
    }
    assert read(place.store, gone) is None
    assert read(place.store, taken) is not None


def test_a_claim_that_fails_keeps_no_other_from_going(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = NOW
    claims = sorted((write(place, due=NOW) for _ in range(3)), key=lambda each: each.id)
    inventory = inventory_of(place.store)
    remove = inventory.remove

    def fail_once(claim: StoredClaim) -> None:
        if claim.id == claims[1].id:
            raise ClaimStoreUnavailable("the store is busy")
        remove(claim)

    monkeypatch.setattr(inventory, "remove", fail_once)
    ids = [claim.id for claim in claims]
    results = list(delete_claims(place.store, inventory, ids, Choice(ids=ids)))

    assert [result.error for result in results] == [None, "the store is busy", None]
    assert [read(place.store, claim) is None for claim in claims] == [True, False, True]
