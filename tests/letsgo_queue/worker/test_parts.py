"""The worker's threads, none of which ends in silence."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from letsgo_queue.worker import parts as parts_module
from letsgo_queue.worker.parts import MAX_FAILURES, Parts, SideCalls
from tests.letsgo_queue.support import DEADLINE_SECONDS, needs_late_threads

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "FIRST_PAUSE_SECONDS", 0.0001)


class Broken:
    """Hears of a worker that cannot go on."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.parts = Parts(self.told.set)

    @property
    def text(self) -> str:
        assert self.told.wait(DEADLINE_SECONDS)
        return str(self.parts.broken)


def cannot_start(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class TestParts:
    @pytest.mark.parametrize("error", [ValueError, SystemExit, MemoryError])
    def test_one_that_fails_is_started_again(
        self, parts: Parts, caplog: pytest.LogCaptureFixture, error: type[BaseException]
    ) -> None:
        runs: list[None] = []

        def work() -> None:
            runs.append(None)
            if len(runs) < MAX_FAILURES:
                raise error

        parts.start("heartbeat", work)
        parts.join(DEADLINE_SECONDS)

        assert len(runs) == MAX_FAILURES
        assert parts.broken is None
        assert "the worker's thread 'heartbeat' failed, and is started again" in caplog.text
        assert error.__name__ in caplog.text

    def test_one_that_keeps_failing_ends_the_worker(self) -> None:
        broken = Broken()

        def work() -> None:
            raise ZeroDivisionError("a defect")

        broken.parts.start("heartbeat", work)

        assert "its thread 'heartbeat' keeps failing: ZeroDivisionError: a defect" in broken.text
        assert isinstance(getattr(broken.parts.broken, "__cause__", None), ZeroDivisionError)

    def test_failures_of_long_ago_do_not_count(
        self, parts: Parts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parts_module, "FAILURES_WITHIN_SECONDS", 0)
        runs: list[None] = []

        def work() -> None:
            runs.append(None)
            if len(runs) < 3 * MAX_FAILURES:
                raise ValueError

        parts.start("heartbeat", work)
        parts.join(DEADLINE_SECONDS)

        assert len(runs) == 3 * MAX_FAILURES
        assert parts.broken is None

    def test_one_that_may_not_be_started_again_ends_the_worker(self) -> None:
        broken = Broken()
        runs: list[None] = []

        def work() -> None:
            runs.append(None)
            raise ZeroDivisionError("a defect")

        broken.parts.start("receive", work, again=False)

        assert "its thread 'receive' failed: ZeroDivisionError: a defect" in broken.text
        assert len(runs) == 1

    def test_one_that_cannot_start_ends_the_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading.Thread, "start", cannot_start)
        broken = Broken()

        broken.parts.start("handler-3", lambda: None)

        assert broken.text == (
            "the worker cannot go on: its thread 'handler-3' cannot be started: RuntimeError: "
            "can't start new thread. Its messages are given back. Start it again, with fewer "
            "threads or more memory."
        )

    def test_join_names_those_that_still_run(
        self, parts: Parts, caplog: pytest.LogCaptureFixture
    ) -> None:
        may_end = threading.Event()

        def wait() -> None:
            may_end.wait(DEADLINE_SECONDS)

        parts.start("lease-1", wait)

        parts.join(0.01)
        may_end.set()

        assert "the thread letsgo-worker-lease-1 is left behind" in caplog.text

    def test_have_the_context_of_whoever_made_them(self) -> None:
        seen: list[str] = []

        def look() -> None:
            seen.append(tenant.get())
            tenant.set("its own")

        token = tenant.set("t-1")
        parts = Parts(lambda: None)
        tenant.reset(token)
        for _ in range(2):
            parts.start("receive", look)
            parts.join(DEADLINE_SECONDS)

        assert seen == ["t-1", "t-1"]


class TestCalls:
    @pytest.fixture
    def calls(self, parts: Parts) -> Iterator[SideCalls]:
        calls = SideCalls("extend", 2, parts)
        yield calls
        calls.close()

    def test_are_made_in_order_on_few_threads(self, calls: SideCalls) -> None:
        made: list[tuple[int, str]] = []
        before = threading.active_count()

        def call(number: int) -> None:
            made.append((number, threading.current_thread().name))

        for number in range(20):
            calls.add(lambda n=number: call(n))  # type: ignore[misc]  # bound
        calls.wait(time.monotonic() + DEADLINE_SECONDS)

        assert sorted(number for number, _ in made) == list(range(20))
        assert {name for _, name in made} <= {"letsgo-worker-extend-1", "letsgo-worker-extend-2"}
        assert threading.active_count() <= before + 2

    def test_that_wait_leave_room_for_others(self, calls: SideCalls) -> None:
        may_end = threading.Event()
        made = threading.Event()
        calls.add(lambda: may_end.wait(DEADLINE_SECONDS))

        calls.add(made.set)

        assert made.wait(DEADLINE_SECONDS)
        calls.wait(time.monotonic() + 0.01)
        assert not may_end.is_set(), "it waited for longer than it was told"
        may_end.set()

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    def test_that_fail_take_no_thread(
        self, calls: SideCalls, caplog: pytest.LogCaptureFixture, error: type[BaseException]
    ) -> None:
        def fail() -> None:
            raise error

        for _ in range(3):
            calls.add(fail)
        made = threading.Event()
        calls.add(made.set)

        assert made.wait(DEADLINE_SECONDS)
        assert error.__name__ in caplog.text

    @needs_late_threads
    def test_are_made_though_the_main_thread_has_ended(self) -> None:
        """`concurrent.futures` takes nothing more then."""
        program = """
import threading
from letsgo_queue.worker.parts import SideCalls, Parts

def later():
    threading.main_thread().join()
    calls = SideCalls("extend", 1, Parts(lambda: None))
    made = threading.Event()
    calls.add(made.set)
    print(made.wait(20))

threading.Thread(target=later).start()
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == "True\n", done.stderr

    def test_close_drops_those_that_wait(self, calls: SideCalls) -> None:
        may_end = threading.Event()
        made: list[None] = []
        for _ in range(2):
            calls.add(lambda: may_end.wait(DEADLINE_SECONDS))
        calls.add(lambda: made.append(None))

        calls.close()
        may_end.set()
        calls.wait(time.monotonic() + DEADLINE_SECONDS)

        assert made == []

    def test_no_thread_is_started_before_there_is_one(self, parts: Parts) -> None:
        before = threading.active_count()

        SideCalls("extend", 2, parts).close()

        assert threading.active_count() == before
