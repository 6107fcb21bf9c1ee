"""Every store keeps one contract; what is one store's own is below it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import boto3
import botocore
import pytest

from claimcheck import (
    ClaimStore,
    ClaimStoreError,
    ClaimStoreUnavailable,
    ClaimTableMissing,
    SettingsInvalid,
    open_store,
)
from claimcheck.stores.base import PART_BYTES, Claim, ClaimHead, Held, Lease
from claimcheck.stores.dynamodb import DEFAULT_PARALLELISM, DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from tests.claimcheck.faults import Fault, FaultyServer, Matches, faulty
from tests.claimcheck.support import DAY, noise, wait_for
from tests.support.servers import AwsServer

NOW = 1_800_000_000.0
MINE = Lease("mine", NOW + 60)
OTHERS = Lease("another's", NOW + 90)

ITEM_LIMIT = 409_600

SPAWN = multiprocessing.get_context("spawn")

_numbers = count()


def make_claim(*sizes: int, **facts: Any) -> tuple[ClaimHead, list[bytes]]:
    """A claim with parts of these sizes."""
    parts = [noise(size, seed).encode() for seed, size in enumerate(sizes or (100, 50))]
    head = ClaimHead(
        id=f"claim-{next(_numbers):018}",
        parts=len(parts),
        stored=sum(sizes),
        size=sum(sizes) * 2,
        sha256=sha256(b"".join(parts)).hexdigest(),
        encoding="zstd",
        type="order:new",
        created_at=int(NOW),
        expires_at=int(NOW) + 15 * DAY,
    )
    return replace(head, **facts), parts


def write(store: ClaimStore, *sizes: int, **facts: Any) -> Claim:
    head, parts = make_claim(*sizes, **facts)
    store.write(head, parts)
    return Claim(head, parts)


def take(store: ClaimStore, claim: Claim, lease: Lease, now: float = NOW) -> Claim | Held | None:
    return store.take(claim.head.id, claim.head.parts, lease, now=now)


def read(store: ClaimStore, claim: Claim, now: float = NOW) -> Claim | Held | None:
    return store.read(claim.head.id, claim.head.parts, now=now)


def rows(store: ClaimStore, claim: Claim) -> int:
    return store.count_rows(claim.head.id, claim.head.parts)


class Contract:
    """What every store does."""

    @abstractmethod
    def lose_part(self, store: Any, claim_id: str, number: int) -> None:
        """Remove one part behind the store's back."""

    @pytest.mark.parametrize(
        "sizes",
        [(1,), (2_000, 2_000), (*[PART_BYTES] * 6, 10)],
        ids=["1 part", "2 parts", "7 parts"],
    )
    def test_gives_back_what_was_written(self, store: ClaimStore, sizes: tuple[int, ...]) -> None:
        claim = write(store, *(size + size % 2 for size in sizes))

        assert read(store, claim) == claim
        assert take(store, claim, MINE) == claim
        assert rows(store, claim) == 1 + len(sizes)

    def test_keeps_what_is_no_letsgo_message(self, store: ClaimStore) -> None:
        claim = write(store, type=None, encoding="identity")

        assert read(store, claim) == claim

    def test_takes_parts_that_are_views(self, store: ClaimStore) -> None:
        head, parts = make_claim()

        store.write(head, [memoryview(part) for part in parts])

        assert read(store, Claim(head, parts)) == Claim(head, parts)

    def test_finds_nothing_where_nothing_was_written(self, store: ClaimStore) -> None:
        claim = Claim(*make_claim())

        assert take(store, claim, MINE) is None
        assert read(store, claim) is None
        assert store.look_up(claim.head.id, now=NOW) is None
        assert rows(store, claim) == 0
        assert not store.extend(claim.head.id, MINE)
        assert not store.put_back(claim.head.id, MINE)

    def test_taking_deletes_the_claim_for_everyone_else(self, store: ClaimStore) -> None:
        claim = write(store)
        assert store.look_up(claim.head.id, now=NOW) == claim.head

        take(store, claim, MINE)

        assert store.look_up(claim.head.id, now=NOW) is None
        assert read(store, claim) == Held(MINE.until)
        assert take(store, claim, OTHERS) == Held(MINE.until)
        assert rows(store, claim) == 3

    def test_takes_again_with_the_same_lease(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)

        assert take(store, claim, MINE) == claim

    def test_reading_takes_nothing(self, store: ClaimStore) -> None:
        claim = write(store)

        read(store, claim)

        assert store.look_up(claim.head.id, now=NOW) == claim.head
        assert take(store, claim, OTHERS) == claim

    def test_a_lease_that_ran_out_does_not_count(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)

        assert take(store, claim, OTHERS, MINE.until - 0.001) == Held(MINE.until)
        assert store.look_up(claim.head.id, now=MINE.until - 0.001) is None
        assert store.look_up(claim.head.id, now=MINE.until) == claim.head
        assert read(store, claim, MINE.until) == claim
        assert take(store, claim, OTHERS, MINE.until) == claim
        assert take(store, claim, MINE, MINE.until) == Held(OTHERS.until)

    def test_extending_holds_it_longer(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)

        assert store.extend(claim.head.id, Lease(MINE.id, NOW + 500.5))

        assert take(store, claim, OTHERS, NOW + 500) == Held(NOW + 500.5)
        assert take(store, claim, OTHERS, NOW + 501) == claim

    def test_renewing_has_head_and_parts_expire_later(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)
        later = claim.head.expires_at + 1000

        assert not store.renew(claim.head.id, claim.head.parts, OTHERS, expires_at=later - 1)
        assert store.renew(claim.head.id, claim.head.parts, MINE, expires_at=later)
        store.put_back(claim.head.id, MINE)

        assert read(store, claim) == replace(claim, head=replace(claim.head, expires_at=later))
        assert expiries(store, claim) == {later}

    def test_renewing_makes_nothing_that_is_gone(self, store: ClaimStore) -> None:
        claim = Claim(*make_claim())

        assert not store.renew(claim.head.id, claim.head.parts, MINE, expires_at=int(NOW) + 1000)

        assert rows(store, claim) == 0

    def test_putting_back_undoes_taking(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)

        assert store.put_back(claim.head.id, MINE)

        assert store.look_up(claim.head.id, now=NOW) == claim.head
        assert read(store, claim) == claim
        assert take(store, claim, OTHERS) == claim

    def test_purging_leaves_no_row(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)

        assert store.purge(claim.head.id, claim.head.parts, MINE)

        assert rows(store, claim) == 0
        assert store.look_up(claim.head.id, now=NOW) is None
        assert read(store, claim) is None
        assert take(store, claim, OTHERS) is None

    def test_purging_again_does_no_harm(self, store: ClaimStore) -> None:
        claim, other = write(store), write(store)
        take(store, claim, MINE)
        store.purge(claim.head.id, claim.head.parts, MINE)

        assert store.purge(claim.head.id, claim.head.parts, MINE)
        assert read(store, other) == other

    def test_a_lost_lease_changes_nothing(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)
        later = MINE.until + 1
        take(store, claim, OTHERS, later)

        assert not store.extend(claim.head.id, Lease(MINE.id, NOW + 9_000))
        assert not store.put_back(claim.head.id, MINE)
        assert not store.purge(claim.head.id, claim.head.parts, MINE)

        assert read(store, claim, later) == Held(OTHERS.until)
        assert rows(store, claim) == 3
        assert take(store, claim, OTHERS, later) == claim

    def test_a_lease_ends_with_putting_back(self, store: ClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)
        store.put_back(claim.head.id, MINE)

        assert not store.extend(claim.head.id, MINE)
        assert not store.put_back(claim.head.id, MINE)
        assert not store.purge(claim.head.id, claim.head.parts, MINE)
        assert read(store, claim) == claim

    def test_discarding_leaves_no_row(self, store: ClaimStore) -> None:
        claim, other = write(store), write(store)

        store.discard(claim.head.id, claim.head.parts)
        store.discard(claim.head.id, claim.head.parts)

        assert rows(store, claim) == 0
        assert read(store, claim) is None
        assert read(store, other) == other

    def test_a_missing_part_is_none(self, store: ClaimStore) -> None:
        claim = write(store, 10, 20, 30)
        self.lose_part(store, claim.head.id, 1)
        first, _, last = claim.parts

        assert read(store, claim) == Claim(claim.head, [first, None, last])
        assert take(store, claim, MINE) == Claim(claim.head, [first, None, last])

    @pytest.fixture
    def atomic(self) -> None:
        """Skips where a server does not keep others out between a condition and its write."""

    @pytest.mark.usefixtures("atomic")
    def test_of_many_that_take_one_wins(self, store: ClaimStore) -> None:
        claim = write(store)
        leases = [Lease(f"lease {number}", NOW + 100 + number) for number in range(8)]
        start = threading.Barrier(len(leases))

        def run(lease: Lease) -> Claim | Held | None:
            start.wait()
            return take(store, claim, lease)

        with ThreadPoolExecutor(len(leases)) as pool:
            found = list(pool.map(run, leases))

        (winner,) = [lease for lease, got in zip(leases, found, strict=True) if got == claim]
        assert [got for got in found if got != claim] == [Held(winner.until)] * 7
        assert store.put_back(claim.head.id, winner)


