"""The tests of how a store keeps records."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from claimcheck.stores.base import ClaimStore, Lease, Record, State
from claimcheck.testing.base import StoreTests, clock_of
from claimcheck.testing.claims import MINE, OTHERS
from claimcheck.testing.clock import Clock

_KEY = "claim-0123456789abcdef@"
_DONE = Record("done", 0)
_DAY = 24 * 3600


class RecordsContract(StoreTests):
    """Tests of how a store keeps records."""

    def test_there_is_none_at_first(self, store: ClaimStore) -> None:
        assert store.look_up(_KEY) is None

    def test_time_is_by_the_stores_clock(self, store: ClaimStore, set_clock: Clock) -> None:
        set_clock.advance(1_000)

        assert store.now() == set_clock()

    def test_acquiring_holds_it_for_the_time_of_the_lease(self, store: ClaimStore) -> None:
        assert store.acquire(_KEY, MINE) is None

        assert store.look_up(_KEY) == self.held(60)

    def test_the_record_of_another_is_in_the_way(self, store: ClaimStore, set_clock: Clock) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(59.5)

        assert store.acquire(_KEY, OTHERS) == self.held(0.5)
        assert store.acquire(_KEY, OTHERS, take_over=True) == self.held(0.5)
        assert store.look_up(_KEY) == self.held(0.5)
        assert store.complete(_KEY, MINE.id)

    def test_each_key_has_a_record_of_its_own(self, store: ClaimStore) -> None:
        store.acquire(_KEY, MINE)

        of_a_queue = f"{_KEY}eu-west-1:123456789012:orders.fifo"
        assert store.acquire(of_a_queue, OTHERS) is None
        assert store.release(of_a_queue, OTHERS.id)
        assert store.look_up(_KEY) == self.held(60)

    def test_acquires_again_with_the_same_lease(self, store: ClaimStore) -> None:
        store.acquire(_KEY, MINE)

        assert store.acquire(_KEY, Lease(MINE.id, 10_000)) is None
        assert store.look_up(_KEY) == self.held(10_000)

    @pytest.mark.parametrize("handed_over", [False, True])
    def test_a_request_that_arrives_late_shortens_no_lease(
        self, store: ClaimStore, handed_over: bool
    ) -> None:
        state: State = "handed_over" if handed_over else "leased"
        store.acquire(_KEY, Lease(MINE.id, 10_000))
        if handed_over:
            store.hand_over(_KEY, MINE.id)

        assert store.extend(_KEY, MINE)
        assert store.look_up(_KEY) == self.held(10_000, state)

        assert (store.acquire(_KEY, MINE) is None) != handed_over
        assert store.acquire(_KEY, MINE, take_over=True) is None
        assert store.look_up(_KEY) == self.held(10_000, state)

    def test_a_short_lease_ends_by_itself(
        self, store: ClaimStore, request: pytest.FixtureRequest
    ) -> None:
        """Without a clock to set, this waits for it."""
        clock = clock_of(request)
        store.acquire(_KEY, Lease(MINE.id, 0.5))
        if clock is not None:
            assert store.acquire(_KEY, OTHERS) == self.held(0.5)
            clock.advance(0.5)
        deadline = time.monotonic() + 60

        while store.acquire(_KEY, OTHERS) is not None:
            assert time.monotonic() < deadline, "a lease of half a second lasts a minute"
            time.sleep(0.1)

        assert not store.complete(_KEY, MINE.id)
        assert store.complete(_KEY, OTHERS.id)

    def test_a_lease_that_ran_out_is_free(self, store: ClaimStore, set_clock: Clock) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(60)
        assert store.look_up(_KEY) == self.held(0)

        assert store.acquire(_KEY, OTHERS) is None
        assert store.acquire(_KEY, MINE) == self.held(90)

    def test_a_lost_lease_changes_nothing(self, store: ClaimStore, set_clock: Clock) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(60)
        store.acquire(_KEY, OTHERS)

        assert not store.extend(_KEY, MINE)
        assert not store.hand_over(_KEY, MINE.id)
        assert not store.release(_KEY, MINE.id)
        assert not store.complete(_KEY, MINE.id)

        assert store.look_up(_KEY) == self.held(90)
        assert store.extend(_KEY, OTHERS)

    @pytest.mark.parametrize("way", ["extend", "hand over", "release", "complete"])
    def test_a_lease_that_ran_out_is_ours_until_another_has_it(
        self, store: ClaimStore, set_clock: Clock, way: str
    ) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(1_000)

        assert {
            "extend": lambda: store.extend(_KEY, MINE),
            "hand over": lambda: store.hand_over(_KEY, MINE.id),
            "release": lambda: store.release(_KEY, MINE.id),
            "complete": lambda: store.complete(_KEY, MINE.id),
        }[way]()

    def test_extending_holds_it_from_now(self, store: ClaimStore, set_clock: Clock) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(50)

        assert store.extend(_KEY, Lease(MINE.id, 500.5))

        assert store.look_up(_KEY) == self.held(500.5)
        set_clock.advance(500)
        assert store.acquire(_KEY, OTHERS) == self.held(0.5)

    def test_extending_makes_no_record(self, store: ClaimStore) -> None:
        assert not store.extend(_KEY, MINE)
        assert not store.hand_over(_KEY, MINE.id)

        assert store.look_up(_KEY) is None

    def test_releasing_frees_it(self, store: ClaimStore) -> None:
        store.acquire(_KEY, MINE)

        assert store.release(_KEY, MINE.id)

        assert store.look_up(_KEY) is None
        assert store.acquire(_KEY, OTHERS) is None

    def test_releases_again(self, store: ClaimStore) -> None:
        store.acquire(_KEY, MINE)
        store.release(_KEY, MINE.id)

        assert store.release(_KEY, MINE.id)
        assert not store.extend(_KEY, MINE)
        assert store.look_up(_KEY) is None

    def test_handing_over_keeps_the_lease(self, store: ClaimStore, set_clock: Clock) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(10)

        assert store.hand_over(_KEY, MINE.id)
        assert store.hand_over(_KEY, MINE.id)

        assert store.look_up(_KEY) == self.held(50, "handed_over")
        assert store.acquire(_KEY, OTHERS) == self.held(50, "handed_over")
        assert store.extend(_KEY, MINE)
        assert store.look_up(_KEY) == self.held(60, "handed_over")

    def test_what_was_handed_over_is_free_only_to_take_over(
        self, store: ClaimStore, set_clock: Clock
    ) -> None:
        store.acquire(_KEY, MINE)
        store.hand_over(_KEY, MINE.id)
        assert store.acquire(_KEY, OTHERS, take_over=True) == self.held(60, "handed_over")
        set_clock.advance(60)

        assert store.acquire(_KEY, OTHERS) == self.held(0, "handed_over")
        assert store.acquire(_KEY, OTHERS, take_over=True) is None
        assert store.look_up(_KEY) == self.held(90, "handed_over")
        assert store.acquire(_KEY, OTHERS, take_over=True) is None  # the first answer was lost
        assert store.acquire(_KEY, MINE, take_over=True) == self.held(90, "handed_over")
        assert not store.complete(_KEY, MINE.id)

    def test_take_over_also_acquires_what_nobody_has(
        self, store: ClaimStore, set_clock: Clock
    ) -> None:
        assert store.acquire(_KEY, MINE, take_over=True) is None
        assert store.acquire(_KEY, MINE, take_over=True) is None
        set_clock.advance(60)
        assert store.acquire(_KEY, OTHERS, take_over=True) is None

    @pytest.mark.parametrize("take_over", [False, True])
    def test_acquiring_late_undoes_no_handing_over(
        self, store: ClaimStore, take_over: bool
    ) -> None:
        """A delayed request may arrive long after its repetition succeeded."""
        store.acquire(_KEY, MINE)
        store.hand_over(_KEY, MINE.id)

        store.acquire(_KEY, MINE, take_over=take_over)

        assert store.look_up(_KEY) == self.held(60, "handed_over")
        assert store.acquire(_KEY, OTHERS, take_over=True) == self.held(60, "handed_over")

    def test_what_was_handed_over_is_released(self, store: ClaimStore) -> None:
        store.acquire(_KEY, MINE)
        store.hand_over(_KEY, MINE.id)

        assert store.release(_KEY, MINE.id)
        assert store.acquire(_KEY, OTHERS) is None

    @pytest.mark.parametrize("handed_over", [False, True])
    def test_completing_leaves_a_receipt(
        self, store: ClaimStore, set_clock: Clock, handed_over: bool
    ) -> None:
        store.acquire(_KEY, MINE)
        if handed_over:
            store.hand_over(_KEY, MINE.id)

        assert store.complete(_KEY, MINE.id)
        assert store.complete(_KEY, MINE.id)

        assert store.look_up(_KEY) == _DONE
        set_clock.advance(1_000)
        assert store.acquire(_KEY, OTHERS) == _DONE
        assert store.acquire(_KEY, OTHERS, take_over=True) == _DONE

    def test_nothing_that_comes_late_changes_a_receipt(self, store: ClaimStore) -> None:
        store.acquire(_KEY, MINE)
        store.complete(_KEY, MINE.id)

        assert store.acquire(_KEY, MINE) == _DONE
        assert store.acquire(_KEY, MINE, take_over=True) == _DONE
        assert not store.extend(_KEY, MINE)
        assert not store.hand_over(_KEY, MINE.id)
        assert not store.release(_KEY, MINE.id)
        assert not store.complete(_KEY, OTHERS.id)

        assert store.look_up(_KEY) == _DONE

    def test_completing_writes_a_record_that_somebody_removed(self, store: ClaimStore) -> None:
        assert store.complete(_KEY, MINE.id)
        assert store.complete(_KEY, MINE.id)

        assert store.look_up(_KEY) == _DONE
        assert store.acquire(_KEY, OTHERS) == _DONE

    def test_a_receipt_tells_a_duplicate_for_29_days(
        self, store: ClaimStore, set_clock: Clock
    ) -> None:
        store.acquire(_KEY, MINE)
        store.complete(_KEY, MINE.id)
        set_clock.advance(29 * _DAY)
        store.acquire("another@", OTHERS)

        assert store.acquire(_KEY, OTHERS) == _DONE

    def test_a_record_lives_on_while_it_changes(self, store: ClaimStore, set_clock: Clock) -> None:
        store.acquire(_KEY, MINE)
        set_clock.advance(29 * _DAY)
        store.extend(_KEY, MINE)
        set_clock.advance(29 * _DAY)
        store.acquire("another@", OTHERS)

        assert store.complete(_KEY, MINE.id)
        assert store.look_up(_KEY) == _DONE

    def test_of_many_that_acquire_one_wins(self, store: ClaimStore) -> None:
        leases = [Lease(f"lease {number}", 100 + number) for number in range(8)]
        start = threading.Barrier(len(leases))

        for turn in range(5):
            found = _acquire_at_once(store, f"{_KEY}{turn}", leases, start)

            (winner,) = [lease for lease, got in zip(leases, found, strict=True) if got is None]
            assert [got for got in found if got] == [self.held(winner.seconds)] * 7


def _acquire_at_once(
    store: ClaimStore, key: str, leases: Sequence[Lease], start: threading.Barrier
) -> list[Record | None]:
    def acquire(lease: Lease) -> Record | None:
        start.wait()
        return store.acquire(key, lease)

    with ThreadPoolExecutor(len(leases)) as pool:
        return list(pool.map(acquire, leases))
