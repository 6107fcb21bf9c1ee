"""Schedules in `run` and `serve`: a tick goes the way of a message, on a clock of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Health,
    MessageFailed,
    MessageHandled,
    Reject,
    Retry,
    RetryPolicy,
    Worker,
)
from letsgo_queue.errors import WorkerBroken
from letsgo_queue.middleware import Middleware, Steps, use_middleware
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import health, ticks
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.scale_in import TaskProtection
from letsgo_queue.worker.schedule import Scheduled, ScheduledHandler
from letsgo_queue.worker.several import run_workers
from letsgo_queue.worker.ticks import TickQueue
from tests.letsgo_queue.support import (
    SECRET,
    count_ticking,
    events_of,
    order,
    running,
    serving,
    ticking,
)
from tests.support.waiting import wait_for

ScheduledEvent = Mapping[str, Any]

TEN = datetime(2026, 11, 26, 10, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "POLL_SECONDS", 0.01)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = TEN
    return clock


@pytest.fixture
def worker(queue: MemoryTransport, clock: Clock) -> Worker:
    return Worker(queue, concurrency=4, clock=clock)


class Diary:
    """The times of the events that a handler got."""

    def __init__(self) -> None:
        self.times: list[str] = []

    def note(self, event: ScheduledEvent) -> None:
        self.times.append(event["time"])

    def wait_for(self, *times: str) -> None:
        wait_for(lambda: len(self.times) >= len(times), f"{len(times)} ticks")
        assert self.times == [f"2026-11-26T{time}:00Z" for time in times]


def test_a_handler_runs_when_it_is_due(worker: Worker, clock: Clock) -> None:
    every_five, at_half = Diary(), Diary()
    worker.scheduled("rate(5 minutes)")(every_five.note)

    @worker.scheduled("cron(30 11 * * ? *)", timezone="Europe/Berlin")
    async def on_the_loop(event: ScheduledEvent) -> None:
        assert threading.current_thread().name == "letsgo-worker-asyncio"
        at_half.note(event)

    with ticking(worker):
        clock.advance(300)
        every_five.wait_for("10:05")
        assert at_half.times == []
        clock.advance(1_500)
        at_half.wait_for("10:30")
        every_five.wait_for("10:05", "10:10")  # late


def test_the_event_is_that_of_eventbridge(worker: Worker, clock: Clock) -> None:
    got: list[ScheduledEvent] = []
    worker.scheduled("rate(5 minutes)", name="five")(got.append)

    with ticking(worker):
        clock.advance(300)
        (event,) = wait_for(lambda: got, "the tick")

    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
    assert event.keys() == {
        *("version", "id", "detail-type", "source", "account", "time", "region", "resources"),
        "detail",
    }
    assert event["detail-type"] == "Scheduled Event"
    assert event["time"] == "2026-11-26T10:05:00Z"
    assert event["resources"] == ["five"]
    again = json.loads(ticks.tick("five", int(TEN) + 300).body)["payload"]
    assert event == again  # in every process


def test_messages_are_handled_beside_ticks(
    queue: MemoryTransport, worker: Worker, clock: Clock
) -> None:
    begun, go_on, handled = threading.Event(), threading.Event(), threading.Event()

    @worker.scheduled("rate(5 minutes)")
    def slow(event: ScheduledEvent) -> None:
        begun.set()
        assert go_on.wait(20)

    worker.handler("order:new")(lambda _message: handled.set())
    with ticking(worker):
        clock.advance(300)
        assert begun.wait(20)
        Client(queue).enqueue(order(number=1))
        assert handled.wait(20)
        go_on.set()


def test_letsgos_setting_drives_a_bare_handler(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETSGO_WORKER_SCHEDULE", "cron(0 12 * * *)")
    monkeypatch.setenv("LETSGO_WORKER_SCHEDULE_TIMEZONE", "Europe/Berlin")
    diary = Diary()
    worker.scheduled(diary.note)

    with ticking(worker):
        clock.advance(3_600)
        diary.wait_for("11:00")


def test_serve_runs_schedules_too(worker: Worker, clock: Clock) -> None:
    diary = Diary()
    worker.scheduled("rate(5 minutes)")(diary.note)

    with serving(worker):
        wait_for(count_ticking, "the schedules")
        clock.advance(300)
        diary.wait_for("10:05")


def test_burst_leaves_schedules_alone(queue: MemoryTransport, worker: Worker, clock: Clock) -> None:
    diary = Diary()
    worker.scheduled("rate(5 minutes)")(diary.note)

    @worker.default
    def pass_time(message: dict[str, Any]) -> None:
        clock.advance(3_600)

    Client(queue).enqueue(order(number=1))
    worker.run(burst=True)

    assert diary.times == []


class TestTheClock:
    """Which ticks are received, whatever the clock does."""

    @pytest.fixture
    def ticking(self, clock: Clock) -> TickQueue:
        handler = ScheduledHandler(lambda _event: None, expression="rate(5 minutes)", name="five")
        assert handler.schedule is not None
        return TickQueue(
            [Scheduled("five", handler.schedule, handler)],
            "memory://",
            stopping=threading.Event(),
            clock=clock,
        )

    def times(self, ticking: TickQueue) -> list[str]:
        received = ticking.receive(max_messages=10, wait_seconds=0, visibility_timeout=None)
        return [each.message_id.removeprefix("five 2026-11-") for each in received]

    def test_what_is_due_as_it_starts_is_not_made_up(self, ticking: TickQueue) -> None:
        assert self.times(ticking) == []

    def test_a_tick_is_received_once(self, ticking: TickQueue, clock: Clock) -> None:
        clock.advance(299.9)
        assert self.times(ticking) == []
        clock.advance(0.1)
        assert self.times(ticking) == ["26T10:05:00Z"]
        assert self.times(ticking) == []

    def test_a_machine_that_was_asleep_has_one_late_tick(
        self, ticking: TickQueue, clock: Clock
    ) -> None:
        clock.advance(3_550)
        assert self.times(ticking) == ["26T10:05:00Z"]
        assert self.times(ticking) == []
        clock.advance(50)
        assert self.times(ticking) == ["26T11:00:00Z"]

    def test_a_clock_that_is_set_back_repeats_no_tick(
        self, ticking: TickQueue, clock: Clock
    ) -> None:
        clock.advance(300)
        assert self.times(ticking) == ["26T10:05:00Z"]
        clock.advance(-600)
        assert self.times(ticking) == []
        clock.advance(600)
        assert self.times(ticking) == []
        clock.advance(300)
        assert self.times(ticking) == ["26T10:10:00Z"]

    def test_a_clock_that_was_days_ahead_stops_no_schedule(
        self, ticking: TickQueue, clock: Clock
    ) -> None:
        clock.advance(86_400)
        assert self.times(ticking) == ["26T10:05:00Z"]
        clock.advance(-86_400)
        assert self.times(ticking) == []
        clock.advance(300)
        assert self.times(ticking) == ["26T10:05:00Z"]


@pytest.mark.parametrize("error", [ValueError(SECRET), Retry(delay=5), Reject("no"), SystemExit(3)])
def test_a_tick_that_fails_is_told_and_not_tried_again(
    queue: MemoryTransport,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    policy = RetryPolicy(base=0, cap=0, max_attempts=1)
    worker = Worker(queue, clock=clock, retry_policy=policy)
    calls = Diary()

    @worker.scheduled("rate(5 minutes)", name="five")
    def failing(event: ScheduledEvent) -> None:
        calls.note(event)
        if len(calls.times) == 1:
            raise error

    events = events_of(worker)
    with ticking(worker):
        clock.advance(300)
        failed = wait_for(lambda: [e for e in events if isinstance(e, MessageFailed)], "a failure")
        clock.advance(300)
        handled = wait_for(
            lambda: [e for e in events if isinstance(e, MessageHandled)], "the next tick"
        )

    calls.wait_for("10:05", "10:10")
    assert [(event.message_id, event.error) for event in failed] == [
        ("five 2026-11-26T10:05:00Z", error)
    ]
    assert [event.type for event in handled] == ["five"]
    assert "message five 2026-11-26T10:05:00Z" in caplog.text


def test_stopping_waits_for_the_handler(worker: Worker, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @worker.scheduled("rate(5 minutes)")
    def slow(event: ScheduledEvent) -> None:
        begun.set()
        assert go_on.wait(20)

    events = events_of(worker)
    with ticking(worker):
        clock.advance(300)
        assert begun.wait(20)
        worker.stop()
        go_on.set()

    assert [type(event) for event in events][-1] is MessageHandled


class Protection(TaskProtection):
    """Tells what a worker asks it to protect."""

    @contextmanager
    def held(self, has_messages: Callable[[], bool]) -> Iterator[None]:
        self.has_messages = has_messages
        yield


def test_a_scheduled_handler_that_runs_is_protected_and_looked_after(
    worker: Worker, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    protection, looks = Protection(), []

    @worker.scheduled("rate(5 minutes)", name="five")
    def slow(event: ScheduledEvent) -> None:
        begun.set()
        assert go_on.wait(20)

    @contextmanager
    def watched(_health: Health, look: health.LookAtLoops) -> Iterator[None]:
        looks.append(look)
        yield

    monkeypatch.setattr(health, "watched", watched)
    thread = threading.Thread(
        target=lambda: run_workers(
            worker,
            drain_timeout=0,
            health=Health(file=tmp_path / "well"),
            protect_from_scale_in=protection,
        )
    )
    thread.start()
    wait_for(count_ticking, "the schedules")
    wait_for(lambda: all(loop.ready for loop in looks[0]()), "both loops")
    assert not protection.has_messages()
    clock.advance(300)
    assert begun.wait(20)

    assert protection.has_messages()
    assert [loop.longest and loop.longest.type for loop in looks[0]()] == [None, "five"]
    worker.stop()
    thread.join(20)  # it does not wait for the handler
    assert not thread.is_alive()
    go_on.set()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_middleware_surrounds_a_tick(queue: MemoryTransport, clock: Clock, is_async: bool) -> None:
    passed: list[str] = []

    class Around(Middleware):
        def __init__(self, name: str) -> None:
            self._name = name

        def handle(self, message: IncomingMessage, /) -> Steps:
            passed.append(f"{self._name} {message.type} {message.received.is_tick}")
            yield

    worker = Worker(queue, clock=clock, middleware=[Around("outer")])
    if is_async:

        @worker.scheduled("rate(5 minutes)", name="five")
        @use_middleware(Around("inner"))
        async def on_the_loop(event: ScheduledEvent) -> None:
            passed.append("handler")

    else:

        @worker.scheduled("rate(5 minutes)", name="five")
        @use_middleware(Around("inner"))
        def on_a_thread(event: ScheduledEvent) -> None:
            passed.append("handler")

    with ticking(worker):
        clock.advance(300)
        wait_for(lambda: "handler" in passed, "the tick")

    assert passed == ["outer five True", "inner five True", "handler"]


class Once(Middleware):
    runs_ticks_once = True


@pytest.mark.parametrize(
    ("middleware", "schedule", "told"),
    [([], "rate(1 day)", 1), ([Once()], "rate(1 day)", 0), ([], None, 0)],
)
def test_without_a_claim_check_the_log_says_so_once(
    queue: MemoryTransport,
    caplog: pytest.LogCaptureFixture,
    middleware: list[Middleware],
    schedule: str | None,
    told: int,
) -> None:
    worker = Worker(queue, middleware=middleware)
    if schedule:
        worker.scheduled(schedule)(lambda _event: None)
        worker.scheduled(schedule, name="again")(lambda _event: None)
    else:
        worker.scheduled(lambda _event: None)
    with running(worker):
        pass
    assert caplog.text.count("run in every process that has this worker") == told


def test_a_schedule_that_is_over_is_told(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    worker.scheduled("cron(0 0 1 1 ? 2020)", name="past")(lambda _event: None)
    with running(worker):
        pass
    assert "schedule past is over: it has no time left" in caplog.text


def test_ticks_that_cannot_be_handled_end_the_worker(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "letsgo-worker-schedules":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker.scheduled("rate(1 day)")(lambda _event: None)
    with pytest.raises(WorkerBroken, match="'schedules' cannot be started"):
        worker.run()