class TestMemory(Contract):
    @pytest.fixture
    def store(self) -> MemoryClaimStore:
        return MemoryClaimStore()

    def lose_part(self, store: MemoryClaimStore, claim_id: str, number: int) -> None:
        stored = store._claims[claim_id]
        parts: list[bytes | None] = list(stored.claim.parts)
        parts[number] = None
        stored.claim = Claim(stored.claim.head, parts)

    def test_drops_expired_claims_when_one_is_written(self, store: MemoryClaimStore) -> None:
        dropped_and_kept_by_the_next_write(store)


class TestSqlite(Contract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "claims.db"

    @pytest.fixture
    def store(self, path: Path) -> Iterator[SqliteClaimStore]:
        store = SqliteClaimStore(path)
        yield store
        store.close()

    def lose_part(self, store: SqliteClaimStore, claim_id: str, number: int) -> None:
        change(
            Path(store.url.removeprefix("sqlite:///")),
            "DELETE FROM claim_parts WHERE claim_id = ? AND part = ?",
            claim_id,
            number,
        )

    def test_drops_expired_claims_when_one_is_written(self, store: SqliteClaimStore) -> None:
        dropped_and_kept_by_the_next_write(store)

    def test_keeps_claims_when_closed(self, store: SqliteClaimStore, path: Path) -> None:
        claim = write(store)
        store.close()
        store.close()

        assert read(SqliteClaimStore(path), claim) == claim
        assert read(store, claim) == claim

    def test_several_processes_share_a_file(self, store: SqliteClaimStore, path: Path) -> None:
        claims = [write(store) for _ in range(20)]

        with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
            taken = chain(*pool.map(purge_all, [path] * 3, [claims] * 3, range(3)))

        assert sorted(taken) == sorted(claim.head.id for claim in claims)
        assert [rows(store, claim) for claim in claims] == [0] * 20

    def test_several_processes_make_one_file(self, path: Path) -> None:
        claims = [Claim(*make_claim()) for _ in range(4)]

        with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
            list(pool.map(write_into, [path] * 4, claims))

        store = SqliteClaimStore(path)
        assert [read(store, claim) for claim in claims] == claims

    def test_a_process_killed_while_it_writes_leaves_nothing(
        self, store: SqliteClaimStore, path: Path
    ) -> None:
        claim = Claim(*make_claim())
        process = SPAWN.Process(target=die_writing, args=(path, claim))
        process.start()
        process.join(60)

        assert process.exitcode == -signal.SIGKILL
        assert rows(store, claim) == 0

    def test_works_on_both_sides_of_a_fork(self, path: Path) -> None:
        in_a_process_of_its_own(fork_and_share, f"sqlite:///{path}")

    def test_what_fails_half_way_leaves_no_rows(self, store: SqliteClaimStore, path: Path) -> None:
        write(store)
        change(
            path,
            "CREATE TRIGGER full BEFORE INSERT ON claim_parts WHEN new.part = 1"
            " BEGIN SELECT raise(ABORT, 'disk full'); END",
        )
        claim = Claim(*make_claim())

        with pytest.raises(ClaimStoreUnavailable, match="disk full"):
            store.write(claim.head, [part or b"" for part in claim.parts])

        assert rows(store, claim) == 0

    def test_refuses_a_file_of_a_newer_version(self, store: SqliteClaimStore, path: Path) -> None:
        claim = write(store)
        store.close()
        change(path, "UPDATE claims_schema SET version = 2")

        with pytest.raises(SettingsInvalid, match=r"schema 2, this version reads 1\. Upgrade"):
            read(store, claim)

    def test_leaves_a_file_alone_that_is_no_database(self, path: Path) -> None:
        text = b"this is no database" * 100
        path.write_bytes(text)

        with pytest.raises(ClaimStoreUnavailable, match=r"claims\.db: .* is a SQLite database"):
            write(SqliteClaimStore(path))
        assert path.read_bytes() == text

    @pytest.mark.parametrize(
        "kind",
        [
            "missing",
            "file",
            pytest.param(
                "read-only",
                marks=pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere"),
            ),
        ],
    )
    def test_says_that_a_folder_cannot_be_written(self, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "folder"
        if kind == "file":
            folder.touch()
        if kind == "read-only":
            folder.mkdir(mode=0o500)
        store = SqliteClaimStore(folder / "claims.db")

        with pytest.raises(ClaimStoreUnavailable, match=r"folder.*Check that .* can be written"):
            write(store)


class TestDynamoDB(Contract):
    @pytest.fixture
    def table(self, aws: AwsServer) -> str:
        name = aws.make_table_name()
        ClaimTable(name, region=aws.region).create()
        return name

    @pytest.fixture
    def store(self, aws: AwsServer, table: str) -> Iterator[DynamoDBClaimStore]:
        store = DynamoDBClaimStore(table, region=aws.region)
        yield store
        store.close()

    @pytest.fixture
    def atomic(self, aws: AwsServer) -> None:
        if aws.name == "moto":
            pytest.skip("moto has many threads and no lock: two conditional writes can succeed")

    def lose_part(self, store: DynamoDBClaimStore, claim_id: str, number: int) -> None:
        boto3.client("dynamodb", store.region).delete_item(
            TableName=store.table, Key={"id": {"S": f"{claim_id}/{number}"}}
        )

    def test_every_item_expires_and_is_small_enough(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, PART_BYTES, PART_BYTES, 2)

        items = aws.dynamodb().scan(TableName=store.table, ConsistentRead=True)["Items"]

        assert sorted(item["id"]["S"] for item in items) == [
            claim.head.id,
            *(f"{claim.head.id}/{number}" for number in range(3)),
        ]
        assert {item["expires_at"]["N"] for item in items} == {str(claim.head.expires_at)}
        assert max(len(item.get("data", {}).get("B", b"")) for item in items) == PART_BYTES
        assert PART_BYTES + len(json.dumps([{**item, "data": ""} for item in items])) < ITEM_LIMIT

    def test_more_parts_than_go_over_the_wire_at_once(self, aws: AwsServer, table: str) -> None:
        store = DynamoDBClaimStore(table, region=aws.region, parallelism=2)
        claim = write(store, *[100] * 30)

        assert take(store, claim, MINE) == claim
        assert rows(store, claim) == 31
        assert store.purge(claim.head.id, claim.head.parts, MINE)
        assert rows(store, claim) == 0
        store.close()

    def test_is_named_by_a_url(self, aws: AwsServer, store: DynamoDBClaimStore) -> None:
        claim = write(store)
        query = f"?region={aws.region}"
        if aws.endpoint_url:
            query += f"&endpoint_url={quote(aws.endpoint_url)}"

        named = open_store(f"dynamodb://{store.table}{query}", region="eu-north-1")

        assert read(named, claim) == claim
        named.close()

    def test_works_again_after_it_was_closed(self, store: DynamoDBClaimStore) -> None:
        claim = write(store)
        store.close()
        store.close()

        assert read(store, claim) == claim

    def test_goes_on_while_it_is_closed_or_the_program_ends(
        self, store: DynamoDBClaimStore
    ) -> None:
        """When threads take nothing more, callers do all by themselves."""
        store._connection().pool.shutdown()

        claim = write(store, 10, 20, 30)
        assert take(store, claim, MINE) == claim
        assert store.purge(claim.head.id, claim.head.parts, MINE)

        assert rows(store, claim) == 0

    def test_closing_waits_for_reads_that_nobody_waits_for(
        self, store: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A take that finds the claim gone leaves the reading of its parts behind."""
        pool, closing_down = store._connection().pool, threading.Event()
        get_part, shutdown = store._get_part, pool.shutdown
        read: list[bytes | None] = []

        def get_part_late(claim_id: str, number: int) -> None:
            assert closing_down.wait(20)
            read.append(get_part(claim_id, number))

        def shut_down() -> None:
            closing_down.set()
            shutdown()

        monkeypatch.setattr(store, "_get_part", get_part_late)
        monkeypatch.setattr(pool, "shutdown", shut_down)
        assert store.take("no-such-claim", 1, MINE, now=NOW) is None

        closes = threading.Thread(target=store.close, daemon=True)
        closes.start()
        closes.join(20)

        assert not closes.is_alive()
        assert read == [None]

    def test_works_on_both_sides_of_a_fork(self, aws: AwsServer, table: str) -> None:
        in_a_process_of_its_own(fork_and_share, f"dynamodb://{table}?region={aws.region}")

    @pytest.mark.parametrize("operation", ["write", "take", "read", "look up", "purge", "extend"])
    def test_says_how_to_make_a_table_that_is_missing(self, aws: AwsServer, operation: str) -> None:
        store = DynamoDBClaimStore("no-such-table", region=aws.region)

        with pytest.raises(
            ClaimTableMissing,
            match=rf"no-such-table: .*{aws.region}.*`claimcheck table create`.*CLAIMCHECK_STORE",
        ):
            OPERATIONS[operation](store, Claim(*make_claim()))
        store.close()


@pytest.mark.usefixtures("impatient")
class TestDynamoDBOnABadDay:
    """What the store does when DynamoDB does not do what it was asked."""

    @pytest.fixture
    def server(self, ministack: AwsServer) -> Iterator[FaultyServer]:
        with faulty(str(ministack.endpoint_url)) as server:
            yield server

    @pytest.fixture
    def table(self, ministack: AwsServer) -> str:
        name = ministack.make_table_name()
        ClaimTable(name, region=ministack.region).create()
        return name

    @pytest.fixture
    def store(
        self, ministack: AwsServer, server: FaultyServer, table: str
    ) -> Iterator[DynamoDBClaimStore]:
        store = DynamoDBClaimStore(table, region=ministack.region, endpoint_url=server.url)
        yield store
        store.close()

    def test_requests_say_who_sends_them(
        self, server: FaultyServer, store: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.12")
        monkeypatch.setenv("AWS_SDK_UA_APP_ID", "shop")

        write(store)

        assert server.user_agents
        for user_agent in server.user_agents:
            assert user_agent.startswith(f"Botocore/{botocore.__version__} Python/")
            assert "exec-env/AWS_Lambda_python3.12" in user_agent
            assert "app/shop" in user_agent

    def test_claims_do_not_wait_for_the_parts_of_others(
        self, ministack: AwsServer, server: FaultyServer, table: str
    ) -> None:
        """Though one that is slow keeps every thread of the store."""
        store = DynamoDBClaimStore(
            table, region=ministack.region, endpoint_url=server.url, parallelism=1
        )
        slow = write(store)
        go_on = threading.Event()
        held = server.hold("GetItem", go_on, matches=is_key(f"{slow.head.id}/0"))
        given_up = threading.Timer(10, go_on.set)
        given_up.start()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read, store, slow)
            wait_for(lambda: held.happened, "the store's only thread")
            claim = Claim(*make_claim(10, 20, 30))
            references = sys.getrefcount(claim.parts[0])
            store.write(claim.head, [part or b"" for part in claim.parts])
            references_after = sys.getrefcount(claim.parts[0])
            assert references_after == references, "it waits in memory"
            assert take(store, claim, MINE) == claim
            assert store.purge(claim.head.id, claim.head.parts, MINE)
            assert not go_on.is_set(), "they waited until the slow one was given up"
            given_up.cancel()
            go_on.set()
            assert reading.result() == slow
        assert rows(store, claim) == 0
        store.close()

    @pytest.mark.parametrize("operation", ["write", "take", "read", "look up", "purge", "extend"])
    @pytest.mark.parametrize(
        ("code", "status"),
        [("ProvisionedThroughputExceededException", 400), ("InternalServerError", 500)],
    )
    def test_is_unavailable_while_it_throttles_or_fails(
        self,
        server: FaultyServer,
        store: DynamoDBClaimStore,
        operation: str,
        code: str,
        status: int,
    ) -> None:
        claim = write(store)
        take(store, claim, MINE)
        for name in ("PutItem", "GetItem", "UpdateItem", "DeleteItem"):
            server.refuse(name, code, status)

        with pytest.raises(ClaimStoreUnavailable, match=f"{store.table}: claim .*{code}") as error:
            OPERATIONS[operation](store, claim)

        assert error.value.retryable
        server.faults.clear()
        assert read(store, claim) == Held(MINE.until)
        assert rows(store, claim) == 3

    def test_a_short_fault_is_not_noticed(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        for name in ("PutItem", "GetItem", "UpdateItem", "DeleteItem"):
            server.refuse(name, "ProvisionedThroughputExceededException", times=1)
            server.hang_up(name, times=1)

        claim = write(store)
        assert take(store, claim, MINE) == claim
        assert store.purge(claim.head.id, claim.head.parts, MINE)

        assert rows(store, claim) == 0
        assert [fault.happened for fault in server.faults] == [1] * 8

    def test_is_unavailable_when_nobody_listens(
        self, ministack: AwsServer, server: FaultyServer
    ) -> None:
        store = DynamoDBClaimStore(
            "claims", region=ministack.region, endpoint_url="http://127.0.0.1:9"
        )

        with pytest.raises(ClaimStoreUnavailable, match=r"claims: claim .*127\.0\.0\.1:9") as error:
            write(store)
        assert error.value.retryable
        store.close()

    def test_a_refusal_is_final(self, server: FaultyServer, store: DynamoDBClaimStore) -> None:
        claim = write(store)
        server.refuse("UpdateItem", "AccessDeniedException")

        with pytest.raises(ClaimStoreError, match=r"AccessDenied.*the test says so") as error:
            take(store, claim, MINE)

        assert not isinstance(error.value, ClaimStoreUnavailable)
        assert not error.value.retryable

    @pytest.mark.parametrize("fails", [False, True], ids=["the rest works", "the rest fails"])
    def test_an_interruption_is_not_held_up(
        self,
        server: FaultyServer,
        store: DynamoDBClaimStore,
        monkeypatch: pytest.MonkeyPatch,
        fails: bool,
    ) -> None:
        """Neither by items that nobody has begun to send, nor by what becomes of them."""
        interrupted = threading.Event()
        held = server.hold("PutItem", interrupted)
        claim = Claim(*make_claim(*[10] * 100))

        def interrupt() -> None:
            wait_for(lambda: held.happened == DEFAULT_PARALLELISM, "all threads to be busy")
            if fails:
                held.times = held.happened
                server.refuse("PutItem", "AccessDeniedException")
            interrupted.set()
            raise KeyboardInterrupt

        monkeypatch.setattr(store, "_head_item", lambda _head: SimpleNamespace(save=interrupt))
        with pytest.raises(KeyboardInterrupt):
            store.write(claim.head, [part or b"" for part in claim.parts])
        store.close()

        assert rows(store, claim) < 100

    def test_a_purge_removes_all_but_what_cannot_be_removed(
        self, ministack: AwsServer, server: FaultyServer, table: str
    ) -> None:
        store = DynamoDBClaimStore(
            table, region=ministack.region, endpoint_url=server.url, parallelism=1
        )
        claim = write(store, *[10] * 10)
        take(store, claim, MINE)
        part = is_key(f"{claim.head.id}/0")
        server.refuse("DeleteItem", "AccessDeniedException", matches=part)

        with pytest.raises(ClaimStoreError, match=f"claim {claim.head.id} could not be purged"):
            store.purge(claim.head.id, claim.head.parts, MINE)

        assert rows(store, claim) == 1
        store.close()

    def test_one_error_tells_of_many(self, server: FaultyServer, store: DynamoDBClaimStore) -> None:
        claim = Claim(*make_claim(*[10] * 30))
        server.refuse("PutItem", "AccessDeniedException")

        with pytest.raises(ClaimStoreError) as error:
            store.write(claim.head, [part or b"" for part in claim.parts])

        text = "".join(traceback.format_exception(error.value))
        assert text.count("AccessDeniedException") < 15

    @pytest.mark.parametrize("which", ["a part", "the head"])
    def test_a_write_that_fails_half_way_leaves_no_rows(
        self, server: FaultyServer, store: DynamoDBClaimStore, which: str
    ) -> None:
        claim = Claim(*make_claim(10, 20, 30))
        failing = claim.head.id + ("/1" if which == "a part" else "")
        server.refuse("PutItem", "AccessDeniedException", matches=is_put_of(failing))

        with pytest.raises(ClaimStoreError, match=f"claim {claim.head.id} was not stored"):
            store.write(claim.head, [part or b"" for part in claim.parts])

        assert rows(store, claim) == 0

    def test_what_cannot_be_removed_expires(
        self,
        ministack: AwsServer,
        server: FaultyServer,
        store: DynamoDBClaimStore,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        claim = Claim(*make_claim())
        server.refuse("PutItem", "AccessDeniedException", matches=is_put_of(claim.head.id))
        server.refuse("DeleteItem", "AccessDeniedException")

        with pytest.raises(ClaimStoreError, match="was not stored"):
            store.write(claim.head, [part or b"" for part in claim.parts])

        left = ministack.dynamodb().scan(TableName=store.table)["Items"]
        assert [item["expires_at"]["N"] for item in left] == [str(claim.head.expires_at)] * 2
        assert f"what was written of claim {claim.head.id} is left to expire" in caplog.text

    @pytest.mark.parametrize("operation", ["UpdateItem", "DeleteItem", "PutItem"])
    def test_an_answer_that_is_lost_changes_nothing(
        self, server: FaultyServer, store: DynamoDBClaimStore, operation: str
    ) -> None:
        lost = server.lose_answer(operation, times=1)

        claim = write(store)
        assert take(store, claim, MINE) == claim
        assert store.purge(claim.head.id, claim.head.parts, MINE)

        assert rows(store, claim) == 0
        assert lost.happened == 1

    def test_the_head_goes_first(self, server: FaultyServer, store: DynamoDBClaimStore) -> None:
        claim = write(store)
        take(store, claim, MINE)
        server.refuse("DeleteItem", "AccessDeniedException", matches=is_key_of_a_part)

        with pytest.raises(ClaimStoreError, match="could not be purged"):
            store.purge(claim.head.id, claim.head.parts, MINE)

        assert rows(store, claim) == 2
        assert take(store, claim, OTHERS, MINE.until) is None

    def test_no_part_goes_before_the_head(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store)
        take(store, claim, MINE)
        server.refuse(
            "DeleteItem", "AccessDeniedException", matches=lambda r: not is_key_of_a_part(r)
        )

        with pytest.raises(ClaimStoreError, match="could not be purged"):
            store.purge(claim.head.id, claim.head.parts, MINE)

        assert take(store, claim, OTHERS, MINE.until) == claim

    def test_reads_again_what_was_written_a_moment_ago(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store)
        unseen = server.add(
            Fault("GetItem", lambda request: not request.get("ConsistentRead"), status=200)
        )

        assert read(store, claim) == claim
        assert take(store, claim, MINE) == claim
        assert unseen.happened == 4

    def test_a_part_that_cannot_be_read_is_not_taken_for_missing(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store)
        server.refuse("GetItem", "AccessDeniedException", matches=is_key_of_a_part)

        with pytest.raises(ClaimStoreError, match="AccessDenied"):
            take(store, claim, MINE)

    def test_a_claim_put_back_at_this_moment_is_free_now(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store)
        # The condition fails, and by the time the head is read nobody holds it.
        server.refuse("UpdateItem", "ConditionalCheckFailedException")

        assert take(store, claim, MINE) == Held(0.0)


class TestOpenStore:
    def test_memory(self) -> None:
        assert isinstance(open_store("memory://"), MemoryClaimStore)

    @pytest.mark.parametrize("slashes", ["sqlite:///", "sqlite:////"])
    def test_sqlite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slashes: str) -> None:
        monkeypatch.chdir(tmp_path)
        path = "my claims.db" if slashes == "sqlite:///" else f"{tmp_path}/my claims.db"[1:]

        store = open_store(slashes + quote(path))

        claim = write(store)
        store.close()
        assert read(SqliteClaimStore(tmp_path / "my claims.db"), claim) == claim

    def test_dynamodb_takes_the_region_from_the_url(self) -> None:
        named = open_store("dynamodb://claims?region=eu-north-1", region="us-west-2")
        unnamed = open_store("dynamodb://claims", region="us-west-2")

        assert isinstance(named, DynamoDBClaimStore)
        assert isinstance(unnamed, DynamoDBClaimStore)
        assert (named.table, named.region, unnamed.region) == ("claims", "eu-north-1", "us-west-2")

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "claims",
            "redis://localhost",
            "sqlite://",
            "sqlite:///",
            "sqlite://claims.db",
            "dynamodb://",
            "dynamodb:///claims",
            "dynamodb://claims/more",
            "dynamodb://claims?regoin=us-west-2",
        ],
    )
    def test_refuses_what_names_no_store(self, url: str) -> None:
        with pytest.raises(SettingsInvalid, match=r"expected dynamodb://TABLE, sqlite:///path"):
            open_store(url)


OPERATIONS: dict[str, Callable[[ClaimStore, Claim], object]] = {
    "write": lambda store, _: write(store),
    "take": lambda store, claim: take(store, claim, MINE),
    "read": read,
    "look up": lambda store, claim: store.look_up(claim.head.id, now=NOW),
    "purge": lambda store, claim: store.purge(claim.head.id, claim.head.parts, MINE),
    "extend": lambda store, claim: store.extend(claim.head.id, MINE),
}


def dropped_and_kept_by_the_next_write(store: ClaimStore) -> None:
    expired = write(store, expires_at=int(NOW))
    taken = write(store, expires_at=int(NOW), created_at=int(NOW) - 10)
    take(store, taken, MINE)
    kept = write(store, expires_at=int(NOW) + 1, created_at=int(NOW) - 10)

    write(store)

    assert [rows(store, claim) for claim in (expired, taken, kept)] == [0, 0, 3]


def is_put_of(item_id: str) -> Matches:
    return lambda request: bool(request["Item"]["id"]["S"] == item_id)


def is_key(item_id: str) -> Matches:
    return lambda request: bool(request["Key"]["id"]["S"] == item_id)


def is_key_of_a_part(request: dict[str, Any]) -> bool:
    return "/" in request["Key"]["id"]["S"]


def change(path: Path, statement: str, *values: object) -> None:
    """Change a SQLite file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def expiries(store: ClaimStore, claim: Claim) -> set[int]:
    """When the items of a claim expire: a store in DynamoDB has its parts expire by themselves."""
    head = store.look_up(claim.head.id, now=NOW)
    assert head is not None
    if not isinstance(store, DynamoDBClaimStore):
        return {head.expires_at}
    parts = [store._parts.get(f"{head.id}/{n}").expires_at for n in range(head.parts)]
    return {head.expires_at, *map(int, parts)}


def in_a_process_of_its_own(function: Callable[[str], None], argument: str) -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        pool.submit(function, argument).result()


def purge_all(path: Path, claims: list[Claim], number: int) -> list[str]:
    store = SqliteClaimStore(path)
    lease = Lease(f"process {number}", NOW + 100)
    return [
        claim.head.id
        for claim in claims
        if take(store, claim, lease) == claim
        and store.purge(claim.head.id, claim.head.parts, lease)
    ]


def write_into(path: Path, claim: Claim) -> None:
    SqliteClaimStore(path).write(claim.head, [part or b"" for part in claim.parts])


class _DeadlyParts(list[bytes]):
    def __iter__(self) -> Iterator[bytes]:
        yield self[0]
        os.kill(os.getpid(), signal.SIGKILL)


def die_writing(path: Path, claim: Claim) -> None:
    SqliteClaimStore(path).write(claim.head, _DeadlyParts(part or b"" for part in claim.parts))


def fork_and_share(url: str) -> None:
    """Use a store, fork, and use it on both sides."""
    store = open_store(url)
    claim, childs = write(store), Claim(*make_claim())
    child_has_begun, parent_has_closed = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a store whose threads stayed behind waits for good
        taken = take(store, claim, MINE)
        os.write(child_has_begun[1], b".")
        os.read(parent_has_closed[0], 1)
        store.write(childs.head, [part or b"" for part in childs.parts])
        os._exit(0 if taken == claim else 1)
    os.close(child_has_begun[1])  # so that reading ends with the child, too
    os.read(child_has_begun[0], 1)
    store.close()
    os.write(parent_has_closed[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    assert take(store, claim, OTHERS) == Held(MINE.until)
    assert read(store, childs) == childs
