"""Several stores: which one a message goes to, and in which one its claim is looked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimExpired,
    ClaimInProgress,
    ClaimMissing,
    ClaimStore,
    MessageToStore,
    Purge,
    SettingsInvalid,
    open_store,
)
from claimcheck.cli.show import report_on
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from claimcheck.stores.base import PART_BYTES, Record
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import ANY_PURGE, BODY, TWO_PARTS, fail, handle
from tests.claimcheck.support import (
    DAY,
    claim_record,
    forge,
    noisy_body,
    parts_left,
    small_claim_check,
    ticket_in,
)

VIDEO = noisy_body(6_000, "video:new")


def named_store(name: str, clock: Clock) -> MemoryClaimStore:
    store = MemoryClaimStore(clock=clock)
    store.label, store.url = f"memory:{name}", f"memory://{name}"
    return store


@pytest.fixture
def main(clock: Clock) -> MemoryClaimStore:
    return named_store("main", clock)


@pytest.fixture
def other(clock: Clock) -> MemoryClaimStore:
    return named_store("other", clock)


@pytest.fixture
def third(clock: Clock) -> MemoryClaimStore:
    return named_store("third", clock)


def is_empty(store: MemoryClaimStore) -> bool:
    return not store._contents and not store._records


class TestReading:
    @ANY_PURGE
    def test_the_label_in_the_ticket_picks_the_store(
        self, main: MemoryClaimStore, other: MemoryClaimStore, purge: Purge
    ) -> None:
        sealed = small_claim_check(other).seal(BODY).body.decode()
        check = small_claim_check(main, read_stores=[other], purge=purge)

        fail(check, sealed)
        assert handle(check, sealed) == BODY
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)

        assert is_empty(main)
        assert claim_record(other, sealed) == Record("done", 0)
        assert parts_left(other, sealed) == (1 if purge == "never" else 0)

    def test_readers_with_another_main_store_see_each_others_leases(
        self, main: MemoryClaimStore, other: MemoryClaimStore
    ) -> None:
        before = small_claim_check(main, read_stores=[other])
        after = small_claim_check(other, read_stores=[main])
        for sender in (before, after):
            sealed = sender.seal(BODY).body.decode()
            opened = before.open(sealed)
            with pytest.raises(ClaimInProgress):
                after.open(sealed)
            assert opened.extend(30)
            assert opened.complete()
            with pytest.raises(ClaimAlreadyProcessed):
                after.open(sealed)

    def test_a_label_that_fits_none_is_missing_and_all_are_named(
        self, main: MemoryClaimStore, other: MemoryClaimStore, third: MemoryClaimStore
    ) -> None:
        sealed = small_claim_check(third).seal(BODY).body.decode()
        check = small_claim_check(main, read_stores=[other])

        with pytest.raises(
            ClaimMissing,
            match=r"the sender's store is memory://third, and this reader has memory://main and "
            r"memory://other\)\. .* or add that to CLAIMCHECK_READ_STORES, then redrive",
        ):
            check.open(sealed)

        assert is_empty(main)
        assert is_empty(other)
        assert parts_left(third, sealed) == 1

    def test_one_that_is_gone_from_the_store_that_fits_is_missing_there(
        self, main: MemoryClaimStore, other: MemoryClaimStore, clock: Clock
    ) -> None:
        check = small_claim_check(main, read_stores=[other])
        sealed = small_claim_check(other).seal(BODY).body.decode()
        other.remove(ticket_in(sealed)["id"], 1)

        with pytest.raises(ClaimMissing, match="store and this have one name, memory://other"):
            check.open(sealed)
        clock.advance(16 * DAY)
        with pytest.raises(ClaimExpired, match="memory://other"):
            check.open(sealed)

    @pytest.mark.parametrize(
        "label", ["sqlite:{}/theirs.db", "dynamodb:us-east-1:theirs", "memory:other/"]
    )
    def test_a_label_is_never_an_address(
        self, main: MemoryClaimStore, other: MemoryClaimStore, tmp_path: Path, label: str
    ) -> None:
        sealed = small_claim_check(other).seal(BODY).body.decode()
        forged = forge(sealed, store=label.format(tmp_path))

        with pytest.raises(ClaimMissing):
            small_claim_check(main, read_stores=[other]).open(forged)

        assert list(tmp_path.iterdir()) == []

    def test_a_store_alone_needs_no_label(self, clock: Clock) -> None:
        """To know its region, DynamoDB's would load boto3."""
        store = MemoryClaimStore(clock=clock)
        sealed = small_claim_check(store).seal(BODY).body.decode()
        del store.label  # who asks for it fails

        assert handle(small_claim_check(store), sealed) == BODY

    def test_records_of_once_are_in_the_main_store(
        self, main: MemoryClaimStore, other: MemoryClaimStore
    ) -> None:
        check = small_claim_check(main, read_stores=[other], stores={"*": other})

        with check.open('{"type":"order:new","payload":1}', once="once/queue/1@"):
            pass

        assert main.look_up("once/queue/1@") == Record("done", 0)
        assert is_empty(other)


