"""What only `MemoryClaimStore` does."""

from __future__ import annotations

import time

import pytest

from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from claimcheck.testing.claims import MINE, OTHERS, read, write
from tests.claimcheck.support import DAY


def test_two_stores_have_nothing_in_common(memory_store: MemoryClaimStore) -> None:
    claim, other = write(memory_store), MemoryClaimStore()

    assert read(other, claim) is None
    assert other.url == memory_store.url == "memory://"
    assert other.label != memory_store.label


def test_writing_removes_contents_that_have_expired(
    memory_store: MemoryClaimStore, clock: Clock
) -> None:
    expired = write(memory_store, expires_at=int(clock()) + 10)
    kept = write(memory_store, expires_at=int(clock()) + 11)
    clock.advance(10)
    assert read(memory_store, expired) == expired.contents

    write(memory_store)

    assert read(memory_store, expired) is None
    assert read(memory_store, kept) == kept.contents


def test_acquiring_removes_records_that_have_expired(
    memory_store: MemoryClaimStore, clock: Clock
) -> None:
    memory_store.complete("expired@", MINE.id)
    clock.advance(1)
    memory_store.complete("kept@", MINE.id)
    clock.advance(30 * DAY - 1)

    memory_store.acquire("another@", OTHERS)

    assert memory_store.look_up("expired@") is None
    assert memory_store.look_up("kept@") is not None


@pytest.mark.parametrize("steps", [-3_600, 3_600])
def test_a_clock_that_is_set_ends_no_lease(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    store, right = MemoryClaimStore(), time.time
    assert store.acquire("key@", MINE) is None

    monkeypatch.setattr(time, "time", lambda: right() + steps)

    record = store.acquire("key@", OTHERS)
    assert record is not None
    assert 0 < record.seconds_left <= MINE.seconds
    assert store.now() == pytest.approx(right(), abs=60)
