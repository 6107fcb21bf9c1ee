"""Stores of one label: the same records are one place, different ones are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimInProgress,
    ClaimMissing,
    ClaimStore,
    ClaimStoreUnavailable,
    Purge,
    SettingsInvalid,
    open_store,
)
from claimcheck.stores.base import LateReading
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import ANY_PURGE, BODY, TWO_PARTS, fail, handle
from tests.claimcheck.support import forge, parts_left, small_claim_check
from tests.support.servers import AwsServer


class TestATable:
    """A table alone, and the same table with a bucket: records are in the table for both."""

    @pytest.fixture
    def stores(self, ministack: AwsServer) -> Iterator[tuple[ClaimStore, ClaimStore]]:
        table, bucket = ministack.make_table_name(), ministack.make_bucket()
        ClaimTable(table, region=ministack.region).create()
        alone = open_store(f"dynamodb://{table}")
        with_bucket = open_store(f"dynamodb://{table}?bucket={bucket}")
        assert alone.label == with_bucket.label
        yield alone, with_bucket
        alone.close()
        with_bucket.close()

    @ANY_PURGE
    def test_contents_are_found_in_each(
        self, stores: tuple[ClaimStore, ClaimStore], purge: Purge
    ) -> None:
        alone, with_bucket = stores
        checks = [
            small_claim_check(alone, read_stores=[with_bucket], purge=purge),
            small_claim_check(with_bucket, read_stores=[alone], purge=purge),
        ]
        for sender in checks:
            for reader, body in ((checks[0], BODY), (checks[1], TWO_PARTS)):
                sealed = sender.seal(body)
                text = sealed.body.decode()
                fail(reader, text)
                with reader.open(text) as opened:
                    assert opened.body == body
                    with pytest.raises(ClaimInProgress):
                        checks[0].open(text)
                for each in checks:
                    with pytest.raises(ClaimAlreadyProcessed):
                        each.open(text)
                assert sealed.store is not None
                sealed.store.close()  # which waits for removals
                assert (parts_left(sealed.store, text) > 0) == (purge == "never")

    def test_who_lacks_the_bucket_is_told_of_it(
        self, stores: tuple[ClaimStore, ClaimStore]
    ) -> None:
        alone, with_bucket = stores
        sealed = small_claim_check(with_bucket).seal(BODY)
        with pytest.raises(ClaimMissing, match=r"has a bucket \(`\?bucket=`\), give it here too"):
            small_claim_check(alone).open(sealed.text)

    def test_what_is_in_none_is_missing(self, stores: tuple[ClaimStore, ClaimStore]) -> None:
        alone, with_bucket = stores
        sealed = small_claim_check(alone).seal(BODY)
        small_claim_check(alone).discard(sealed)

        with pytest.raises(ClaimMissing, match="have one name"):
            small_claim_check(alone, read_stores=[with_bucket]).open(sealed.body.decode())


def test_while_one_does_not_answer_nothing_is_missing(
    memory_store: MemoryClaimStore, clock: Clock
) -> None:
    main = memory_store

    class Silent(MemoryClaimStore):
        records_at = main

        def read(self, *_: Any, **__: Any) -> LateReading:
            return LateReading(self._refuse)

        def _refuse(self) -> None:
            raise ClaimStoreUnavailable("no answer.")

    silent = Silent(clock=clock)
    silent.label = main.label
    there = small_claim_check(main).seal(BODY).body.decode()
    gone = forge(there, id="x" * 24)
    for check in (
        small_claim_check(main, read_stores=[silent]),
        small_claim_check(silent, read_stores=[main]),
    ):
        with pytest.raises(ClaimStoreUnavailable):
            check.open(gone)
        opened = check.open(there)
        assert opened.body == BODY
        assert opened.release()


def session() -> boto3.Session:
    return boto3.Session("testing", "testing", region_name="eu-west-1")


class TestDifferentRecords:
    @pytest.mark.parametrize(
        "url", ["dynamodb://claims", "dynamodb://claims?bucket=bucket", "s3://bucket", "letsgo://"]
    )
    @pytest.mark.parametrize("differ_in", ["session", "endpoint"])
    def test_a_reader_is_not_given_two_of_one_label(self, url: str, differ_in: str) -> None:
        """The sessions may be of two accounts."""
        shared = session()
        mark = "&" if "?" in url else "?"
        if differ_in == "session":
            stores = [open_store(url, session=each) for each in (session(), session())]
        else:
            stores = [
                open_store(f"{url}{mark}endpoint_url=http://127.0.0.1:{port}", session=shared)
                for port in (1, 2)
            ]
        main, other = stores
        sealed = small_claim_check(MemoryClaimStore()).seal(BODY).body.decode()

        assert main.label == other.label
        with pytest.raises(
            SettingsInvalid,
            match=r"^2 stores of this claim check have one name, .*, and different records: .* "
            "Give those that are the same .* the same boto3 session and endpoint_url",
        ):
            ClaimCheck(main, read_stores=[other]).open(sealed)
        with pytest.raises(SettingsInvalid, match="different records"):
            small_claim_check(main, read_stores=[other]).seal(BODY)  # nobody would open it

    @pytest.mark.parametrize("other", ["dynamodb://claims", "dynamodb://claims?bucket=other"])
    def test_those_of_one_session_are_one(self, other: str) -> None:
        shared = session()
        main = open_store("dynamodb://claims?bucket=bucket", session=shared)
        check = ClaimCheck(main, read_stores=[open_store(other, session=shared)])

        assert check.stores.with_label(main.label).label == main.label
        assert check.stores.names == ["dynamodb://claims?region=eu-west-1"]

    def test_stores_in_memory_are_told_apart(self, clock: Clock) -> None:
        first, second = MemoryClaimStore(clock=clock), MemoryClaimStore(clock=clock)
        sealed = small_claim_check(second).seal(BODY).body.decode()
        readers = [
            small_claim_check(first, read_stores=[second]),
            small_claim_check(second, read_stores=[first]),
        ]

        opened = readers[0].open(sealed)
        with pytest.raises(ClaimInProgress):  # it would run twice
            readers[1].open(sealed)
        opened.complete()
        with pytest.raises(ClaimAlreadyProcessed):
            readers[1].open(sealed)

    def test_so_are_files_whose_paths_are_too_long_for_a_label(self, tmp_path: Path) -> None:
        folders = [tmp_path / name / ("x" * 200) for name in ("one", "two")]
        for folder in folders:
            folder.mkdir(parents=True)
        with (
            closing(SqliteClaimStore(folders[0] / "claims.db")) as first,
            closing(SqliteClaimStore(folders[1] / "claims.db")) as second,
        ):
            check = small_claim_check(first, read_stores=[second])
            sealed = small_claim_check(second).seal(BODY).body.decode()

            assert first.label[:30] != second.label[:30]
            assert first.label[30:] == second.label[30:]
            assert handle(check, sealed) == BODY
            assert parts_left(second, sealed) == 0

    def test_a_file_that_is_opened_twice_is_one(self, tmp_path: Path) -> None:
        with (
            closing(SqliteClaimStore(tmp_path / "claims.db")) as first,
            closing(SqliteClaimStore(tmp_path / "claims.db")) as second,
        ):
            check = small_claim_check(first, read_stores=[second])
            sealed = check.seal(BODY).body.decode()

            assert handle(check, sealed) == BODY
