"""The claims of a store in the console."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from claimcheck import open_store
from claimcheck.stores.resources import resources_of
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing.claims import MINE, Claim, write
from letsgo_queue.console.extension import ConsoleOptions
from tests.claimcheck.stores.support import change
from tests.letsgo_queue.console.support import finished, ids_in, query_in, signed_in
from tests.support.servers import AwsServer

HERE = "/claims/0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteClaimStore]:
    with closing(SqliteClaimStore(path)) as store:
        yield store


def options(store: str, *, read_only: bool = False) -> ConsoleOptions:
    queue = f"sqlite:///{Path(__file__).parent}/none.db"
    return ConsoleOptions(queues=[queue], store=store, read_only=read_only)


@pytest.fixture
def console(store: SqliteClaimStore) -> Iterator[TestClient]:
    with signed_in(options(store.url)) as client:
        yield client


def listed(console: TestClient, **query: str) -> list[str]:
    return ids_in(console.get(HERE, params=query).text)


def test_claims_with_sizes_states_and_totals(console: TestClient, store: SqliteClaimStore) -> None:
    small, large = write(store, 1_000, type="mail:send"), write(store, 100_000, type="order:new")
    store.acquire(large.key, MINE)

    text = console.get("/claims").text

    assert ids_in(text) == [large.id, small.id]  # the largest first
    assert "101 KB" in text
    assert re.search(r"leased, until 20\d\d-", text)
    rows = text.partition("data-selection")[2]
    assert [*map(float, re.findall(r'<rect class="in" width="([\d.]+)"', rows))] == [100, 4]
    assert '<a href="/claims" aria-current="page">Claims</a>' in text


def test_filter_sort_and_pages(console: TestClient, store: SqliteClaimStore, path: Path) -> None:
    claims = [write(store, 10 + number, type=f"n:{number % 3}") for number in range(101)]
    store.acquire(claims[7].key, MINE)
    change(path, "UPDATE claim_contents SET created_at = 0 WHERE claim_id = ?", claims[3].id)

    assert listed(console) == [each.id for each in reversed(claims[1:])]
    assert listed(console, page="2") == [claims[0].id]
    assert listed(console, down="0")[0] == claims[0].id
    assert set(listed(console, type="n:1")) == {each.id for each in claims[1::3]}
    assert listed(console, state="leased") == [claims[7].id]
    assert listed(console, age="30 days") == [claims[3].id]
    assert listed(console, sort="age", down="0")[0] == claims[3].id
    assert "No claim matches the filter" in console.get(HERE, params={"type": "x"}).text


def test_selected_claims_are_deleted_after_a_page_that_asks(
    console: TestClient, store: SqliteClaimStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    gone, held, left = (write(store, 1_000, type=name) for name in ("a", "b", "c"))
    store.acquire(held.key, MINE)

    asked = console.post(f"{HERE}/confirm", data={"id": [gone.id, held.id]})
    assert "Delete 2 claims?" in asked.text
    assert set(listed(console)) == {gone.id, held.id, left.id}
    answer = console.post(f"{HERE}/delete", data={"id": ids_in(asked.text)})
    done = finished(console, answer.url.path)

    assert "1 deleted, 1 failed" in done
    assert "a delivery holds it" in done
    assert set(listed(console)) == {held.id, left.id}
    assert "console: delete of 2 claims of sqlite:" in caplog.text
    assert console.post(f"{HERE}/confirm", data={}).status_code == 400


def released_fields(console: TestClient, claim: Claim) -> dict[str, str]:
    """What the page that asks would send, to end a lease."""
    shown = console.get(f"{HERE}/claim/{claim.id}").text
    (key,) = re.findall(r'name="release" value="([^"]+)"', shown)
    asked = console.post(f"{HERE}/confirm", data={"release": unescape(key)}).text
    assert "End the lease of" in asked
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)"', asked)
    return {name: unescape(value) for name, value in found}


def test_a_lease_is_ended(console: TestClient, store: SqliteClaimStore) -> None:
    claim = write(store, 1_000)
    store.acquire(claim.key, MINE)
    assert "A claim that a delivery holds is not deleted" in (
        console.get(f"{HERE}/claim/{claim.id}").text
    )

    after = console.post(f"{HERE}/release", data=released_fields(console, claim))

    assert after.status_code == 200
    assert "waiting" in after.text
    assert not store.extend(claim.key, MINE)


def test_a_lease_that_went_on_meanwhile_is_not_ended(
    console: TestClient, store: SqliteClaimStore, path: Path
) -> None:
    claim = write(store, 1_000)
    store.acquire(claim.key, MINE)
    fields = released_fields(console, claim)
    change(path, "UPDATE claim_records SET lease_until = lease_until + 60")

    answer = console.post(f"{HERE}/release", data=fields)

    assert answer.status_code == 409
    assert "its delivery goes on" in answer.text
    assert store.extend(claim.key, MINE)


def test_a_receipt_and_nothing(console: TestClient, store: SqliteClaimStore) -> None:
    claim = write(store, 1_000)
    store.acquire(claim.key, MINE)
    store.complete(claim.key, MINE.id)
    store.remove(claim.id, len(claim.parts))

    shown = console.get(f"{HERE}/claim/{claim.id}").text

    assert "<dd>gone</dd>" in shown
    assert "done" in shown
    assert "<button name" not in shown
    assert console.get(f"{HERE}/claim/a/b").status_code == 404
    assert console.get("/claims/9").status_code == 404
    assert "No claims." in console.get(HERE).text


def test_read_only(store: SqliteClaimStore) -> None:
    claim = write(store, 1_000)
    with signed_in(options(store.url, read_only=True)) as console:
        assert claim.id in console.get(HERE).text
        for page in (HERE, f"{HERE}/claim/{claim.id}"):
            assert "<button name" not in console.get(page).text
            assert 'class="danger"' not in console.get(page).text
        for action in ("confirm", "delete", "release"):
            answer = console.post(f"{HERE}/{action}", data={"id": claim.id})
            assert (answer.status_code, "--read-only" in answer.text) == (403, True)
        assert claim.id in console.get(HERE).text


def test_what_a_sender_chose_is_never_more_than_text(
    console: TestClient, store: SqliteClaimStore, path: Path
) -> None:
    write(store, 1_000, type="<script>alert(1)</script>\x1b[31m")
    write(store, 1_000, type="y" * 100_000)
    change(path, "UPDATE claim_contents SET claim_id = '\"><b>/x' WHERE type LIKE '<%'")

    text = console.get(HERE).text
    (link,) = re.findall(r'href="(/claims/0/claim/[^"]*b%3E[^"]*)"', text)
    shown = console.get(unescape(link)).text

    for each in (text, shown):
        assert "<b>" not in each
        assert "<script>a" not in each
        assert "\x1b" not in each
        assert len(each) < 30_000


def test_a_table_is_listed_on_request(ministack: AwsServer) -> None:
    url = f"dynamodb://{ministack.make_table_name()}"
    with closing(open_store(url)) as store:
        for resource in resources_of(store):
            resource.create()
        claim = write(store, 1_000, type="order:new")
    with closing(open_store(url)) as store, signed_in(options(url)) as console:
        before = console.get(HERE).text
        assert "which AWS bills" in before
        assert claim.id not in before

        assert claim.id in console.post(f"{HERE}/look").text
        assert "order:new" in console.get(f"{HERE}/claim/{claim.id}").text
        key = f"{claim.key}us-west-2:1:orders"  # of a queue that shares the claim
        store.acquire(key, MINE)
        assert "Delete …" not in console.get(f"{HERE}/claim/{key}").text
        store.complete(key, MINE.id)
        page = console.get(f"{HERE}/claim/{key}").text
        assert re.findall(r'name="id" value="([^"]+)"', page) == [claim.id]

        answer = console.post(f"{HERE}/delete", data={"id": claim.id})
        assert "1 deleted, 0 failed" in finished(console, answer.url.path)
        assert claim.id not in console.get(HERE).text


DAY = 24 * 3600


@pytest.fixture
def queue(ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A queue that keeps a message for a day, without dead letters: so a claim may go after 2.5."""
    url = ministack.make_queue()
    with closing(ministack.sqs()) as client:
        client.set_queue_attributes(
            QueueUrl=url, Attributes={"MessageRetentionPeriod": str(DAY), "RedrivePolicy": ""}
        )
    return url


