"""What every store does with records."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from claimcheck import ClaimStore
from claimcheck.stores.base import Lease, Record
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from tests.claimcheck.stores.support import MINE, OTHERS
from tests.claimcheck.support import DAY, Clock

KEY = "claim-0123456789abcdef@"
DONE = Record("done", 0)


class RecordsContract:
    def test_there_is_none_at_first(self, store: ClaimStore) -> None:
        assert store.look_up(KEY) is None

    def test_time_is_by_the_stores_clock(self, store: ClaimStore, clock: Clock) -> None:
        clock.advance(1_000)

        assert store.now() == clock()

    def test_acquiring_holds_it_for_the_time_of_the_lease(self, store: ClaimStore) -> None:
        assert store.acquire(KEY, MINE) is None

        assert store.look_up(KEY) == Record("leased", 60)

    def test_the_record_of_another_is_in_the_way(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(59.5)

        assert store.acquire(KEY, OTHERS) == Record("leased", 0.5)
        assert store.acquire(KEY, OTHERS, take_over=True) == Record("leased", 0.5)
        assert store.look_up(KEY) == Record("leased", 0.5)
        assert store.complete(KEY, MINE.id)

    def test_each_key_has_a_record_of_its_own(self, store: ClaimStore) -> None:
        store.acquire(KEY, MINE)

        assert store.acquire(f"{KEY}queue", OTHERS) is None
        assert store.release(f"{KEY}queue", OTHERS.id)
        assert store.look_up(KEY) == Record("leased", 60)

    def test_acquires_again_with_the_same_lease(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(10)

        assert store.acquire(KEY, MINE) is None
        assert store.look_up(KEY) == Record("leased", 60)

    def test_a_lease_that_ran_out_is_free(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(60)
        assert store.look_up(KEY) == Record("leased", 0)

        assert store.acquire(KEY, OTHERS) is None
        assert store.acquire(KEY, MINE) == Record("leased", 90)

    def test_a_lost_lease_changes_nothing(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(60)
        store.acquire(KEY, OTHERS)

        assert not store.extend(KEY, MINE)
        assert not store.hand_over(KEY, MINE.id)
        assert not store.release(KEY, MINE.id)
        assert not store.complete(KEY, MINE.id)

        assert store.look_up(KEY) == Record("leased", 90)
        assert store.extend(KEY, OTHERS)

    @pytest.mark.parametrize("way", ["extend", "hand over", "release", "complete"])
    def test_a_lease_that_ran_out_is_ours_until_another_has_it(
        self, store: ClaimStore, clock: Clock, way: str
    ) -> None:
        store.acquire(KEY, MINE)
        clock.advance(1_000)

        assert {
            "extend": lambda: store.extend(KEY, MINE),
            "hand over": lambda: store.hand_over(KEY, MINE.id),
            "release": lambda: store.release(KEY, MINE.id),
            "complete": lambda: store.complete(KEY, MINE.id),
        }[way]()

    def test_extending_holds_it_from_now(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(50)

        assert store.extend(KEY, Lease(MINE.id, 500.5))

        assert store.look_up(KEY) == Record("leased", 500.5)
        clock.advance(500)
        assert store.acquire(KEY, OTHERS) == Record("leased", 0.5)

    def test_extending_makes_no_record(self, store: ClaimStore) -> None:
        assert not store.extend(KEY, MINE)
        assert not store.hand_over(KEY, MINE.id)

        assert store.look_up(KEY) is None

    def test_releasing_frees_it(self, store: ClaimStore) -> None:
        store.acquire(KEY, MINE)

        assert store.release(KEY, MINE.id)

        assert store.look_up(KEY) is None
        assert store.acquire(KEY, OTHERS) is None

    def test_releases_again(self, store: ClaimStore) -> None:
        store.acquire(KEY, MINE)
        store.release(KEY, MINE.id)

        assert store.release(KEY, MINE.id)
        assert not store.extend(KEY, MINE)
        assert store.look_up(KEY) is None

    def test_handing_over_keeps_the_lease(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(10)

        assert store.hand_over(KEY, MINE.id)
        assert store.hand_over(KEY, MINE.id)

        assert store.look_up(KEY) == Record("handed_over", 50)
        assert store.acquire(KEY, OTHERS) == Record("handed_over", 50)
        assert store.extend(KEY, MINE)
        assert store.look_up(KEY) == Record("handed_over", 60)

    def test_what_was_handed_over_is_free_only_to_take_over(
        self, store: ClaimStore, clock: Clock
    ) -> None:
        store.acquire(KEY, MINE)
        store.hand_over(KEY, MINE.id)
        assert store.acquire(KEY, OTHERS, take_over=True) == Record("handed_over", 60)
        clock.advance(60)

        assert store.acquire(KEY, OTHERS) == Record("handed_over", 0)
        assert store.acquire(KEY, OTHERS, take_over=True) is None
        assert store.look_up(KEY) == Record("handed_over", 90)
        assert store.acquire(KEY, OTHERS, take_over=True) is None  # its answer was lost
        assert store.acquire(KEY, MINE, take_over=True) == Record("handed_over", 90)
        assert not store.complete(KEY, MINE.id)

    def test_take_over_also_acquires_what_nobody_has(self, store: ClaimStore, clock: Clock) -> None:
        assert store.acquire(KEY, MINE, take_over=True) is None
        assert store.acquire(KEY, MINE, take_over=True) is None
        clock.advance(60)
        assert store.acquire(KEY, OTHERS, take_over=True) is None

    @pytest.mark.parametrize("take_over", [False, True])
    def test_acquiring_late_undoes_no_handing_over(
        self, store: ClaimStore, take_over: bool
    ) -> None:
        """A request that is delayed on its way arrives when its repetition has long succeeded."""
        store.acquire(KEY, MINE)
        store.hand_over(KEY, MINE.id)

        store.acquire(KEY, MINE, take_over=take_over)

        assert store.look_up(KEY) == Record("handed_over", 60)
        assert store.acquire(KEY, OTHERS, take_over=True) == Record("handed_over", 60)

    def test_what_was_handed_over_is_released(self, store: ClaimStore) -> None:
        store.acquire(KEY, MINE)
        store.hand_over(KEY, MINE.id)

        assert store.release(KEY, MINE.id)
        assert store.acquire(KEY, OTHERS) is None

    @pytest.mark.parametrize("handed_over", [False, True])
    def test_completing_leaves_a_receipt(
        self, store: ClaimStore, clock: Clock, handed_over: bool
    ) -> None:
        store.acquire(KEY, MINE)
        if handed_over:
            store.hand_over(KEY, MINE.id)

        assert store.complete(KEY, MINE.id)
        assert store.complete(KEY, MINE.id)

        assert store.look_up(KEY) == DONE
        clock.advance(1_000)
        assert store.acquire(KEY, OTHERS) == DONE
        assert store.acquire(KEY, OTHERS, take_over=True) == DONE

    def test_nothing_that_comes_late_changes_a_receipt(self, store: ClaimStore) -> None:
        store.acquire(KEY, MINE)
        store.complete(KEY, MINE.id)

        assert store.acquire(KEY, MINE) == DONE
        assert store.acquire(KEY, MINE, take_over=True) == DONE
        assert not store.extend(KEY, MINE)
        assert not store.hand_over(KEY, MINE.id)
        assert not store.release(KEY, MINE.id)
        assert not store.complete(KEY, OTHERS.id)

        assert store.look_up(KEY) == DONE

    def test_completing_writes_a_record_that_somebody_removed(self, store: ClaimStore) -> None:
        assert store.complete(KEY, MINE.id)
        assert store.complete(KEY, MINE.id)

        assert store.look_up(KEY) == DONE
        assert store.acquire(KEY, OTHERS) == DONE

    def test_a_receipt_tells_a_duplicate_for_29_days(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        store.complete(KEY, MINE.id)
        clock.advance(29 * DAY)
        store.acquire("another@", OTHERS)

        assert store.acquire(KEY, OTHERS) == DONE

    def test_a_record_lives_on_while_it_changes(self, store: ClaimStore, clock: Clock) -> None:
        store.acquire(KEY, MINE)
        clock.advance(29 * DAY)
        store.extend(KEY, MINE)
        clock.advance(29 * DAY)
        store.acquire("another@", OTHERS)

        assert store.complete(KEY, MINE.id)
        assert store.look_up(KEY) == DONE

    @pytest.mark.usefixtures("atomic")
    def test_of_many_that_acquire_one_wins(self, store: ClaimStore, clock: Clock) -> None:
        leases = [Lease(f"lease {number}", 100 + number) for number in range(8)]
        start = threading.Barrier(len(leases))

        def acquire(lease: Lease) -> Record | None:
            start.wait()
            return store.acquire(KEY, lease)

        for _ in range(5):
            with ThreadPoolExecutor(len(leases)) as pool:
                found = list(pool.map(acquire, leases))

            (winner,) = [lease for lease, got in zip(leases, found, strict=True) if got is None]
            assert [got for got in found if got] == [Record("leased", winner.seconds)] * 7
            clock.advance(1_000)


class TestMemory(RecordsContract):
    @pytest.fixture
    def store(self, memory_store: MemoryClaimStore) -> MemoryClaimStore:
        return memory_store


class TestSqlite(RecordsContract):
    @pytest.fixture
    def store(self, sqlite_store: SqliteClaimStore) -> SqliteClaimStore:
        return sqlite_store


class TestDynamoDB(RecordsContract):
    @pytest.fixture
    def store(self, dynamodb_store: DynamoDBClaimStore) -> DynamoDBClaimStore:
        return dynamodb_store


class TestLetsGo(RecordsContract):
    @pytest.fixture
    def store(self, letsgo_store: LetsGoClaimStore) -> LetsGoClaimStore:
        return letsgo_store
