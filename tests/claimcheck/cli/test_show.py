"""`claimcheck show`: what it says of a body and its claim, and that it changes nothing."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from claimcheck import ClaimCheck, ClaimCheckMiddleware, ClaimStore, open_store
from claimcheck.cli.show import BodyReport, ClaimReport, explain, report_on
from claimcheck.core.store_choice import Stores
from claimcheck.core.trust import Trust
from claimcheck.testing import Clock
from letsgo_queue import Client
from letsgo_queue.failure import Failure
from tests.claimcheck.places import Place
from tests.claimcheck.support import (
    DAY,
    SECRET,
    body_of,
    carry,
    forge,
    message_body,
    noise,
    noisy_body,
    rewrite_parts,
    small_claim_check,
)
from tests.letsgo_queue.support import receive_one
from tests.support.command import run

KEY = "0123456789abcdef"
BODY = noisy_body(2_000_000)


def look(
    body: str, store: ClaimStore | None = None, *, key: str | None = None, max_size: int = 10**7
) -> BodyReport:
    """What the command says of a body; without a store it must ask none."""

    def the_stores() -> Stores:
        assert store is not None, "a store was asked for"
        return Stores(store)

    return explain(body, stores=the_stores, max_size=max_size, trust=Trust(signing_key=key))


def look_at_claim(body: str, store: ClaimStore) -> tuple[ClaimReport, bool]:
    """What the command says of a body's claim, and whether all is fine."""
    report = look(body, store)
    assert report.claim is not None
    return report.claim, report.fine


def seal(store: ClaimStore, body: str = BODY) -> str:
    return ClaimCheck(store).seal(body).body.decode()