def age(path: Path, claim: Claim, days: float) -> None:
    """Have a claim be so old, and expire 15 days after it was made."""
    made = int(time.time() - days * DAY)
    change(
        path,
        "UPDATE claim_contents SET created_at = ?, expires_at = ? WHERE claim_id = ?",
        made,
        made + 15 * DAY,
        claim.id,
    )


def test_all_that_have_expired_or_are_orphaned_are_deleted(
    store: SqliteClaimStore, path: Path, queue: str
) -> None:
    days = {"young": 2.4, "orphan": 2.6, "held": 9.0, "expired": 16.0}
    claims = {name: write(store, 1_000, type=name) for name in days}
    store.acquire(claims["held"].key, MINE)  # before: it clears a file of what has expired
    for name, each in days.items():
        age(path, claims[name], each)
    with signed_in(ConsoleOptions(queues=[queue], store=store.url)) as console:
        for reason, gone in (("expired", "expired"), ("orphaned", "orphan")):
            shown = console.get(HERE, params={"may_go": reason}).text
            assert ids_in(shown) == [claims[gone].id]
            asked = console.post(
                f"{HERE}/confirm", data={"all": "1", "query": query_in(shown)}
            ).text
            assert "Delete 1 claim?" in asked
            assert ("after 2 d 12 h" in asked) == (reason == "orphaned")

            answer = console.post(f"{HERE}/delete", data={"id": ids_in(asked), "reason": reason})

            assert "1 deleted, 0 failed" in finished(console, answer.url.path)
        assert set(listed(console)) == {claims["young"].id, claims["held"].id}


