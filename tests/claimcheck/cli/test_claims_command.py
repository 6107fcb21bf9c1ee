"""`claimcheck claims`: list, show, release and delete."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from claimcheck import ClaimStore
from claimcheck.cli.app import app
from claimcheck.opening import consumer_of
from claimcheck.stores.base import Lease
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing.claims import MINE, Claim, read, write
from letsgo_queue.errors import LetsGoError
from tests.claimcheck.s3_places import BucketPlace, Places, S3Place
from tests.claimcheck.stores.support import change
from tests.support.servers import AwsServer

DAY = 24 * 3600
NOW = int(time.time())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims.db"


@pytest.fixture
def store(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteClaimStore]:
    store = SqliteClaimStore(path)
    monkeypatch.setenv("CLAIMCHECK_STORE", store.url)
    yield store
    store.close()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["claims", *arguments], catch_exceptions=False)


def printed(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def age(path: Path, claim: Claim, *, expires_at: int) -> None:
    """Have a claim be older."""
    change(
        path,
        "UPDATE claim_contents SET created_at = ?, expires_at = ? WHERE claim_id = ?",
        expires_at - 15 * DAY,
        expires_at,
        claim.id,
    )


class TestList:
    def test_claims_are_listed_newest_first_with_their_states_and_totals(
        self, store: SqliteClaimStore
    ) -> None:
        waiting, leased, done = (write(store, 1_000, type=name) for name in ("a", "b", "c"))
        store.acquire(leased.key, MINE)
        store.acquire(done.key, MINE)
        store.complete(done.key, MINE.id)

        document = printed("list")
        text = command("list").stdout

        assert [(each["id"], each["type"], each["state"]) for each in document["claims"]] == [
            (done.id, "c", "done"),
            (leased.id, "b", "leased"),
            (waiting.id, "a", "waiting"),
        ]
        assert (document["count"], document["stored"]) == (3, 3_000)
        assert (document["held"], document["receipts"]) == (1, 1)
        assert document["dollars_a_month"] is None  # a file costs nothing
        assert text.index(done.id) < text.index(leased.id) < text.index(waiting.id)
        assert "3 claims, 3,000 bytes stored\n1 receipt of what was done\n" in text

    def test_some_are_chosen_by_type_age_and_number(
        self, store: SqliteClaimStore, path: Path
    ) -> None:
        old, young = write(store, 10, type="a"), write(store, 10, type="b")
        age(path, old, expires_at=NOW + 5 * DAY)
        change(path, "UPDATE claim_contents SET created_at = ? WHERE type = 'b'", NOW)

        def ids(*options: str) -> list[str]:
            return [each["id"] for each in printed("list", *options)["claims"]]

        assert ids("--type", "b") == [young.id]
        assert ids("--older-than", "9d") == [old.id]
        assert ids("--older-than", "11d") == []
        assert ids("--limit", "1") == [young.id]
        assert printed("list", "--limit", "1")["cut"]
        assert not printed("list", "--limit", "2")["cut"]

    def test_receipts_are_listed_on_request(self, store: SqliteClaimStore) -> None:
        store.acquire("gone@billing", MINE)
        store.complete("gone@billing", MINE.id)

        assert printed("list")["claims"] == []
        (receipt,) = printed("list", "--receipts")["claims"]
        assert receipt == {"id": "gone", "consumer": "billing", "state": "done", "receipt": True}
        assert "receipt of billing" in command("list", "--receipts").stdout

    def test_what_a_sender_chose_cannot_take_over_a_terminal(self, store: SqliteClaimStore) -> None:
        write(store, type="\x1b[2Jgotcha\n")

        assert "\x1b" not in command("list").stdout
        assert printed("list")["claims"][0]["type"] == "\x1b[2Jgotcha\n"


@pytest.mark.parametrize("arguments", [["show"], ["release", "--yes"], ["delete", "--id"]])
def test_an_id_that_is_no_utf8_is_an_error_of_ours(
    store: SqliteClaimStore, arguments: list[str]
) -> None:
    write(store)

    with pytest.raises(LetsGoError, match="an argument is not UTF-8 text"):
        command(*arguments, "\udcff")  # as Python reads the byte 0xff


def test_a_look_makes_no_file(tmp_path: Path) -> None:
    here = ("--store", f"sqlite:///{tmp_path}/none.db")

    assert "0 claims, 0 bytes stored" in command("list", *here).stdout
    assert command("show", "any", *here).exit_code == 1
    assert command("release", "any", *here).exit_code == 1
    assert list(tmp_path.iterdir()) == []


class TestShow:
    def test_a_claim_is_shown_without_its_contents(self, store: SqliteClaimStore) -> None:
        claim = write(store, 100, 50)
        store.acquire(claim.key, MINE)

        text = command("show", claim.id).stdout

        assert "150 bytes in 2 parts" in text
        assert "leased, until " in text
        assert printed("show", claim.id)["contents"]["state"] == "leased"

    def test_a_receipt_is_shown_when_the_contents_are_gone(self, store: SqliteClaimStore) -> None:
        store.acquire("gone@", MINE)
        store.complete("gone@", MINE.id)

        assert "contents  gone\nstate     done\n" in command("show", "gone").stdout

    def test_nothing_is_exit_code_1(self, store: SqliteClaimStore) -> None:
        result = command("show", "none")

        assert result.exit_code == 1
        assert "has neither contents nor a record of none" in result.stderr


class TestRelease:
    def test_the_next_delivery_may_have_it_at_once(self, store: SqliteClaimStore) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)

        assert printed("release", claim.id, "--yes")["released"]

        assert store.acquire(claim.key, Lease("next", 60)) is None

    def test_without_a_terminal_it_asks_for_yes(self, store: SqliteClaimStore) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)

        assert command("release", claim.id).exit_code == 2
        assert store.look_up(claim.key) is not None

    def test_what_is_not_leased_is_refused(self, store: SqliteClaimStore) -> None:
        for key in ("handed@", "done@"):
            store.acquire(key, MINE)
        store.hand_over("handed@", MINE.id)
        store.complete("done@", MINE.id)
        store.acquire("late@", Lease("late", -1))

        for claim_id, reason in (
            ("none", "no record"),
            ("done", "the work is done"),
            ("handed", "handed over"),
            ("late", "has run out"),
        ):
            result = command("release", claim_id, "--yes")
            assert (result.exit_code, reason in result.stderr) == (1, True), claim_id

    def test_a_delivery_that_goes_on_meanwhile_keeps_its_lease(
        self, store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)

        def extend_meanwhile(question: str) -> None:
            store.extend(claim.key, Lease(MINE.id, 300))

        monkeypatch.setattr("claimcheck.cli.claims._ask", extend_meanwhile)
        result = command("release", claim.id)

        assert result.exit_code == 1
        assert "changed meanwhile" in result.stderr
        assert store.look_up(claim.key) is not None


class TestDelete:
    def test_expired_claims_go_but_those_that_are_held(
        self, store: SqliteClaimStore, path: Path
    ) -> None:
        kept, held, gone = (write(store) for _ in range(3))
        for claim in (held, gone):
            age(path, claim, expires_at=NOW - 10)
        change(
            path,
            "INSERT INTO claim_records VALUES (?, 'leased', 'x', ?, ?)",
            held.key,
            NOW + DAY // 2,
            NOW + DAY,
        )

        would = printed("delete", "--expired", "--dry-run")
        there = there_in(store, kept, held, gone)
        deleted = printed("delete", "--expired", "--yes")

        assert [each["id"] for each in would["claims"]] == [gone.id]
        assert there == [True, True, True]
        assert deleted["claims"] == [{"id": gone.id, "error": None}]
        assert there_in(store, kept, held, gone) == [True, True, False]

    def test_a_claim_goes_by_its_id_and_an_unknown_id_is_said(
        self, store: SqliteClaimStore
    ) -> None:
        kept, gone = write(store), write(store)

        result = command("delete", "--id", gone.id, "--id", "unknown", "--yes")

        assert result.exit_code == 1
        assert "unknown is not there" in result.stderr
        assert "1 claim of " in result.stdout
        assert there_in(store, kept, gone) == [True, False]

    def test_it_lists_and_asks_first(self, store: SqliteClaimStore) -> None:
        claim = write(store)

        result = command("delete", "--id", claim.id)

        assert result.exit_code == 2
        assert claim.id in result.stdout
        assert there_in(store, claim) == [True]

    @pytest.mark.parametrize("answer", ["y", "n"])
    def test_the_answer_counts(
        self, store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        claim = write(store)
        monkeypatch.setattr("claimcheck.cli.claims.is_interactive", lambda: True)

        result = CliRunner().invoke(app, ["claims", "delete", "--id", claim.id], input=answer)

        assert "Delete the contents of 1 claim for good?" in result.stderr
        assert result.exit_code == (answer == "n")
        assert there_in(store, claim) == [answer == "n"]

    def test_what_a_delivery_acquires_after_the_question_stays(
        self, store: SqliteClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken, gone = write(store), write(store)

        def acquire_meanwhile(question: str) -> None:
            store.acquire(taken.key, MINE)

        monkeypatch.setattr("claimcheck.cli.claims._ask", acquire_meanwhile)
        result = command("delete", "--id", taken.id, "--id", gone.id)

        assert result.exit_code == 1
        assert "a delivery holds it" in result.stderr
        assert there_in(store, taken, gone) == [True, False]

    def test_one_reason_is_asked_for(self, store: SqliteClaimStore) -> None:
        assert command("delete", "--yes").exit_code == 2
        assert command("delete", "--expired", "--orphaned", "--yes").exit_code == 2
        assert command("delete", "--expired", "--queue", "x", "--yes").exit_code == 2
        assert command("delete", "--id", "x", "--limit", "1", "--yes").exit_code == 2


class TestOrphaned:
    def test_a_claim_is_orphaned_when_queue_and_dead_letters_have_forgotten_it(
        self, store: SqliteClaimStore, path: Path, ministack: AwsServer
    ) -> None:
        queue, dead = ministack.make_queue(), ministack.make_queue()
        keep(ministack, queue, 2 * DAY, dead)
        keep(ministack, dead, 3 * DAY)
        # Due 7.5 days ago, and a little more or less: 2 days, 3 days, and 2 after a redrive, and
        # half a day in which a failure renews nothing.
        orphan, maybe, delayed = (write(store) for _ in range(3))
        age(path, orphan, expires_at=NOW + 8 * DAY - DAY // 2 - 60)
        age(path, maybe, expires_at=NOW + 8 * DAY - 60)
        age(path, delayed, expires_at=NOW + 14 * DAY)
        change(
            path,
            "UPDATE claim_contents SET created_at = ? WHERE claim_id = ?",
            NOW - 10 * DAY,
            delayed.id,
        )

        worst = printed("delete", "--orphaned", "--dry-run")
        found = printed("delete", "--orphaned", "--queue", queue, "--yes")

        assert worst["claims"] == []
        assert [each["id"] for each in found["claims"]] == [orphan.id]
        assert there_in(store, orphan, maybe, delayed) == [False, True, True]

    def test_of_several_queues_the_longest_counts(
        self, store: SqliteClaimStore, path: Path, ministack: AwsServer
    ) -> None:
        short, long = ministack.make_queue(), ministack.make_queue()
        keep(ministack, short, DAY)
        keep(ministack, long, 10 * DAY)
        claim = write(store)
        age(path, claim, expires_at=NOW + 10 * DAY)  # due 5 days ago

        def orphans(*queues: str) -> int:
            options = [option for queue in queues for option in ("--queue", queue)]
            return len(printed("delete", "--orphaned", "--dry-run", *options)["claims"])

        assert orphans(short) == 1
        assert orphans(short, long) == 0

    def test_a_queue_that_forgets_nothing_has_no_orphans(
        self, store: SqliteClaimStore, tmp_path: Path
    ) -> None:
        with pytest.raises(LetsGoError, match="keeps a message until it is handled"):
            command("delete", "--orphaned", "--queue", f"sqlite:///{tmp_path}/queue.db")


def test_a_bucket_is_looked_after_too(places: Places, ministack: AwsServer) -> None:
    for kind in (S3Place, BucketPlace):
        place = places.get(ministack, kind)
        place.begin(time.time)  # type: ignore[arg-type]  # the clock of this machine
        separator = "&" if "?" in place.store.url else "?"
        url = f"{place.store.url}{separator}region={ministack.region}"
        here = ("--store", url)
        claim, other = (write(place.store, 500, type=name) for name in ("a", "b"))
        place.store.acquire(claim.key, MINE)

        listed = printed("list", *here)
        assert (listed["count"], listed["stored"]) == (2, 1_000)
        assert listed["dollars_a_month"] == pytest.approx(1_000 * 0.023 / 1e9)
        assert [each["id"] for each in printed("list", "--type", "b", *here)["claims"]] == [
            other.id
        ]
        assert printed("show", claim.id, *here)["records"][0]["state"] == "leased"
        assert printed("release", claim.id, "--yes", *here)["released"]
        assert printed("delete", "--expired", "--yes", *here)["claims"] == []
        assert printed("delete", "--id", claim.id, "--yes", *here)["deleted"] == 1
        assert there_in(place.store, claim, other) == [False, True]


def there_in(store: ClaimStore, *claims: Claim) -> list[bool]:
    """Which claims still have contents."""
    return [read(store, claim) is not None for claim in claims]


def keep(aws: AwsServer, queue: str, seconds: int, dead: str | None = None) -> None:
    """Set how long a queue keeps a message, and where its dead letters go."""
    client = aws.sqs()
    client.set_queue_attributes(QueueUrl=queue, Attributes={"MessageRetentionPeriod": str(seconds)})
    if dead is not None:
        arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        target = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 3}
        client.set_queue_attributes(
            QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps(target)}
        )
    client.close()


def test_the_record_of_a_queue_that_shares_a_claim_is_shown_with_the_contents(
    places: Places, ministack: AwsServer
) -> None:
    place = places.get(ministack, BucketPlace)
    place.begin(time.time)  # type: ignore[arg-type]  # the clock of this machine
    here = ("--store", f"{place.store.url}&region={ministack.region}")
    claim = write(place.store, 500)
    place.store.acquire(f"{claim.key}us-west-2:1:orders", MINE)

    shown = printed("show", f"{claim.id}@us-west-2:1:orders", *here)
    other = printed("show", f"{claim.id}@us-west-2:1:mail", *here)

    assert (shown["contents"]["stored"], other["contents"]["stored"]) == (500, 500)
    assert [each["state"] for each in shown["records"]] == ["leased"]
    assert other["records"] == []


def test_the_lease_of_a_queue_that_shares_a_claim_counts(
    places: Places, ministack: AwsServer
) -> None:
    place = places.get(ministack, BucketPlace)
    place.begin(time.time)  # type: ignore[arg-type]  # the clock of this machine
    here = ("--store", f"{place.store.url}&region={ministack.region}")
    queues = [f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}" for name in ("a", "b")]
    claim = write(place.store, 500)
    place.store.acquire(f"{claim.key}{consumer_of(queues[1])}", MINE)
    named = ("delete", "--id", claim.id, *here)

    assert "name each with --queue" in command(*named, "--dry-run").stderr
    assert command(*named, "--queue", queues[0], "--dry-run").exit_code == 0
    held = command(*named, "--queue", queues[0], "--queue", queues[1], "--yes")

    assert held.exit_code == 1
    assert "or a delivery holds it" in held.stderr
    assert there_in(place.store, claim) == [True]
