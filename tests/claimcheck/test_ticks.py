"""Schedules in a fleet: the claim check has each tick run in one worker."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware, DuplicateSuppressed, unwrap_claim_check
from claimcheck.opening import OnDuplicate, Opener
from claimcheck.stores.base import Record
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import (
    Event,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageSkipped,
    Worker,
)
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import incoming, ticks
from tests.claimcheck.support import small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.support import ticking
from tests.support.quick_python import quick_python
from tests.support.waiting import wait_for

SCRIPT = Path(__file__).with_name("ticking_worker.py")
ROOT = Path(__file__).parents[2]

PROCESSES = 4
TICKS = 3
MIDNIGHT = 1_800_057_600.0
"""Seconds since 1970."""


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "POLL_SECONDS", 0.01)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = MIDNIGHT
    return clock


class Fleet:
    """Workers in this process that share a store, and the clock that their schedules go by."""

    def __init__(self, store: MemoryClaimStore, clock: Clock) -> None:
        self.watched = Watched(store)
        self.clock = clock
        self.ran: list[str] = []
        self.events: list[Event] = []
        self.fails = False
        self.go_on = threading.Event()
        self.go_on.set()
        self.key = "once//minutely 2027-01-16T00:01:00Z@"
        self.message_id = "minutely 2027-01-16T00:01:00Z"

    def worker(self, *, on_duplicate: OnDuplicate = "acknowledge", **options: Any) -> Worker:
        claims = ClaimCheckMiddleware(
            small_claim_check(self.watched.store), on_duplicate=on_duplicate
        )
        worker = Worker(MemoryTransport(), middleware=[claims], clock=self.clock, **options)
        worker.scheduled("rate(1 minute)", name="minutely")(self.handle)
        worker.add_listener(self.events.append)
        return worker

    def handle(self, event: Mapping[str, Any]) -> None:
        self.ran.append(event["time"])
        assert self.go_on.wait(20)
        if self.fails:
            raise ZeroDivisionError

    def wait_for(self, kind: type[Event], count: int = 1) -> None:
        wait_for(
            lambda: sum(isinstance(each, kind) for each in self.events) >= count, kind.__name__
        )

    def run_elsewhere(self) -> Any:
        """Have another process run the next tick, and be near the end of its lease."""
        opened = Opener(small_claim_check(self.watched.behind)).open(
            "{}", queue="memory://", message_id=self.message_id, lease_seconds=0.01, is_tick=True
        )
        assert opened is not None
        return opened


@pytest.fixture
def fleet(store: MemoryClaimStore, clock: Clock) -> Fleet:
    return Fleet(store, clock)


@pytest.mark.parametrize("on_duplicate", ["acknowledge", "raise"])
def test_one_worker_runs_a_tick_and_nobody_complains(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, on_duplicate: OnDuplicate
) -> None:
    with ticking(fleet.worker()), ticking(fleet.worker(on_duplicate=on_duplicate)):
        twin = fleet.run_elsewhere()
        twin.complete()
        fleet.clock.advance(60)
        fleet.wait_for(MessageSkipped, 2)

    assert fleet.ran == []
    assert not any(isinstance(each, MessageFailed | DuplicateSuppressed) for each in fleet.events)
    assert "WARNING" not in caplog.text


def test_a_tick_leaves_a_receipt(fleet: Fleet, store: MemoryClaimStore) -> None:
    with ticking(fleet.worker()):
        fleet.clock.advance(60)
        fleet.wait_for(MessageHandled)

    assert fleet.ran == ["2027-01-16T00:01:00Z"]
    assert store.look_up(fleet.key) == Record("done", 0)


def test_a_claim_check_on_the_handler_alone_decides_too(fleet: Fleet, clock: Clock) -> None:
    worker = Worker(MemoryTransport(), clock=clock)
    decorate = unwrap_claim_check(claim_check=small_claim_check(fleet.watched.store))
    worker.scheduled("rate(1 minute)", name="minutely")(decorate(fleet.handle))
    worker.add_listener(fleet.events.append)
    fleet.run_elsewhere().complete()

    with ticking(worker):
        clock.advance(60)
        fleet.wait_for(MessageSkipped)
        clock.advance(60)
        fleet.wait_for(MessageHandled)

    assert fleet.ran == ["2027-01-16T00:02:00Z"]


def test_a_tick_that_failed_runs_in_no_other_worker(fleet: Fleet) -> None:
    fleet.fails = True
    with ticking(fleet.worker()):
        fleet.clock.advance(60)
        fleet.wait_for(MessageFailed)
    fleet.clock.advance(-60)
    with ticking(fleet.worker()):
        fleet.clock.advance(60)
        fleet.wait_for(MessageSkipped)

    assert fleet.ran == ["2027-01-16T00:01:00Z"]


class TestWhileAnotherWorkerRunsIt:
    """The store's time stands still: the lease there is about to end, and ends when told."""

    @pytest.fixture
    def fleet(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Fleet:
        monkeypatch.setattr(incoming, "FIRST_PAUSE_SECONDS", 0.1)
        self.lease_clock = Clock()
        return Fleet(MemoryClaimStore(clock=self.lease_clock), clock)

    def wait_until_held(self, fleet: Fleet) -> None:
        wait_for(lambda: fleet.watched.calls["acquire"] > 2, "looks for its twin")

    def test_a_tick_waits_and_is_done_with_it(self, fleet: Fleet) -> None:
        twin = fleet.run_elsewhere()
        with ticking(fleet.worker()):
            fleet.clock.advance(60)
            self.wait_until_held(fleet)
            twin.complete()
            fleet.wait_for(MessageSkipped)

        assert fleet.ran == []

    def test_a_tick_runs_here_if_that_worker_dies(self, fleet: Fleet) -> None:
        fleet.run_elsewhere()  # and nothing more
        with ticking(fleet.worker()):
            fleet.clock.advance(60)
            self.wait_until_held(fleet)
            assert fleet.ran == []
            self.lease_clock.advance(1)
            fleet.wait_for(MessageHandled)

        assert fleet.ran == ["2027-01-16T00:01:00Z"]


def test_a_tick_that_is_cut_off_is_released(fleet: Fleet, store: MemoryClaimStore) -> None:
    fleet.go_on.clear()
    worker = fleet.worker(drain_timeout=0)
    with ticking(worker):
        fleet.clock.advance(60)
        wait_for(lambda: fleet.ran, "the handler")
        worker.stop()
        fleet.wait_for(MessageGivenBack)
    record = store.look_up(fleet.key)
    fleet.go_on.set()

    assert record is None


def test_four_processes_run_each_tick_once(tmp_path: Path) -> None:
    clock, journal = tmp_path / "clock", tmp_path / "journal"
    logs = [tmp_path / f"log{number}" for number in range(PROCESSES)]

    def set_clock(now: float) -> None:
        (tmp_path / "next").write_text(str(now))
        (tmp_path / "next").rename(clock)

    def lines() -> Sequence[str]:
        return journal.read_text().splitlines() if journal.exists() else []

    def has_lines(count: int) -> bool:
        return len(lines()) >= count

    set_clock(MIDNIGHT)
    arguments = [f"sqlite:///{tmp_path}/work.db", str(clock), str(journal)]
    with ExitStack() as stack:
        processes = []
        for log in logs:
            output = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [*quick_python(), "-m", "tests.claimcheck.ticking_worker", *arguments],
                cwd=ROOT,
                stderr=output,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        wait_for(lambda: all("next at" in log.read_text() for log in logs), "the workers")
        for number in range(1, TICKS + 1):
            set_clock(MIDNIGHT + 60 * number)
            wait_for(partial(has_lines, PROCESSES * number), "all to have the tick")
        for process in processes:
            process.terminate()
        assert [process.wait(60) for process in processes] == [0] * PROCESSES

    by_tick: dict[str, list[str]] = {}
    for line in lines():
        tick, what, _process = line.rsplit(" ", 2)
        by_tick.setdefault(tick, []).append(what)
    assert list(by_tick) == [f"minutely 2027-01-16T00:0{n}:00Z" for n in range(1, TICKS + 1)]
    assert {tick: sorted(what) for tick, what in by_tick.items()} == {
        tick: ["not"] * (PROCESSES - 1) + ["ran"] for tick in by_tick
    }
