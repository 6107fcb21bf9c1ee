"""What a caller of `ClaimCheck.open` may say beside the body."""

from __future__ import annotations

import math

import pytest

from claimcheck import ClaimAlreadyProcessed, ClaimCheck, ClaimInProgress, SettingsInvalid
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import sealed_fields
from tests.claimcheck.support import DAY, claim_record, noisy_body

BODY = noisy_body(6_000)


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


def check_with(store: MemoryClaimStore, lease_seconds: float = 120) -> ClaimCheck:
    return ClaimCheck(store, threshold=1_000, inline_limit=1_500, lease_seconds=lease_seconds)


def test_a_claim_is_held_for_the_time_of_the_claim_check(store: MemoryClaimStore) -> None:
    check = check_with(store, 600)
    sealed = check.seal(BODY).text

    with check.open(sealed) as opened:
        assert opened.body == BODY
        record = claim_record(store, sealed)
        assert record is not None
        assert record.seconds_left == pytest.approx(600, abs=30)
        with pytest.raises(ClaimInProgress):
            check_with(store).open(sealed)


def test_no_lease_outlives_its_record(store: MemoryClaimStore) -> None:
    check = check_with(store)
    sealed = check.seal(BODY).text

    with check.open(sealed, lease_seconds=math.inf) as opened:
        for _ in range(2):
            with pytest.raises(ClaimInProgress) as held:
                check.open(sealed)
            assert held.value.retry_after == pytest.approx(14 * DAY, abs=30)
            assert opened.extend(60 * DAY)
    with pytest.raises(ClaimAlreadyProcessed):
        check.open(sealed)

    with pytest.raises(SettingsInvalid, match=r"lease_seconds=1296000: .*\(14 days\) at most"):
        check_with(store, 15 * DAY)


def test_a_ticket_that_was_parsed_is_not_parsed_again(store: MemoryClaimStore) -> None:
    check = check_with(store)
    sealed = check.seal(BODY).text

    with check.open(sealed, fields=sealed_fields(sealed)) as opened:
        assert opened.body == BODY


def test_what_this_process_made_is_taken_as_it_is(store: MemoryClaimStore) -> None:
    check = check_with(store)
    sealed = check.seal(BODY).text

    assert check.open(sealed, made_here=True).body == sealed