class TestSending:
    def test_the_first_pattern_that_fits_the_type_counts(
        self, main: MemoryClaimStore, other: MemoryClaimStore, third: MemoryClaimStore
    ) -> None:
        check = small_claim_check(main, stores={"video:*": other, "video:new": third, "?": third})

        sealed = {
            "main": check.seal(BODY),
            "other": check.seal(VIDEO),
            "third": check.seal(noisy_body(6_000, "x")),
        }

        for name, each in sealed.items():
            assert ticket_in(each.body)["store"] == f"memory:{name}"
            assert each.store is not None
            assert each.store.url == f"memory://{name}"
        assert [len(store._contents) for store in (main, other, third)] == [1, 1, 1]
        assert [handle(check, each.body.decode()) for each in sealed.values()][:2] == [BODY, VIDEO]
        assert [len(store._contents) for store in (main, other, third)] == [0, 0, 0]

    def test_what_is_no_letsgo_message_has_no_type(
        self, main: MemoryClaimStore, other: MemoryClaimStore
    ) -> None:
        text = "no message " + VIDEO
        sealed = small_claim_check(main, stores={"?*": other}).seal(text).body.decode()

        assert ticket_in(sealed)["store"] == "memory:main"

    def test_a_function_is_told_what_is_known(
        self, main: MemoryClaimStore, other: MemoryClaimStore
    ) -> None:
        asked: list[MessageToStore] = []

        def choose(message: MessageToStore) -> ClaimStore | None:
            asked.append(message)
            return other if message.stored > 4_000 else None

        check = small_claim_check(main, stores=choose, read_stores=[other])
        small = check.seal(BODY)
        large = check.seal(noisy_body(10_000, "video:new"))
        check.seal('{"type":"order:new","payload":1}')  # is not stored
        check.seal(json.dumps({"type": "order:new", "payload": "x" * 9_000}))  # neither

        assert [ticket_in(each.body)["store"] for each in (small, large)] == [
            "memory:main",
            "memory:other",
        ]
        assert asked == [
            MessageToStore(type="order:new", size=small.size, stored=small.stored),
            MessageToStore(type="video:new", size=large.size, stored=large.stored),
        ]

    @pytest.mark.parametrize("given_as", ["store", "url"])
    def test_a_function_may_give_a_url(self, tmp_path: Path, given_as: str) -> None:
        url = f"sqlite:///{tmp_path}/videos.db"
        store: Any = url if given_as == "url" else open_store(url)
        main = open_store(f"sqlite:///{tmp_path}/claims.db")
        check = small_claim_check(main, stores=lambda _: url, read_stores=[store])

        with closing(check):
            sealed = check.seal(VIDEO).body.decode()
            assert ticket_in(sealed)["store"].endswith("videos.db")
            assert handle(check, sealed) == VIDEO

    def test_a_store_that_no_reader_would_find_is_refused(
        self, main: MemoryClaimStore, other: MemoryClaimStore
    ) -> None:
        for chosen in (other, "s3://big", 5):
            check = small_claim_check(main, stores=lambda _, chosen=chosen: chosen)
            with pytest.raises(
                SettingsInvalid,
                match=r"message of type 'video:new': the store that was chosen for it, "
                r"('s3://big'|a \w+), is none of those .*Name it in read_stores too",
            ):
                check.seal(VIDEO)
            assert is_empty(main)
            assert is_empty(other)

    def test_what_was_not_sent_is_removed_where_it_is(
        self, main: MemoryClaimStore, other: MemoryClaimStore
    ) -> None:
        check = small_claim_check(main, stores={"*": other})

        check.discard(check.seal(VIDEO))

        assert is_empty(other)

    @pytest.mark.parametrize(("cut", "parts"), [(PART_BYTES, 2), (70_000, 6), (None, 1)])
    def test_contents_are_cut_as_the_chosen_store_wants_them(
        self, main: MemoryClaimStore, clock: Clock, cut: int | None, parts: int
    ) -> None:
        class Other(MemoryClaimStore):
            part_bytes = cut  # type: ignore[assignment]  # a store says what it likes

        other = Other(clock=clock)
        check = small_claim_check(main, stores={"*": other})

        sealed = check.seal(TWO_PARTS)

        assert sealed.parts == ticket_in(sealed.body)["parts"] == parts
        (contents,) = other._contents.values()
        sizes = [len(part or b"") for part in contents.parts]
        assert sum(sizes) == sealed.stored
        assert set(sizes[:-1]) <= {cut or PART_BYTES}
        if cut is not None:
            assert handle(check, sealed.body.decode()) == TWO_PARTS


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stores": {"*": "redis://x"}}, "claim store 'redis://x': expected"),
        ({"read_stores": ["memory://", "redis://x"]}, "claim store 'redis://x': expected"),
        ({"read_stores": "memory://"}, "read_stores is of type str: give a list of stores"),
        ({"read_stores": 5}, "read_stores is of type int: give a list"),
        ({"read_stores": [5]}, "store is of type int: give a store"),
        ({"stores": {"*": 5}}, "store is of type int: give a store"),
        ({"stores": "memory://"}, "stores is of type str: give a mapping of types to stores, or a"),
    ],
)
def test_what_is_no_store_is_refused(
    main: MemoryClaimStore, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        ClaimCheck(main, **options)


class TestSettings:
    @pytest.fixture
    def urls(self, tmp_path: Path) -> Mapping[str, str]:
        return {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("main", "old", "videos")}

    @pytest.fixture
    def check(
        self, urls: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[ClaimCheck]:
        monkeypatch.setenv("CLAIMCHECK_STORE", urls["main"])
        monkeypatch.setenv("CLAIMCHECK_READ_STORES", f" {urls['old']} , ")
        monkeypatch.setenv("CLAIMCHECK_STORES", f"video:*={urls['videos']}, audio:* = memory://")
        with closing(claim_check_for("memory://")) as check:
            yield check

    def test_the_environment_names_them(self, check: ClaimCheck, urls: Mapping[str, str]) -> None:
        stores = check.stores
        video, audio, text = (
            stores.for_message(MessageToStore(type=type, size=1, stored=1))
            for type in ("video:new", "audio:new", "text:new")
        )

        assert [store.url for store in stores.all] == [
            urls["main"],
            urls["old"],
            urls["videos"],
            "memory://",
        ]
        assert [video.url, audio.url, text.url] == [urls["videos"], "memory://", urls["main"]]
        assert claim_check_for("memory://").stores.all == stores.all  # opened once in a process

    def test_show_looks_where_a_worker_does(
        self, check: ClaimCheck, urls: Mapping[str, str], tmp_path: Path
    ) -> None:
        with closing(open_store(urls["old"])) as old:
            body = ClaimCheck(old).seal(noisy_body(2_000_000)).body.decode()
            report = report_on(body, None)
            assert report.claim is not None
            assert (report.claim.state, report.claim.store) == ("there", old.label)

            opened = check.open(body)
            assert report_on(body, None).claim.state == "leased"  # type: ignore[union-attr]
            opened.complete()
            assert report_on(body, None).claim.state == "done"  # type: ignore[union-attr]

        with closing(open_store(f"sqlite:///{tmp_path}/theirs.db")) as theirs:
            body = ClaimCheck(theirs).seal(noisy_body(2_000_000)).body.decode()
            report = report_on(body, None)
            assert report.claim is not None
            assert (report.claim.state, report.claim.sender_store) == ("missing", theirs.label)
            assert "this reader has sqlite:///" in str(report.claim.detail)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("s3://big", "give pairs of a type and a store"),
            ("video:*=", "give pairs of a type and a store"),
            ("video:*=s3://big,=s3://x", "give pairs of a type and a store"),
            ("video:*=redis://x", "^CLAIMCHECK_STORES: claim store 'redis://x': expected"),
        ],
    )
    def test_a_value_that_cannot_be_used(
        self, monkeypatch: pytest.MonkeyPatch, value: str, said: str
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORES", value)

        with pytest.raises(SettingsInvalid, match=said):
            claim_check_for("memory://")

    def test_a_url_may_have_options(self) -> None:
        settings = ClaimCheckSettings.from_environment(
            {"CLAIMCHECK_STORES": "video:*=dynamodb://t?bucket=b&prefix=p,*=s3://c"}
        )

        assert settings.stores == {"video:*": "dynamodb://t?bucket=b&prefix=p", "*": "s3://c"}
