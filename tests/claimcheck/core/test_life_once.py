"""`once=`: every message has a record, also one without a claim."""

from __future__ import annotations

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCorrupted,
    ClaimInProgress,
    ClaimStoreUnavailable,
)
from claimcheck.stores.base import Record
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import BODY, fail, handle
from tests.claimcheck.places import Left, Place
from tests.claimcheck.support import (
    DAY,
    body_of,
    forge,
    message_body,
    small_claim_check,
)
from tests.claimcheck.watched import Watched

ORIGINALS = {
    "inline": message_body("order:new", "small"),
    "compressed": body_of(6_000),
    "stored": BODY,
}
KEY = "once/orders/m-1@"


@pytest.fixture(params=ORIGINALS)
def route(request: pytest.FixtureRequest) -> str:
    """Which way the message travels."""
    name: str = request.param
    return name


@pytest.fixture
def original(route: str) -> str:
    return ORIGINALS[route]


@pytest.fixture
def sealed(check: ClaimCheck, route: str, original: str) -> str:
    sealed = check.seal(original)
    assert sealed.route == route
    return sealed.body.decode()


class TestOnce:
    def test_a_handler_that_succeeded_does_not_run_again(
        self, place: Place, check: ClaimCheck, sealed: str, original: str, clock: Clock
    ) -> None:
        assert handle(check, sealed, once=KEY) == original
        clock.advance(29 * DAY)

        with pytest.raises(ClaimAlreadyProcessed, match=r"^message m-1 .*handled before"):
            check.open(sealed, once=KEY, message_id="m-1")
        assert place.left() == Left(parts=0, records=1)

    def test_one_that_failed_runs_again(
        self, place: Place, check: ClaimCheck, sealed: str, original: str
    ) -> None:
        fail(check, sealed, once=KEY)
        assert place.left().records == 0

        assert handle(check, sealed, once=KEY) == original

    def test_one_of_two_at_once_runs(self, check: ClaimCheck, sealed: str, clock: Clock) -> None:
        with check.open(sealed, once=KEY, lease_seconds=30) as opened:
            clock.advance(10)
            assert opened.extend(300)
            clock.advance(100)
            with pytest.raises(ClaimInProgress) as held:
                check.open(sealed, once=KEY)

        assert held.value.retry_after == pytest.approx(200)

    def test_a_crash_ends_with_its_lease(
        self, check: ClaimCheck, sealed: str, original: str, clock: Clock
    ) -> None:
        slow = check.open(sealed, once=KEY, lease_seconds=30)  # and nothing more
        clock.advance(30)

        with check.open(sealed, once=KEY) as opened:
            assert opened.body == original
            assert not slow.complete()


def test_messages_have_records_of_their_own(place: Place, check: ClaimCheck) -> None:
    small = ORIGINALS["inline"]

    with check.open(small, once=KEY), check.open(small, once="once/orders/m-2@"):
        assert place.store.look_up(KEY) == Record("leased", 120)

    assert place.left() == Left(parts=0, records=2)


def test_what_cannot_be_opened_is_released(place: Place, check: ClaimCheck) -> None:
    sealed = check.seal(ORIGINALS["compressed"]).body.decode()

    with pytest.raises(ClaimCorrupted):
        check.open(forge(sealed, size=5_999), once=KEY)

    assert place.store.look_up(KEY) is None


def test_a_store_that_is_down_keeps_the_message(place: Place) -> None:
    watched = Watched(place.store)
    watched.fail("acquire")
    check = small_claim_check(watched.store)

    with pytest.raises(ClaimStoreUnavailable):
        check.open(ORIGINALS["inline"], once=KEY)


def test_without_it_a_small_message_asks_no_store(place: Place) -> None:
    watched = Watched(place.store)

    assert handle(small_claim_check(watched.store), ORIGINALS["inline"]) == ORIGINALS["inline"]

    assert not watched.calls
