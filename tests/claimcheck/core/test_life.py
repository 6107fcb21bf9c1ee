"""The life of a claim, on every store: what a delivery does with what it finds."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import patch

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCorrupted,
    ClaimExpired,
    ClaimInProgress,
    ClaimMissing,
    Purge,
)
from claimcheck.stores.base import Record, url_of_label
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import ANY_PURGE, BODY, TWO_PARTS, fail, handle
from tests.claimcheck.places import Left, Place
from tests.claimcheck.support import (
    DAY,
    SECRET,
    claim_record,
    contents_of,
    message_body,
    noise,
    parts_left,
    rewrite_parts,
    small_claim_check,
    ticket_in,
)


class TestToBeProcessed:
    @ANY_PURGE
    def test_success_leaves_a_receipt(
        self, place: Place, check: ClaimCheck, sealed: str, purge: Purge
    ) -> None:
        assert handle(check, sealed, purge=purge) == BODY

        assert claim_record(place.store, sealed) == Record("done", 0)
        assert place.left() == Left(parts=1 if purge == "never" else 0, records=1)

    def test_nothing_but_receipts_is_left_and_those_expire(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        handle(check, sealed)
        clock.advance(30 * DAY)

        other = check.seal(BODY).body.decode()
        handle(check, other)  # DynamoDB and S3 remove what has expired by themselves

        if isinstance(place.store, MemoryClaimStore | SqliteClaimStore):
            assert place.left() == Left(parts=0, records=1)
            assert claim_record(place.store, sealed) is None

    @pytest.mark.parametrize(
        ("options", "seconds"),
        [({}, 120), ({"lease_seconds": 30}, 30), ({"lease_seconds": -1}, 120)],
        ids=["by default", "as asked", "where the time has passed"],
    )
    def test_while_it_runs_the_claim_is_held(
        self, place: Place, check: ClaimCheck, sealed: str, options: Any, seconds: float
    ) -> None:
        with check.open(sealed, **options) as opened:
            assert opened.body == BODY
            assert claim_record(place.store, sealed) == Record("leased", seconds)
            assert place.left() == Left(parts=1, records=1)

    def test_failure_has_it_back_byte_for_byte(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        before = place.backup()

        fail(check, sealed)

        assert place.backup() == before
        assert handle(check, sealed) == BODY

    def test_a_body_of_several_parts(self, place: Place, check: ClaimCheck) -> None:
        sealed = check.seal(TWO_PARTS).body.decode()
        fail(check, sealed)
        assert place.left() == Left(parts=2 if place.store.part_bytes else 1, records=0)

        assert handle(check, sealed) == TWO_PARTS
        assert place.left() == Left(parts=0, records=1)


class TestInProgress:
    def test_another_delivery_is_told_when_to_come_back(
        self, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        opened = check.open(sealed, lease_seconds=300)
        clock.advance(100)

        with pytest.raises(ClaimInProgress, match=r"^message m-2 of type 'order:new'") as held:
            check.open(sealed, message_id="m-2")

        assert held.value.retry_after == pytest.approx(200)
        assert held.value.retryable
        assert opened.complete()

    def test_extended_it_is_held_longer(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        opened = check.open(sealed, lease_seconds=30)
        clock.advance(20)

        assert opened.extend(300)

        clock.advance(299)
        assert claim_record(place.store, sealed) == Record("leased", 1)
        with pytest.raises(ClaimInProgress):
            check.open(sealed)
        assert opened.complete()

    def test_a_crash_ends_with_its_lease(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        check.open(sealed, lease_seconds=30)  # and nothing more

        clock.advance(29)
        with pytest.raises(ClaimInProgress):
            check.open(sealed)
        clock.advance(1)

        assert handle(check, sealed) == BODY
        assert place.left() == Left(parts=0, records=1)

    def test_who_comes_after_that_changes_nothing(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        slow = check.open(sealed)
        clock.advance(120)
        second = check.open(sealed)

        assert not slow.extend(900)
        assert not slow.release()
        assert not slow.complete()

        assert claim_record(place.store, sealed) == Record("leased", 120)
        assert parts_left(place.store, sealed) == 1
        assert second.complete()
        assert not slow.release()
        assert claim_record(place.store, sealed) == Record("done", 0)

    def test_who_comes_after_that_is_logged(
        self, check: ClaimCheck, sealed: str, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        with check.open(sealed):
            clock.advance(120)
            check.open(sealed)

        assert "its lease ran out and another delivery has it; nothing was changed" in caplog.text

    def test_a_late_one_that_nobody_replaced_still_completes(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        slow = check.open(sealed)
        clock.advance(1_000)

        assert slow.complete()

        assert place.left() == Left(parts=0, records=1)


class TestDuplicates:
    @ANY_PURGE
    def test_its_handler_does_not_run_again(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock, purge: Purge
    ) -> None:
        handle(check, sealed, purge=purge)

        for days in (0, 1, 28):
            clock.advance(days * DAY)
            with pytest.raises(
                ClaimAlreadyProcessed, match=r"m-2 .*was handled before: its receipt says so"
            ) as duplicate:
                check.open(sealed, message_id="m-2", purge=purge)
            assert not duplicate.value.retryable
        assert place.left().records == 1

    def test_one_removes_what_a_crash_left_behind_the_receipt(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        opened = check.open(sealed)
        crashes = patch.object(place.store, "remove", side_effect=KeyboardInterrupt)
        with crashes, pytest.raises(KeyboardInterrupt):
            opened.complete()
        assert place.left().parts > 0

        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)

        assert (place.left().parts, place.left().records) == (0, 1)

    def test_of_a_message_that_was_sealed_twice_are_none(
        self, check: ClaimCheck, sealed: str
    ) -> None:
        again = check.seal(BODY).body.decode()

        assert handle(check, sealed) == handle(check, again) == BODY


class TestTime:
    """A message spends up to 14 days on its queue, and 14 more among the dead letters."""

    @ANY_PURGE
    def test_a_failure_renews_what_has_grown_old(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock, purge: Purge
    ) -> None:
        made = int(clock())
        days_of_expiry: list[float] = [15, 25, 25, 39]
        if purge == "before":  # which writes the contents again in any case
            days_of_expiry = [15.4, 25, 25.2, 39]
        elif place.store.part_bytes is None:  # S3 keeps them 43 days
            days_of_expiry = [15] * 4
        for days, expiry in zip((0.4, 10, 10.2, 24), days_of_expiry, strict=True):
            clock.now = made + days * DAY
            fail(check, sealed, purge=purge)
            contents = contents_of(place.store, sealed)
            assert contents is not None
            assert contents.expires_at == pytest.approx(made + expiry * DAY, abs=2)

    @ANY_PURGE
    def test_a_dead_letter_opens_when_it_is_redriven_28_days_after_it_was_sent(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock, purge: Purge
    ) -> None:
        clock.advance(14 * DAY - 60)
        fail(check, sealed, purge=purge)  # and SQS moves it
        clock.advance(14 * DAY)
        check.seal(BODY)  # stores remove what has expired when they write

        assert handle(check, sealed, purge=purge) == BODY

    def test_a_delay_counts(self, place: Place, check: ClaimCheck, clock: Clock) -> None:
        sealed = check.seal(BODY, delay_seconds=14 * DAY).body.decode()
        contents = contents_of(place.store, sealed)

        assert contents is not None
        assert contents.expires_at == ticket_in(sealed)["expires"] == int(clock()) + 29 * DAY

    def test_what_nobody_fetched_in_time_has_expired(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        place.store.remove(ticket_in(sealed)["id"], 1)  # as TTL does
        clock.advance(15 * DAY)

        with pytest.raises(ClaimExpired, match=r"kept until \d{4}-\d\d-\d\d .* enqueue it again"):
            check.open(sealed)

    @pytest.mark.usefixtures("several_parts")
    def test_ttl_may_begin_with_a_part(self, place: Place, check: ClaimCheck, clock: Clock) -> None:
        sealed = check.seal(TWO_PARTS).body.decode()
        rewrite_parts(place.store, sealed, lambda parts: parts[:1])
        clock.advance(15 * DAY)

        # SQLite and memory remove the rest when the record is acquired.
        with pytest.raises(ClaimExpired, match=r"1 of 2 parts have expired|nothing is left"):
            check.open(sealed)


class TestMissing:
    """Nobody can tell whether it was handled: it fails, and is never taken for a duplicate."""

    def missing(self, check: ClaimCheck, sealed: str, match: str) -> ClaimMissing:
        with pytest.raises(ClaimMissing, match=match) as missing:
            check.open(sealed, message_id="m-1")
        assert not isinstance(missing.value, ClaimExpired)
        assert not missing.value.retryable
        assert "message m-1 of type 'order:new' (claim " in str(missing.value)
        return missing.value

    def test_in_the_wrong_store_it_names_both(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        before = place.backup()

        error = self.missing(
            small_claim_check(place.elsewhere),
            sealed,
            "neither contents of its claim nor a receipt",
        )

        assert place.store.label != place.elsewhere.label
        assert f"the sender's store is {url_of_label(place.store.label)}" in str(error)
        assert f"this is {url_of_label(place.elsewhere.label)}" in str(error)
        assert "Give this reader the sender's CLAIMCHECK_STORE, or add that to" in str(error)
        assert claim_record(place.elsewhere, sealed) is None
        assert place.backup() == before
        assert handle(check, sealed) == BODY

    def test_contents_that_were_removed_by_hand(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        place.store.remove(ticket_in(sealed)["id"], 1)

        error = self.missing(check, sealed, "so it is not acknowledged")

        assert f"this have one name, {url_of_label(place.store.label)}" in str(error)
        # What to check is another thing for a table, a file, and a process.
        has_table = isinstance(place.store, DynamoDBClaimStore | DynamoDBBucketClaimStore)
        has_bucket = isinstance(place.store, S3ClaimStore | DynamoDBBucketClaimStore)
        assert ("TTL" in str(error)) == has_table
        assert ("lifecycle" in str(error)) == has_bucket
        assert ("same file" in str(error)) == isinstance(place.store, SqliteClaimStore)
        assert ("one process" in str(error)) == isinstance(place.store, MemoryClaimStore)
        assert place.left() == Left(parts=0, records=0)

    def test_a_receipt_that_was_removed_by_hand(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        handle(check, sealed)
        place.remove_record(ticket_in(sealed)["id"])

        self.missing(check, sealed, re.escape(place.store.missing_advice))

    def test_a_receipt_that_went_early_by_a_ttl_that_is_set_wrong(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        handle(check, sealed)
        clock.advance(3 * DAY)
        place.remove_record(ticket_in(sealed)["id"])

        self.missing(check, sealed, re.escape(place.store.missing_advice))

    def test_a_store_that_was_restored_from_before_it_was_sent(
        self, place: Place, check: ClaimCheck, clock: Clock
    ) -> None:
        check.seal(BODY)
        an_hour_ago = place.backup()
        clock.advance(3_600)
        sealed = check.seal(BODY).body.decode()
        place.restore(an_hour_ago)

        self.missing(check, sealed, re.escape(place.store.missing_advice))


class TestRecordsThatVanish:
    """By hand, by a TTL that is set wrong, or with a store that was restored."""

    def test_while_it_runs_and_the_end_leaves_a_receipt(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        with check.open(sealed):
            place.remove_record(ticket_in(sealed)["id"])

        assert claim_record(place.store, sealed) == Record("done", 0)
        assert place.left() == Left(parts=0, records=1)
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)

    def test_while_it_runs_and_the_next_delivery_acquires(
        self, place: Place, check: ClaimCheck, sealed: str
    ) -> None:
        first = check.open(sealed)
        place.remove_record(ticket_in(sealed)["id"])
        second = check.open(sealed)

        assert not first.complete()

        assert parts_left(place.store, sealed) == 1
        assert second.complete()

    def test_before_it_fails(self, place: Place, check: ClaimCheck, sealed: str) -> None:
        opened = check.open(sealed)
        place.remove_record(ticket_in(sealed)["id"])

        assert opened.release()

        assert handle(check, sealed) == BODY

    def test_a_restored_store_has_what_was_handled_since_processed_again(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        an_hour_ago = place.backup()
        handle(check, sealed)
        clock.advance(3_600)
        place.restore(an_hour_ago)

        assert handle(check, sealed) == BODY
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)

    def test_a_restored_store_has_leases_that_ran_out_long_ago(
        self, place: Place, check: ClaimCheck, sealed: str, clock: Clock
    ) -> None:
        first = check.open(sealed)
        an_hour_ago = place.backup()
        first.complete()
        clock.advance(3_600)
        place.restore(an_hour_ago)

        assert handle(check, sealed) == BODY


DAMAGES: dict[str, Any] = {
    "a flipped bit": lambda parts: [parts[0][:-1] + bytes([parts[0][-1] ^ 1]), parts[1]],
    "a missing part": lambda parts: parts[:1],
    "the wrong order": lambda parts: [parts[1], parts[0]],
    "a shorter end": lambda parts: [parts[0], parts[1][:-1]],
    "another claim's bytes": lambda _: [noise(1_000).encode(), noise(500).encode()],
}


class TestDamaged:
    @pytest.mark.parametrize(
        ("damage", "purge"),
        [*((each, "after") for each in DAMAGES), ("a flipped bit", "before")],
    )
    def test_it_is_released_for_inspection(
        self, place: Place, check: ClaimCheck, damage: str, purge: Purge
    ) -> None:
        sealed = check.seal(TWO_PARTS).body.decode()
        rewrite_parts(place.store, sealed, DAMAGES[damage])
        before = place.backup()

        said = "1 of 2 parts are missing" if damage == "a missing part" else "SHA-256 differs"
        if place.store.part_bytes is None:
            said = "SHA-256 differs|bytes in the store"
        with pytest.raises(ClaimCorrupted, match=rf"m-1 .*\(claim .*({said})") as corrupted:
            check.open(sealed, message_id="m-1", purge=purge)

        assert not corrupted.value.retryable
        assert place.backup() == before
        assert claim_record(place.store, sealed) is None

    def test_no_error_has_content_in_it(self, place: Place, check: ClaimCheck) -> None:
        sealed = check.seal(message_body("order:new", SECRET + noise(6_000))).body.decode()
        rewrite_parts(place.store, sealed, lambda _: [SECRET.encode()])

        with pytest.raises(ClaimCorrupted) as corrupted:
            check.open(sealed)
        assert SECRET not in str(corrupted.value)
