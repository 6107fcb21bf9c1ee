"""What `explain` says of a body, and that it changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from claimcheck import ClaimCheck, ClaimStore, open_store
from claimcheck.cli.show import BodyReport, explain
from claimcheck.core.signing import Signer
from claimcheck.stores.dynamodb_table import ClaimTable
from tests.claimcheck.support import (
    DAY,
    SECRET,
    Clock,
    body_of,
    carry,
    claim_of,
    forge,
    message_body,
    noisy_body,
    rewrite,
    rows_of,
    small_claim_check,
)
from tests.support.servers import AwsServer

KEY = "0123456789abcdef"
BODY = noisy_body(2_000_000)


@pytest.fixture
def store(tmp_path: Path) -> ClaimStore:
    return open_store(f"sqlite:///{tmp_path}/claims.db")


def look(
    body: str,
    store: ClaimStore,
    clock: Clock,
    *,
    key: str | None = None,
    max_size: int = 10_000_000,
) -> BodyReport:
    return explain(
        body,
        store=lambda: store,
        max_size=max_size,
        signer=Signer([key]) if key else None,
        now=clock(),
    )


def no_store() -> ClaimStore:
    raise AssertionError("the store was asked for")


@pytest.mark.parametrize(
    ("body", "message_type"), [(message_body("order:new", "é"), "order:new"), ("any text", None)]
)
def test_what_travels_inline(body: str, message_type: str | None) -> None:
    report = explain(body, store=no_store, max_size=1_000, signer=Signer([KEY]), now=0.0)

    assert (report.sealed, report.route, report.type) == (False, "inline", message_type)
    assert report.size == report.sent_size == len(body.encode())
    assert report.usable


def test_what_is_carried_is_checked_without_a_store(store: ClaimStore) -> None:
    body = body_of(100_000)
    sealed = ClaimCheck(store, threshold=1_000).seal(body).body.decode()
    report = explain(sealed, store=no_store, max_size=200_000, signer=None, now=0.0)

    assert (report.route, report.type, report.size) == ("compressed", "order:new", 100_000)
    assert (report.sent_size, report.stored_size) == (len(sealed), 0)
    assert report.ratio is not None
    assert report.ratio > 100
    assert report.usable

    broken = explain(
        forge(sealed, data="AAAA"), store=no_store, max_size=200_000, signer=None, now=0.0
    )
    assert broken.problem is not None
    assert "SHA-256" in broken.problem
    assert not broken.usable


class StoreContract:
    def test_a_claim_that_is_there_stays_there(self, store: ClaimStore, clock: Clock) -> None:
        sealed = ClaimCheck(store, clock=clock).seal(BODY)
        body = sealed.body.decode()

        for _ in range(2):
            report = look(body, store, clock)
            assert report.usable
            assert (report.route, report.size) == ("stored", len(BODY))
            assert (report.stored_size, report.parts) == (sealed.stored, sealed.parts)
            assert report.claim is not None
            assert (report.claim.id, report.claim.state) == (sealed.claim_id, "there")
            assert report.claim.store == store.url
            assert report.claim.expires_at == datetime.fromtimestamp(clock() + 15 * DAY, UTC)
        assert rows_of(store, body) == sealed.parts + 1
        assert ClaimCheck(store, clock=clock).open(body).body == BODY

    def test_a_claim_that_is_taken_says_until_when(self, store: ClaimStore, clock: Clock) -> None:
        claim_check = ClaimCheck(store, clock=clock)
        body = claim_check.seal(BODY).body.decode()
        opened = claim_check.open(body, lease_until=clock() + 90)

        taken = look(body, store, clock).claim
        opened.put_back()
        back = look(body, store, clock).claim

        assert taken is not None
        assert taken.state == "taken"
        assert taken.lease_until == datetime.fromtimestamp(clock() + 90, UTC)
        assert back is not None
        assert (back.state, back.lease_until) == ("there", None)

    def test_gone_before_its_time_and_after(self, store: ClaimStore, clock: Clock) -> None:
        claim_check = ClaimCheck(store, clock=clock)
        body = claim_check.seal(BODY).body.decode()
        claim_check.open(body).purge()

        gone = look(body, store, clock)
        clock.advance(15 * DAY)
        expired = look(body, store, clock)

        assert gone.claim is not None
        assert (gone.claim.state, gone.usable) == ("gone", False)
        assert "CLAIMCHECK_STORE" in str(gone.claim.detail)
        assert expired.claim is not None
        assert (expired.claim.state, expired.usable) == ("expired", False)

    def test_a_claim_that_was_renewed(self, store: ClaimStore, clock: Clock) -> None:
        claim_check = ClaimCheck(store, clock=clock)
        body = claim_check.seal(BODY).body.decode()
        clock.advance(14 * DAY)
        claim_check.open(body).put_back()

        report = look(body, store, clock)

        assert report.claim is not None
        assert report.claim.expires_at == datetime.fromtimestamp(clock() + 15 * DAY, UTC)

    def test_a_part_that_is_missing(self, store: ClaimStore, clock: Clock) -> None:
        body = ClaimCheck(store, clock=clock).seal(BODY).body.decode()
        claim = claim_of(store, body)
        rewrite(store, claim.head, [part for part in claim.parts if part is not None][:-1])

        report = look(body, store, clock)

        assert report.claim is not None
        assert report.claim.state == "damaged"
        assert report.claim.detail == f"1 of {claim.head.parts} parts are missing."
        assert not report.usable


class TestSqlite(StoreContract):
    def test_a_ticket_for_another_claim(self, store: ClaimStore, clock: Clock) -> None:
        body = ClaimCheck(store, clock=clock).seal(BODY).body.decode()
        claim = claim_of(store, body)
        for other in (
            forge(body, sha256="0" * 64),
            json.dumps({**json.loads(body), "type": "order:old"}),
        ):
            report = look(other, store, clock)
            assert report.claim is not None
            assert report.claim.state == "damaged"

        rewrite(store, replace(claim.head, size=claim.head.size + 1), [b"x"] * claim.head.parts)
        report = look(body, store, clock)
        assert report.claim is not None
        assert report.claim.state == "damaged"

    def test_a_store_that_cannot_be_read(self, tmp_path: Path, clock: Clock) -> None:
        path = tmp_path / "claims.db"
        body = ClaimCheck(open_store(f"sqlite:///{path}")).seal(BODY).body.decode()
        (tmp_path / "broken.db").write_text("no database " * 1_000)

        broken = look(body, open_store(f"sqlite:///{tmp_path}/broken.db"), clock)
        memory = look(body, open_store("memory://"), clock)

        assert broken.claim is not None
        assert broken.claim.state == "unreadable"
        assert "not a database" in str(broken.claim.detail)
        assert memory.claim is not None
        assert memory.claim.state == "unreadable"
        assert not broken.usable

    def test_a_malformed_ticket(self, store: ClaimStore, clock: Clock) -> None:
        body = ClaimCheck(store, clock=clock).seal(BODY).body.decode()

        for bad, text in (
            (forge(body, parts=-1), "malformed (parts)"),
            (forge(body, v=2), "Upgrade letsgo-claimcheck"),
            (forge(body, expires=SECRET), "malformed (expires)"),
        ):
            report = look(bad, store, clock)
            assert report.sealed
            assert report.problem is not None
            assert text in report.problem
            assert SECRET not in repr(report)
            assert not report.usable
        assert not look(body, store, clock, max_size=1_000).usable

    def test_a_ticket_that_outlives_the_calendar(self, store: ClaimStore, clock: Clock) -> None:
        body = ClaimCheck(store, clock=clock).seal(BODY).body.decode()

        report = look(forge(body, expires=2**53 - 1, id="x" * 24), store, clock)

        assert report.claim is not None
        assert report.claim.expires_at.year == 9999

    def test_signatures(self, store: ClaimStore, clock: Clock) -> None:
        signed = small_claim_check(store, clock=clock, signing_key=KEY).seal(BODY).body.decode()
        unsigned = carry(b"x", size=1, encoding="identity")

        assert look(signed, store, clock).signed
        assert look(signed, store, clock, key=KEY).usable
        assert not look(signed, store, clock, key="another key, as long").usable
        assert not look(unsigned, store, clock, key=KEY).usable


class TestDynamoDB(StoreContract):
    @pytest.fixture
    def store(self, aws: AwsServer) -> ClaimStore:
        name = aws.make_table_name()
        ClaimTable(name, region=aws.region).create()
        return open_store(f"dynamodb://{name}", region=aws.region)
