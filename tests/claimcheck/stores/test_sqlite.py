"""What only `SqliteClaimStore` does; its file is tested with `letsgo_queue.sqlite`."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest

from claimcheck import ClaimStoreError, ClaimStoreUnavailable, SettingsInvalid
from claimcheck.stores.base import Lease, Record
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from claimcheck.testing.claims import MINE, OTHERS, Claim, make_claim, read, remove, write
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.claimcheck.stores.support import (
    OPERATIONS,
    SPAWN,
    change,
    fork_and_share,
    in_a_process_of_its_own,
    rows,
)
from tests.claimcheck.support import DAY


def test_is_named_by_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    store = SqliteClaimStore("claims.db")

    assert store.url == "sqlite:///claims.db"
    assert store.label == f"sqlite:{tmp_path}/claims.db"


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/work/my claims.db", "sqlite:/work/my claims.db"),
        ("/work/größe\n.db", "sqlite:/work/gr%C3%B6%C3%9Fe%0A.db"),
        (b"/work/\xff.db", "sqlite:/work/%FF.db"),
        ("/" + "long/" * 100 + "end.db", "sqlite:...97bfb6656c1418a7..." + "long/" * 33 + "end.db"),
    ],
)
def test_a_label_is_short_and_printable(path: str | bytes, label: str) -> None:
    found = SqliteClaimStore(os.fsdecode(path)).label

    assert found == label
    assert found.isascii()
    assert found.isprintable()
    assert len(found) <= 200


def test_writing_removes_contents_that_have_expired(
    sqlite_store: SqliteClaimStore, path: Path, clock: Clock
) -> None:
    expired = write(sqlite_store, expires_at=int(clock()) + 10)
    kept = write(sqlite_store, expires_at=int(clock()) + 11)
    clock.advance(10)
    assert read(sqlite_store, expired) == expired.contents

    write(sqlite_store)

    assert read(sqlite_store, kept) == kept.contents
    assert rows(path) == {"claim_contents": 2, "claim_parts": 4, "claim_records": 0}


def test_acquiring_removes_what_has_expired(
    sqlite_store: SqliteClaimStore, path: Path, clock: Clock
) -> None:
    write(sqlite_store, expires_at=int(clock()) + 10)
    sqlite_store.complete("expired@", MINE.id)
    clock.advance(1)
    sqlite_store.complete("kept@", MINE.id)
    clock.advance(30 * DAY - 1)

    sqlite_store.acquire("another@", OTHERS)

    assert sqlite_store.look_up("kept@") is not None
    assert rows(path) == {"claim_contents": 0, "claim_parts": 0, "claim_records": 2}


def test_nothing_but_a_receipt_is_left(sqlite_store: SqliteClaimStore, path: Path) -> None:
    claim = write(sqlite_store, 10, 20, 30)
    sqlite_store.acquire(claim.key, MINE)
    sqlite_store.complete(claim.key, MINE.id)
    remove(sqlite_store, claim)

    assert rows(path) == {"claim_contents": 0, "claim_parts": 0, "claim_records": 1}


def test_keeps_everything_when_closed(sqlite_store: SqliteClaimStore, path: Path) -> None:
    claim = write(sqlite_store)
    sqlite_store.complete(claim.key, MINE.id)
    sqlite_store.close()
    sqlite_store.close()

    with closing(SqliteClaimStore(path)) as other:
        assert read(other, claim) == claim.contents
        assert other.look_up(claim.key) == Record("done", 0)
    assert read(sqlite_store, claim) == claim.contents


def test_a_queue_may_be_in_the_same_file(path: Path) -> None:
    queue = SqliteTransport(f"sqlite:///{path}")
    with closing(queue), closing(SqliteClaimStore(path)) as store:
        claim = write(store)

        assert not queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=None)
        assert read(store, claim) == claim.contents


def test_of_several_processes_one_acquires(sqlite_store: SqliteClaimStore, path: Path) -> None:
    claims = [write(sqlite_store) for _ in range(20)]

    with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        handled = list(chain(*pool.map(handle_all, [path] * 3, [claims] * 3, range(3))))

    assert sorted(handled) == sorted(claim.id for claim in claims)
    assert rows(path) == {"claim_contents": 0, "claim_parts": 0, "claim_records": 20}


def test_several_processes_make_one_file(path: Path) -> None:
    claims = [make_claim() for _ in range(4)]

    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        list(pool.map(write_into, [path] * 4, claims))

    with closing(SqliteClaimStore(path)) as store:
        assert [read(store, claim) for claim in claims] == [claim.contents for claim in claims]


def test_a_process_killed_while_it_writes_leaves_nothing(
    sqlite_store: SqliteClaimStore, path: Path
) -> None:
    claim = make_claim()
    process = SPAWN.Process(target=die_writing, args=(path, claim))
    process.start()
    process.join(60)

    assert process.exitcode == -signal.SIGKILL
    assert read(sqlite_store, claim) is None
    assert rows(path) == {"claim_contents": 0, "claim_parts": 0, "claim_records": 0}


def test_works_on_both_sides_of_a_fork(path: Path) -> None:
    in_a_process_of_its_own(fork_and_share, f"sqlite:///{path}")


def test_what_fails_half_way_leaves_nothing(sqlite_store: SqliteClaimStore, path: Path) -> None:
    write(sqlite_store)
    change(
        path,
        "CREATE TRIGGER full BEFORE INSERT ON claim_parts WHEN new.part = 1"
        " BEGIN SELECT raise(ABORT, 'disk full'); END",
    )
    claim = make_claim()

    with pytest.raises(
        ClaimStoreUnavailable, match=rf"{path}: claim {claim.id} was not stored: .*disk full"
    ):
        sqlite_store.write(claim.facts, claim.parts)

    assert read(sqlite_store, claim) is None
    assert rows(path) == {"claim_contents": 1, "claim_parts": 2, "claim_records": 0}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_is_unavailable_while_another_writes_for_long(
    sqlite_store: SqliteClaimStore,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    monkeypatch.setattr("letsgo_queue.sqlite.BUSY_TIMEOUT_SECONDS", 0)
    claim = write(sqlite_store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        if operation in {"read", "look up"}:
            OPERATIONS[operation](sqlite_store, claim)  # a reader waits for nobody
            return

        with pytest.raises(ClaimStoreUnavailable, match=f"{claim.id}.* locked") as error:
            OPERATIONS[operation](sqlite_store, claim)
        assert error.value.retryable


def test_refuses_a_file_of_a_newer_version(sqlite_store: SqliteClaimStore, path: Path) -> None:
    claim = write(sqlite_store)
    sqlite_store.close()
    change(path, "UPDATE claims_schema SET version = 2")

    with pytest.raises(SettingsInvalid, match=r"schema 2, this version reads 1\. Upgrade"):
        read(sqlite_store, claim)


def test_leaves_a_file_alone_that_is_no_database(path: Path) -> None:
    text = b"this is no database" * 100
    path.write_bytes(text)

    with pytest.raises(ClaimStoreError, match=r"claims\.db: .* is a SQLite database") as error:
        write(SqliteClaimStore(path))

    assert not error.value.retryable
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", "the folder of .*folder/claims.db does not exist"),
        ("file", "the folder of .*folder/claims.db does not exist"),
        pytest.param(
            "read-only",
            "Check that .* can be written",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere"),
        ),
    ],
)
def test_says_that_a_folder_cannot_be_written(tmp_path: Path, kind: str, text: str) -> None:
    folder = tmp_path / "folder"
    if kind == "file":
        folder.touch()
    if kind == "read-only":
        folder.mkdir(mode=0o500)

    with pytest.raises(ClaimStoreError, match=text):
        write(SqliteClaimStore(folder / "claims.db"))


def handle_all(path: Path, claims: list[Claim], number: int) -> list[str]:
    handled = []
    with closing(SqliteClaimStore(path)) as store:
        for claim in claims:
            lease = Lease(f"process {number}", 100)
            if store.acquire(claim.key, lease) is None:
                assert read(store, claim) == claim.contents
                assert store.complete(claim.key, lease.id)
                remove(store, claim)
                handled.append(claim.id)
    return handled


def write_into(path: Path, claim: Claim) -> None:
    with closing(SqliteClaimStore(path)) as store:
        store.write(claim.facts, claim.parts)


class _DeadlyParts(list[bytes]):
    def __iter__(self) -> Iterator[bytes]:
        yield self[0]
        os.kill(os.getpid(), signal.SIGKILL)


def die_writing(path: Path, claim: Claim) -> None:
    SqliteClaimStore(path).write(claim.facts, _DeadlyParts(claim.parts))
