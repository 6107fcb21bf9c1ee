"""When contents are removed, on every store: `purge="before"` and `purge="never"`.

`before` promises that no two handlers run, whatever the leases do, and that only a crash of the
process loses what it had removed.
"""

from __future__ import annotations

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCheckError,
    ClaimInProgress,
    ClaimLost,
    ClaimMissing,
    ClaimStore,
    ClaimStoreUnavailable,
    Opened,
    Purge,
)
from claimcheck.stores.base import Lease, Record
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import BODY, TWO_PARTS, as_written_back, fail, handle
from tests.claimcheck.places import Left, Place
from tests.claimcheck.support import (
    DAY,
    claim_record,
    contents_of,
    parts_left,
    rewrite_parts,
    small_claim_check,
    ticket_in,
)
from tests.claimcheck.watched import Watched


@pytest.fixture
def check(place: Place) -> ClaimCheck:
    return small_claim_check(place.store, purge="before")


class TestBefore:
    def test_nothing_is_there_while_the_handler_runs(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        with check.open(sealed, lease_seconds=30) as opened:
            assert opened.body == BODY
            assert place.left() == Left(parts=0, records=1)
            assert claim_record(place.store, sealed) == Record("handed_over", 30)
            assert opened.extend(900)
            assert claim_record(place.store, sealed) == Record("handed_over", 900)

        assert claim_record(place.store, sealed) == Record("done", 0)

    def test_a_failing_handler_brings_it_back_byte_for_byte(
        self, place: Place, check: ClaimCheck
    ) -> None:
        sealed = check.seal(TWO_PARTS).body.decode()
        before = place.backup()

        fail(check, sealed)

        assert as_written_back(place.backup(), sealed) == as_written_back(before, sealed)
        assert handle(check, sealed) == TWO_PARTS
        assert place.left() == Left(parts=0, records=1)

    def test_another_delivery_waits_for_its_end(
        self, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        with check.open(sealed, lease_seconds=30):
            clock.advance(10)
            with pytest.raises(ClaimInProgress) as held:
                check.open(sealed)

        assert held.value.retry_after == pytest.approx(20)

    def test_a_crash_loses_it_and_says_so_each_time(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        check.open(sealed)  # and nothing more
        clock.advance(120)

        for _ in range(2):
            with pytest.raises(ClaimLost, match=r"m-1 .*\(purge='before'\).*Check how far"):
                check.open(sealed, message_id="m-1")
        assert claim_record(place.store, sealed) == Record("handed_over", 0)

    def test_a_crash_is_seen_by_a_reader_that_purges_after_too(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        check.open(sealed)
        clock.advance(120)

        with pytest.raises(ClaimLost):
            small_claim_check(place.store).open(sealed)

    def test_it_ends_late_and_only_then_it_is_a_duplicate(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        slow = check.open(sealed)
        clock.advance(1_000)
        with pytest.raises(ClaimLost):
            check.open(sealed)

        assert slow.complete()

        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)
        assert place.left() == Left(parts=0, records=1)

    def test_it_fails_late_and_is_back_all_the_same(
        self, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        slow = check.open(sealed)
        clock.advance(1_000)

        assert slow.release()

        assert handle(check, sealed) == BODY

    def test_its_record_vanishes_and_a_failure_brings_it_back(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        opened = check.open(sealed)
        place.remove_record(ticket_in(sealed)["id"])

        assert opened.release()

        assert handle(check, sealed) == BODY

    def test_its_record_vanishes_and_nobody_takes_it_for_handled(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        opened = check.open(sealed)
        place.remove_record(ticket_in(sealed)["id"])

        with pytest.raises(ClaimMissing):
            check.open(sealed)
        assert opened.complete()
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)


class TestOneHandler:
    """A delivery stops at a step, until its lease has run out and another one comes."""

    @pytest.mark.parametrize("step", ["hand_over", "remove", "extend"])
    @pytest.mark.parametrize("others_purge", ["after", "before"])
    def test_runs_however_late_a_step_is(
        self, place: Place, sealed: str, clock: Clock, step: str, others_purge: Purge
    ) -> None:
        other = small_claim_check(place.store, purge=others_purge)
        watched = Watched(place.store)
        ends: list[object] = []

        def another_comes() -> None:
            clock.advance(120)
            ends.append(end_of(other, sealed))

        watched.before(step, another_comes)
        ends.append(end_of(purging_before(watched), sealed))

        # The delivery that removed the contents runs the handler.
        assert ends == ([ClaimLost, BODY] if step == "extend" else [BODY, ClaimInProgress])
        assert place.left() == Left(parts=0, records=1)
        assert end_of(other, sealed) is ClaimAlreadyProcessed

    def test_never_runs_twice_where_another_read_before_we_removed(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        ours, others = Watched(place.store), Watched(place.store)
        ends: list[object] = []

        def another_comes() -> None:
            clock.advance(120)
            ends.append(end_of(purging_before(others), sealed))

        def we_remove() -> None:
            place.store.remove(ticket_in(sealed)["id"], 1)

        ours.before("remove", another_comes)
        others.before("acquire", lambda: None)  # refused: the claim is handed over
        others.before("acquire", we_remove)  # and now its lease has run out
        ends.append(end_of(purging_before(ours), sealed))

        assert ends == [ClaimLost, ClaimInProgress]
        clock.advance(120)
        assert end_of(small_claim_check(place.store), sealed) is ClaimLost

    def test_runs_where_two_come_after_a_crash(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        crash_before_removing(place, sealed)
        clock.advance(30)
        watched = Watched(place.store)
        ends: list[object] = []
        watched.before("acquire", lambda: None)
        watched.before(
            "acquire", lambda: ends.append(end_of(small_claim_check(place.store), sealed))
        )

        ends.append(end_of(purging_before(watched), sealed))

        assert ends == [BODY, ClaimAlreadyProcessed]

    def test_leaves_the_contents_to_the_delivery_that_has_them_now(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        others: list[Opened] = []

        def another_comes() -> None:
            clock.advance(120)
            others.append(small_claim_check(place.store).open(sealed))

        watched = Watched(place.store)
        watched.before("hand_over", another_comes)
        assert end_of(purging_before(watched), sealed) is ClaimInProgress

        assert parts_left(place.store, sealed) == 1
        assert others[0].release()
        assert end_of(purging_before(place.store), sealed) == BODY

    def test_loses_nothing_that_another_delivery_gave_back_before_we_removed(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        other = small_claim_check(place.store)
        watched = Watched(place.store)

        def another_fails() -> None:
            clock.advance(120)
            fail(other, sealed)

        watched.before("remove", another_fails)
        assert end_of(purging_before(watched), sealed) is ClaimInProgress

        assert end_of(other, sealed) == BODY

    @pytest.mark.parametrize("succeeds", [True, False])
    def test_loses_nothing_that_another_delivery_takes_over_and_fails_with_later(
        self, place: Place, sealed: str, clock: Clock, succeeds: bool
    ) -> None:
        """That one purges after its handler: `purge` is being changed."""
        other = small_claim_check(place.store)
        running: list[Opened] = []

        def another_comes() -> None:
            clock.advance(120)
            running.append(other.open(sealed))

        watched = Watched(place.store)
        watched.before("remove", another_comes)
        assert end_of(purging_before(watched), sealed) is ClaimInProgress

        assert parts_left(place.store, sealed) == 0
        running[0].settle(succeeded=succeeds)

        assert end_of(other, sealed) == (ClaimAlreadyProcessed if succeeds else BODY)
        assert place.left() == Left(parts=0, records=1)

    def test_leaves_nothing_that_another_delivery_took_over(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        crash_before_removing(place, sealed)
        clock.advance(30)

        assert end_of(small_claim_check(place.store), sealed) == BODY
        assert place.left() == Left(parts=0, records=1)

    def test_contents_do_not_come_back_behind_another_delivery(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        """They would say that no handler runs."""
        slow = purging_before(place.store).open(sealed)
        place.remove_record(ticket_in(sealed)["id"])
        place.store.acquire(f"{ticket_in(sealed)['id']}@", Lease("another's", 30))

        assert not slow.release()

        assert parts_left(place.store, sealed) == 0


class TestACrash:
    def test_before_the_contents_were_removed_loses_nothing(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        crash_before_removing(place, sealed)
        with pytest.raises(ClaimInProgress):
            small_claim_check(place.store).open(sealed)
        clock.advance(30)

        assert end_of(purging_before(place.store), sealed) == BODY
        assert place.left() == Left(parts=0, records=1)

    def test_once_a_failure_wrote_them_back_loses_nothing(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        watched = Watched(place.store)
        watched.fail("release")
        fail(purging_before(watched), sealed)
        clock.advance(120)

        assert end_of(purging_before(place.store), sealed) == BODY

    @pytest.mark.usefixtures("several_parts")
    def test_with_half_of_them_removed_is_no_damage(
        self, place: Place, check: ClaimCheck, clock: Clock
    ) -> None:
        sealed = check.seal(TWO_PARTS).body.decode()
        crash_before_removing(place, sealed)
        rewrite_parts(place.store, sealed, lambda parts: parts[:1])
        clock.advance(30)

        assert end_of(purging_before(place.store), sealed) is ClaimLost

    def test_is_not_forgotten_by_a_delivery_that_cannot_read(
        self, place: Place, sealed: str, clock: Clock
    ) -> None:
        """It takes the claim over, and the crashed delivery's removal arrives late."""
        crash_before_removing(place, sealed)
        clock.advance(30)
        watched = Watched(place.store)

        def removal_arrives() -> None:
            place.store.remove(ticket_in(sealed)["id"], 1)
            watched.fail_reading()

        watched.after("acquire", lambda: None)  # the first finds that it was handed over
        watched.after("acquire", removal_arrives)
        with pytest.raises(ClaimStoreUnavailable):
            small_claim_check(watched.store).open(sealed)
        clock.advance(120)

        assert end_of(small_claim_check(place.store), sealed) is ClaimLost


class TestNever:
    @pytest.fixture
    def check(self, place: Place) -> ClaimCheck:
        return small_claim_check(place.store, purge="never")

    def test_the_lease_is_held_all_the_same(self, check: ClaimCheck, sealed: str) -> None:
        with check.open(sealed, lease_seconds=30), pytest.raises(ClaimInProgress) as held:
            check.open(sealed)

        assert held.value.retry_after == pytest.approx(30)

    def test_the_contents_stay_until_they_expire_and_the_receipt_for_longer(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        handle(check, sealed)
        contents = contents_of(place.store, sealed)
        assert contents is not None
        assert contents.expires_at == ticket_in(sealed)["expires"]
        assert place.left() == Left(parts=1, records=1)

        clock.advance(15 * DAY)
        place.store.remove(ticket_in(sealed)["id"], 1)  # as TTL does
        clock.advance(14 * DAY)

        assert end_of(check, sealed) is ClaimAlreadyProcessed

    def test_a_failure_has_it_back(self, place: Place, check: ClaimCheck, sealed: str) -> None:
        fail(check, sealed)

        assert place.left() == Left(parts=1, records=0)
        assert handle(check, sealed) == BODY


def purging_before(store: ClaimStore | Watched) -> ClaimCheck:
    return small_claim_check(store.store if isinstance(store, Watched) else store, purge="before")


def end_of(check: ClaimCheck, sealed: str) -> object:
    """What a handler got that succeeded; or the kind of error that it was not run for."""
    try:
        return handle(check, sealed)
    except ClaimCheckError as error:
        return type(error)


def crash_before_removing(place: Place, sealed: str) -> None:
    """Have a delivery hand over its claim for 30 seconds, and nothing more."""
    key = f"{ticket_in(sealed)['id']}@"
    assert place.store.acquire(key, Lease("crashed", 30)) is None
    assert place.store.hand_over(key, "crashed")