def test_what_was_renewed_after_the_question_stays(
    store: SqliteClaimStore, path: Path, queue: str
) -> None:
    claim = write(store, 1_000)
    age(path, claim, 16)
    with signed_in(ConsoleOptions(queues=[queue], store=store.url)) as console:
        assert listed(console, may_go="expired") == [claim.id]
        age(path, claim, 0)

        answer = console.post(f"{HERE}/delete", data={"id": claim.id, "reason": "expired"})

        assert "it was renewed" in finished(console, answer.url.path)
        assert console.post(f"{HERE}/delete", data={"id": claim.id, "reason": "x"}).status_code == (
            409
        )


def test_types_and_ages_are_counted(
    console: TestClient, store: SqliteClaimStore, path: Path
) -> None:
    for size, days in ((1_000, 0), (10_000, 3), (100_000, 3), (1_000_000, 20)):
        age(path, write(store, size, type=f"n:{days}"), days)

    text = console.get(HERE).text.partition("<form")[0]

    rows = [
        [re.sub("<[^>]+>", "", cell) for cell in re.findall("<td.*?</td>", row)][:3]
        for row in text.split("<tr>")
    ]
    assert [row for row in rows if row] == [
        ["n:20", "1", "1.0 MB"],
        ["n:3", "2", "110 KB"],
        ["n:0", "1", "1.0 KB"],
        ["under 1 hour", "1", "1.0 KB"],
        ["1 to 7 days", "2", "110 KB"],
        ["over 15 days", "1", "1.0 MB"],
    ]
    bars = [float(each) for each in re.findall(r'<rect class="in" width="([\d.]+)"', text)]
    assert (bars[0], bars[2]) == (100, 4)
    assert 60 < bars[1] < 70
