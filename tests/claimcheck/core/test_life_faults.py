"""The life of a claim on stores that fail: at each step, nothing is lost and nothing runs twice."""

from __future__ import annotations

import logging

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimInProgress,
    ClaimLost,
    ClaimStoreUnavailable,
    Purge,
)
from claimcheck.stores.base import Record
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import ANY_PURGE, BODY, TWO_PARTS, as_written_back, fail, handle
from tests.claimcheck.places import Left, Place
from tests.claimcheck.support import (
    DAY,
    claim_record,
    contents_of,
    parts_left,
    small_claim_check,
    ticket_in,
)
from tests.claimcheck.watched import ALWAYS, Watched


@pytest.fixture
def watched(place: Place) -> Watched:
    return Watched(place.store)


@pytest.fixture
def check(watched: Watched) -> ClaimCheck:
    return small_claim_check(watched.store)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a store that failed again at once."""
    monkeypatch.setattr("claimcheck.core.holds.STORE_PAUSES_SECONDS", (0, 0, 0))


class TestSealing:
    def test_contents_that_cannot_be_written_are_an_error_for_the_sender(
        self, place: Place, watched: Watched, check: ClaimCheck
    ) -> None:
        watched.fail("write")

        with pytest.raises(ClaimStoreUnavailable):
            check.seal(BODY)

        assert place.left() == Left(parts=0, records=0)

    def test_a_body_that_was_not_sent_is_discarded(self, place: Place, check: ClaimCheck) -> None:
        check.discard(check.seal(TWO_PARTS))

        assert place.left() == Left(parts=0, records=0)


class TestOpening:
    @ANY_PURGE
    @pytest.mark.parametrize("step", ["read", "acquire"])
    def test_a_store_that_does_not_answer_leaves_the_claim_as_it_was(
        self,
        place: Place,
        *,
        watched: Watched,
        check: ClaimCheck,
        sealed: str,
        step: str,
        purge: Purge,
    ) -> None:
        before = place.backup()
        watched.fail(step)

        with pytest.raises(ClaimStoreUnavailable) as refused:
            check.open(sealed, purge=purge)

        assert refused.value.retryable
        assert place.backup() == before
        assert handle(check, sealed, purge=purge) == BODY

    def test_contents_that_cannot_be_read_release_the_record(
        self, place: Place, watched: Watched, check: ClaimCheck, sealed: str
    ) -> None:
        watched.fail_reading()

        with pytest.raises(ClaimStoreUnavailable):
            check.open(sealed)

        assert place.left() == Left(parts=1, records=0)
        assert handle(check, sealed) == BODY

    def test_a_lost_answer_has_acquired_it_for_the_next_try_of_this_delivery(
        self, watched: Watched, check: ClaimCheck, sealed: str
    ) -> None:
        watched.lose_answer("acquire")
        with pytest.raises(ClaimStoreUnavailable):
            check.open(sealed, lease_id="of this delivery")

        with pytest.raises(ClaimInProgress):
            check.open(sealed)
        assert handle(check, sealed, lease_id="of this delivery") == BODY

    def test_what_a_failing_delivery_writes_back_meanwhile_is_found(
        self, place: Place, check: ClaimCheck, sealed: str, watched: Watched
    ) -> None:
        """It was read before the record was acquired, and was not there."""
        failing = small_claim_check(place.store, purge="before").open(sealed)
        watched.read_early()
        watched.before("acquire", failing.release)

        assert handle(check, sealed) == BODY


class TestHandingOver:
    """`purge="before"`: the handler does not run, and the claim is back."""

    @pytest.mark.parametrize("step", ["hand_over", "remove", "extend"])
    @pytest.mark.parametrize("answer", ["refused", "lost"])
    def test_that_breaks_off_loses_nothing(
        self, place: Place, watched: Watched, check: ClaimCheck, step: str, answer: str
    ) -> None:
        sealed = check.seal(TWO_PARTS).body.decode()
        before = place.backup()
        (watched.fail if answer == "refused" else watched.lose_answer)(step)

        with pytest.raises(ClaimStoreUnavailable):
            check.open(sealed, purge="before")

        assert watched.calls[step] > 0
        assert as_written_back(place.backup(), sealed) == as_written_back(before, sealed)
        assert handle(check, sealed) == TWO_PARTS

    def test_that_breaks_off_in_a_store_that_stays_down_ends_with_its_lease(
        self, place: Place, watched: Watched, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        for step in ("remove", "extend", "write", "release"):
            watched.fail(step, times=ALWAYS)
        with pytest.raises(ClaimStoreUnavailable):
            check.open(sealed, purge="before")
        assert parts_left(place.store, sealed) == 1

        watched.recover()
        clock.advance(120)

        assert handle(check, sealed, purge="before") == BODY


class TestWritingBack:
    """`purge="before"`, and the handler fails: the bytes are here only, and worth some patience."""

    @pytest.mark.parametrize("step", ["extend", "write"])
    @pytest.mark.parametrize(("outages", "is_back"), [(3, True), (4, False)])
    def test_outlasts_a_store_that_is_down_for_a_moment(
        self,
        place: Place,
        *,
        watched: Watched,
        check: ClaimCheck,
        sealed: str,
        step: str,
        outages: int,
        is_back: bool,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        opened = check.open(sealed, purge="before")
        watched.fail(step, times=outages)

        with pytest.raises(ConnectionError), opened:
            raise ConnectionError

        assert (parts_left(place.store, sealed) == 1) == is_back
        assert ("its payload is lost" in caplog.text) != is_back
        if is_back:
            assert handle(check, sealed) == BODY
        else:
            clock.advance(120)
            with pytest.raises(ClaimLost):
                check.open(sealed)

    def test_whose_answer_was_lost_writes_the_same_again(
        self, place: Place, watched: Watched, check: ClaimCheck, sealed: str
    ) -> None:
        before = place.backup()
        opened = check.open(sealed, purge="before")
        watched.lose_answer("write")

        assert opened.release()

        assert as_written_back(place.backup(), sealed) == as_written_back(before, sealed)


class TestEnding:
    @pytest.mark.parametrize("step", ["complete", "release"])
    def test_that_fails_is_logged_and_left_to_the_lease(
        self,
        watched: Watched,
        *,
        check: ClaimCheck,
        sealed: str,
        step: str,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        watched.fail(step, times=ALWAYS)

        with caplog.at_level(logging.WARNING):
            if step == "complete":
                assert handle(check, sealed) == BODY
            else:
                fail(check, sealed)
        watched.recover()

        claim_id = ticket_in(sealed)["id"]
        assert f"record {claim_id}@ could not be {step}d: the test says so" in caplog.text
        clock.advance(120)
        assert handle(check, sealed) == BODY

    def test_a_receipt_whose_answer_was_lost_is_there(
        self, watched: Watched, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        watched.lose_answer("complete")
        assert handle(check, sealed) == BODY
        clock.advance(120)

        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)

    def test_each_may_be_repeated(self, place: Place, check: ClaimCheck, sealed: str) -> None:
        opened = check.open(sealed)
        assert opened.release()
        assert opened.release()

        opened = check.open(sealed)
        assert opened.complete()
        assert opened.complete()
        assert not opened.release()
        assert claim_record(place.store, sealed) == Record("done", 0)

    def test_contents_that_cannot_be_removed_are_left_to_expire(
        self,
        place: Place,
        watched: Watched,
        check: ClaimCheck,
        sealed: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        watched.fail("remove")

        assert handle(check, sealed) == BODY

        assert "its contents are left to expire: the test says so" in caplog.text
        assert place.left() == Left(parts=1, records=1)
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)

    def test_contents_that_cannot_be_renewed_are_released(
        self,
        place: Place,
        *,
        watched: Watched,
        check: ClaimCheck,
        sealed: str,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        clock.advance(DAY)
        watched.fail("renew")

        fail(check, sealed)

        assert "expires when it did before: the test says so" in caplog.text
        contents = contents_of(place.store, sealed)
        assert contents is not None
        assert contents.expires_at == ticket_in(sealed)["expires"]
        assert handle(check, sealed) == BODY

    def test_what_was_not_found_is_not_renewed(self, watched: Watched, check: ClaimCheck) -> None:
        """A ticket may name a thousand parts that were never there."""
        sealed = check.seal(BODY)
        check.discard(sealed)

        with pytest.raises(Exception, match="neither contents of its claim nor a receipt"):
            check.open(sealed.body.decode())

        assert watched.calls["renew"] == 0