class TestInline:
    def test_a_message(self) -> None:
        body = message_body("order:new", "é")

        report = look(body, key=KEY)

        assert (report.sealed, report.route, report.type) == (False, "inline", "order:new")
        assert report.size == report.sent_size == len(body.encode())
        assert report.fine

    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            ("any text", "not JSON"),
            ('{"type":"order:new","payload":{"cut off', "not JSON"),
            ('{"payload":1}', "no string `type`"),
            ("[1, 2]", "no string `type`"),
            ('{"type":"order:new","payload":NaN}', "not JSON"),
            ('{"type":"\\ud800","payload":1}', "no string `type`"),
            ('{"type":"order:new","payload":1,"type":"order:paid"}', "it has two types"),
        ],
    )
    def test_what_no_worker_can_read(self, body: str, problem: str) -> None:
        report = look(body)

        assert (report.sealed, report.route, report.fine) == (False, None, False)
        assert problem in str(report.problem)

    def test_what_is_not_signed_where_every_message_must_be(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://")
        monkeypatch.setenv("CLAIMCHECK_SIGNING_KEY", KEY)
        monkeypatch.setenv("CLAIMCHECK_SIGN_EVERY_MESSAGE", "true")

        report = report_on(BODY, None)

        assert "not signed" in str(report.problem)
        assert not report.fine


class TestCarried:
    def test_it_is_checked_without_a_store(self, store: ClaimStore) -> None:
        sealed = ClaimCheck(store, threshold=1_000).seal(body_of(100_000)).body.decode()

        report = look(sealed)

        assert (report.route, report.type, report.size) == ("compressed", "order:new", 100_000)
        assert (report.sent_size, report.stored_size) == (len(sealed), 0)
        assert report.ratio is not None
        assert report.ratio > 100
        assert report.fine

    def test_data_that_is_not_what_was_sealed(self, store: ClaimStore) -> None:
        sealed = ClaimCheck(store, threshold=1_000).seal(body_of(100_000)).body.decode()

        report = look(forge(sealed, data="AAAA"))

        assert "SHA-256" in str(report.problem)
        assert not report.fine


class TestStored:
    def test_there_and_it_stays_there(self, place: Place, clock: Clock) -> None:
        sealed = ClaimCheck(place.store).seal(BODY)
        body = sealed.body.decode()
        before = place.left()

        for _ in range(2):
            report = look(body, place.store)
            assert report.fine
            assert (report.route, report.size) == ("stored", len(BODY))
            assert (report.stored_size, report.parts) == (sealed.stored, sealed.parts)
            claim = report.claim
            assert claim is not None
            assert (claim.id, claim.state, claim.detail) == (sealed.claim_id, "there", None)
            assert claim.store == claim.sender_store == place.store.label
            assert claim.expires_at == datetime.fromtimestamp(clock() + 15 * DAY, UTC)
        assert place.left() == before
        assert ClaimCheck(place.store).open(body).body == BODY

    def test_leased_until_its_lease_ends(self, place: Place, clock: Clock) -> None:
        body = seal(place.store)
        opened = ClaimCheck(place.store).open(body, lease_seconds=90)

        leased, fine = look_at_claim(body, place.store)

        assert (leased.state, fine) == ("leased", True)
        assert leased.lease_until == datetime.fromtimestamp(clock() + 90, UTC)
        assert opened.release()
        assert look_at_claim(body, place.store)[0].state == "there"

    def test_there_again_after_a_crash(self, place: Place, clock: Clock) -> None:
        body = seal(place.store)
        ClaimCheck(place.store).open(body, lease_seconds=90)
        clock.advance(90)

        claim, fine = look_at_claim(body, place.store)

        assert (claim.state, claim.lease_until, fine) == ("there", None, True)

    def test_done(self, place: Place) -> None:
        body = seal(place.store)
        with ClaimCheck(place.store).open(body):
            pass

        claim, fine = look_at_claim(body, place.store)

        assert (claim.state, claim.lease_until, fine) == ("done", None, True)

    def test_handed_over_and_lost_by_a_crash(self, place: Place, clock: Clock) -> None:
        body = seal(place.store)
        ClaimCheck(place.store, purge="before").open(body, lease_seconds=90)

        held, held_fine = look_at_claim(body, place.store)
        clock.advance(91)
        lost, lost_fine = look_at_claim(body, place.store)

        assert (held.state, held.detail, held_fine) == ("handed_over", None, True)
        assert held.lease_until is not None
        assert (lost.state, lost.lease_until, lost_fine) == ("handed_over", None, False)
        assert "Check how far the work came" in str(lost.detail)

    def test_handed_over_and_brought_back_by_a_failure(self, place: Place) -> None:
        body = seal(place.store)
        assert ClaimCheck(place.store, purge="before").open(body).release()

        assert look_at_claim(body, place.store)[0].state == "there"

    def test_missing_before_its_time_and_expired_after(self, place: Place, clock: Clock) -> None:
        body = seal(place.store)

        missing, missing_fine = look_at_claim(body, place.elsewhere)
        clock.advance(15 * DAY)
        expired, _ = look_at_claim(body, place.elsewhere)

        assert not missing_fine
        assert (missing.store, missing.sender_store) == (place.elsewhere.label, place.store.label)
        assert "Give this reader the sender's CLAIMCHECK_STORE" in str(missing.detail)
        assert (missing.state, expired.state) == ("missing", "expired")

    def test_a_claim_that_was_renewed(self, place: Place, clock: Clock) -> None:
        body = seal(place.store)
        clock.advance(14 * DAY)
        ClaimCheck(place.store).open(body).release()

        claim, _ = look_at_claim(body, place.store)

        # S3 keeps an object for longer than any message may be renewed.
        days = 1 if place.store.part_bytes is None else 15
        assert claim.expires_at == datetime.fromtimestamp(clock() + days * DAY, UTC)

    def test_a_part_that_is_missing(self, place: Place) -> None:
        body = seal(place.store)
        rewrite_parts(place.store, body, lambda parts: parts[:-1])

        claim, fine = look_at_claim(body, place.store)

        assert (claim.state, fine) == ("damaged", False)
        in_pieces = place.store.part_bytes is not None
        told = "1 of 3 parts are missing" if in_pieces else "1,037,870 in its ticket"
        assert told in str(claim.detail)

    def test_parts_that_are_not_what_was_sealed(self, place: Place) -> None:
        body = seal(place.store)
        rewrite_parts(place.store, body, lambda parts: parts[::-1])

        claim, fine = look_at_claim(body, place.store)

        assert (claim.state, fine) == ("damaged", False)
        assert "SHA-256" in str(claim.detail)


class TestTicket:
    def test_of_another_claim(self, store: ClaimStore) -> None:
        body = seal(store)
        for other in (
            forge(body, sha256="0" * 64),
            forge(body, size=len(BODY) + 1),
            json.dumps({**json.loads(body), "type": "order:old"}),
        ):
            claim, fine = look_at_claim(other, store)
            assert (claim.state, fine) == ("damaged", False)

    def test_malformed(self, store: ClaimStore) -> None:
        body = seal(store)

        for bad, text in (
            (forge(body, parts=-1), "malformed (parts)"),
            (forge(body, v=2), "Upgrade letsgo-claimcheck"),
            (forge(body, expires=SECRET), "malformed (expires)"),
        ):
            report = look(bad)
            assert report.sealed
            assert text in str(report.problem)
            assert SECRET not in repr(report)
            assert not report.fine
        assert not look(body, max_size=1_000).fine

    def test_that_outlives_the_calendar(self, tmp_path: Path) -> None:
        store = open_store(f"sqlite:///{tmp_path}/claims.db")

        claim, _ = look_at_claim(forge(seal(store), expires=2**53 - 1, id="x" * 24), store)

        assert (claim.state, claim.expires_at.year) == ("missing", 9999)
        assert store.missing_advice in str(claim.detail)
        store.close()

    def test_signed_or_not(self, store: ClaimStore) -> None:
        signed = small_claim_check(store, signing_key=KEY).seal(BODY).body.decode()
        unsigned = carry(b"x", size=1, encoding="identity")

        assert look(signed, store).signed
        assert look(signed, store, key=KEY).fine
        assert not look(signed, store, key="another key, as long").fine
        assert not look(unsigned, store, key=KEY).fine


def test_a_store_that_cannot_be_read(tmp_path: Path, store: ClaimStore) -> None:
    (tmp_path / "broken.db").write_text("no database " * 1_000)
    broken = open_store(f"sqlite:///{tmp_path}/broken.db")

    claim, fine = look_at_claim(seal(store), broken)

    assert (claim.state, fine) == ("unreadable", False)
    assert "not a database" in str(claim.detail)
    broken.close()


class TestCommand:
    """As it is used: behind a pipe."""

    @pytest.fixture
    def store_url(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """Beside a SQLite queue, where nothing else is set."""
        url = f"sqlite:///{tmp_path / 'work.db'}"
        monkeypatch.setenv("LETSGO_QUEUE_URL", f"{url}?visibility_timeout=60")
        return url

    def test_explains_a_stored_message_from_there_to_done(
        self, tmp_path: Path, store_url: str
    ) -> None:
        claim_check = ClaimCheck(open_store(store_url))
        text = message_body("order:new", SECRET + noise(1_000_000))
        body = claim_check.seal(text).body.decode()

        there = run("claimcheck", "show", cwd=tmp_path, stdin=body + "\n")
        opened = claim_check.open(body)
        leased = run("claimcheck", "show", cwd=tmp_path, stdin=body)
        opened.complete()
        done = run("claimcheck", "show", "--json", cwd=tmp_path, stdin=body)
        claim_check.store.close()

        assert (there.returncode, there.stderr) == (0, "")
        lines = dict(line.split(None, 1) for line in there.stdout.splitlines())
        assert lines["type"] == "order:new"
        assert lines["route"] == "stored"
        assert lines["size"] == f"{len(text):,} bytes"
        assert lines["state"] == "there"
        assert "sender's store" not in there.stdout
        assert leased.returncode == 0
        assert "leased, lease until 20" in leased.stdout
        assert done.returncode == 0
        assert json.loads(done.stdout)["claim"]["state"] == "done"
        for shown in (there, leased, done):
            assert SECRET not in shown.stdout + shown.stderr

    def test_names_both_stores_where_they_differ(self, tmp_path: Path, store_url: str) -> None:
        senders = open_store(f"sqlite:///{tmp_path}/other.db")
        body = seal(senders)

        here = run("claimcheck", "show", cwd=tmp_path, stdin=body)
        there = run("claimcheck", "show", "--queue", "sqlite:///other.db", cwd=tmp_path, stdin=body)

        assert here.returncode == 1
        assert f"store           sqlite:///{tmp_path}/work.db\n" in here.stdout
        assert f"sender's store  sqlite:///{tmp_path}/other.db\n" in here.stdout
        assert "state           missing: " in here.stdout
        assert there.returncode == 0
        assert "sender's store" not in there.stdout
        senders.close()

    def test_a_payload_that_was_handed_over_reads_as_words(
        self, tmp_path: Path, store_url: str
    ) -> None:
        store = open_store(store_url)
        body = seal(store)
        ClaimCheck(store, purge="before").open(body)

        shown = run("claimcheck", "show", cwd=tmp_path, stdin=body)

        assert "state           handed over, lease until 20" in shown.stdout
        store.close()

    @pytest.mark.parametrize(
        ("stdin", "code", "said"),
        [
            (message_body("greet", SECRET), 0, "inline"),
            ('{"type":"x\\u001b[31m"}', 0, r"x\x1b[31m"),
            ("any text", 1, "not JSON"),
            ('{"type":"order:new","claimCheck":{"v":1}}', 1, "malformed"),
            ("\n", 1, "error: standard input is empty"),
        ],
    )
    def test_explains_anything(
        self, tmp_path: Path, store_url: str, stdin: str, code: int, said: str
    ) -> None:
        shown = run("claimcheck", "show", cwd=tmp_path, stdin=stdin)

        assert shown.returncode == code
        assert said in shown.stdout + shown.stderr
        assert SECRET not in shown.stdout
        assert "Traceback" not in shown.stderr
        assert not (tmp_path / "work.db").exists()

    @pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
    def test_a_dead_letter_goes_through_a_pipe(self, tmp_path: Path, store_url: str) -> None:
        store = open_store(store_url)
        client = Client(middleware=[ClaimCheckMiddleware(ClaimCheck(store))])
        client.enqueue({"type": "order:new", "payload": noise(3_000_000)})
        message = receive_one(client.transport())
        client.transport().move_to_dead_letters(message, Failure.because("no use"))
        client.close()
        store.close()
        python = shlex.quote(sys.executable)
        pipe = (
            f"{python} -m letsgo_queue.cli.app dead-letter show {message.message_id}"
            f" --payload --json | jq -r .body | {python} -m claimcheck.cli.app show --json"
        )

        shown = subprocess.run(["sh", "-c", pipe], cwd=tmp_path, capture_output=True, check=True)

        report = json.loads(shown.stdout)
        assert (report["type"], report["route"]) == ("order:new", "stored")
        assert (report["sent_size"], report["claim"]["state"]) == (len(message.body), "there")
