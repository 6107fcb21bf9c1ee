"""When scheduled handlers run: rates, time zones, the clock set forward and back, settings."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import SettingsInvalid, Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.registry import Registry
from letsgo_queue.worker.schedule import (
    ScheduledHandler,
    parse_schedule,
    schedule_in_environment,
)


def next_of(
    expression: str, after: str, *, zone: str = "UTC", count: int = 3, unix: bool = False
) -> list[str]:
    """The next times, in UTC."""
    schedule = parse_schedule(expression, zone, unix=unix)
    moment: float = datetime.fromisoformat(after).timestamp()
    times = []
    for _ in range(count):
        found = schedule.after(moment)
        assert found is not None
        times.append(f"{datetime.fromtimestamp(found, UTC):%Y-%m-%d %H:%M:%S}")
        moment = found
    return times


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("rate(1 minute)", ["10:01:00", "10:02:00", "10:03:00"]),
        ("rate(5 minutes)", ["10:05:00", "10:10:00", "10:15:00"]),
        ("rate(1 hour)", ["11:00:00", "12:00:00", "13:00:00"]),
        (" rate( 2  hours ) ", ["12:00:00", "14:00:00", "16:00:00"]),
    ],
)
def test_a_rate_is_the_same_in_every_process(expression: str, times: list[str]) -> None:
    for started in ("2026-11-26T10:00:00Z", "2026-11-26T10:00:59.9Z"):
        assert [time[-8:] for time in next_of(expression, started)] == times


def test_a_rate_of_days_is_one_of_24_hours() -> None:
    assert next_of("rate(1 day)", "2026-03-28T12:00:00Z", zone="Europe/Berlin") == [
        "2026-03-29 00:00:00",
        "2026-03-30 00:00:00",
        "2026-03-31 00:00:00",
    ]


def test_a_cron_expression_is_on_the_clock_of_its_time_zone() -> None:
    nightly = "cron(0 3 * * ? *)"
    assert next_of(nightly, "2026-11-26T10:00:00Z", count=1) == ["2026-11-27 03:00:00"]
    for zone, time in [
        ("Europe/Berlin", "2026-11-27 02:00:00"),
        ("America/Los_Angeles", "2026-11-26 11:00:00"),
        ("Asia/Kathmandu", "2026-11-26 21:15:00"),
    ]:
        assert next_of(nightly, "2026-11-26T10:00:00Z", zone=zone, count=1) == [time]
    summer = next_of(nightly, "2026-07-01T10:00:00Z", zone="Europe/Berlin", count=1)
    assert summer == ["2026-07-02 01:00:00"]


def test_a_time_that_does_not_exist_is_skipped() -> None:
    """As EventBridge Scheduler does: Berlin's clock goes from 02:00 to 03:00 on 29 March 2026."""
    assert next_of("cron(30 2 * * ? *)", "2026-03-27T12:00:00Z", zone="Europe/Berlin") == [
        "2026-03-28 01:30:00",
        "2026-03-30 00:30:00",
        "2026-03-31 00:30:00",
    ]
    assert next_of("cron(0 3 29 3 ? 2026)", "2026-01-01", zone="Europe/Berlin", count=1) == [
        "2026-03-29 01:00:00"
    ]
    quarters = next_of("cron(0/30 * * * ? *)", "2026-03-29T00:00:00Z", zone="Europe/Berlin")
    assert quarters == ["2026-03-29 00:30:00", "2026-03-29 01:00:00", "2026-03-29 01:30:00"]


def test_a_time_that_exists_twice_is_meant_once() -> None:
    """Berlin's clock goes from 03:00 to 02:00 on 25 October 2026."""
    half_past = "cron(30 2 * * ? *)"
    times = ["2026-10-25 00:30:00", "2026-10-26 01:30:00", "2026-10-27 01:30:00"]
    assert next_of(half_past, "2026-10-24T12:00:00Z", zone="Europe/Berlin") == times
    for between in ("2026-10-25T00:30:00Z", "2026-10-25T01:15:00Z", "2026-10-25T01:30:00Z"):
        assert next_of(half_past, between, zone="Europe/Berlin", count=2) == times[1:]
    assert next_of("cron(0 3 * * ? *)", "2026-10-25T00:59:00Z", zone="Europe/Berlin", count=1) == [
        "2026-10-25 02:00:00"
    ]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("rate(0 minutes)", r"write rate\(5 minutes\)"),
        ("rate(1 second)", r"write rate\(5 minutes\)"),
        ("rate(-1 hours)", r"write rate\(5 minutes\)"),
        ("rate(1.5 hours)", r"write rate\(5 minutes\)"),
        ("rate(36501 days)", "a rate is 36,500 days at most"),
        ("rate(999999999 minutes)", "a rate is 36,500 days at most"),
        ("0 3 * * ? *", r"write rate\(5 minutes\)"),
        ("at(2026-11-26T10:00:00)", r"write rate\(5 minutes\)"),
        (
            "cron(0 25 * * ? *)",
            r"schedule 'cron\(0 25 \* \* \? \*\)': hours is '25': it takes 0-23",
        ),
        ("cron(0 3 * * *)", "it has 5 fields and takes 6"),
    ],
)
def test_what_is_no_schedule_is_refused_where_it_stands(expression: str, why: str) -> None:
    with pytest.raises(SettingsInvalid, match=why):
        Worker().scheduled(expression)(lambda _event: None)


@pytest.mark.parametrize("zone", ["Europe/Bärlin", "../../etc/passwd", "", "UTC+1"])
def test_a_time_zone_that_is_not_known_is_refused(zone: str) -> None:
    with pytest.raises(SettingsInvalid, match="is not known: give an IANA name"):
        Worker().scheduled("cron(0 3 * * ? *)", timezone=zone)(lambda _event: None)


def test_utc_needs_no_time_zones(tmp_path: Path) -> None:
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        assert next_of("cron(0 3 * * ? *)", "2026-11-26T10:00:00Z", count=1)
    finally:
        zoneinfo.reset_tzpath()


def test_a_time_zone_alone_says_nothing() -> None:
    with pytest.raises(SettingsInvalid, match="timezone='Europe/Berlin' has no expression"):
        Worker().scheduled(timezone="Europe/Berlin")(lambda _event: None)


@pytest.mark.parametrize("name", ["", "every night", "x" * 65, "a/b", "n\n"])
def test_a_name_is_one_that_eventbridge_allows(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="1 to 64 letters"):
        Worker().scheduled("rate(1 hour)", name=name)(lambda _event: None)


def nightly(event: dict[str, Any]) -> None: ...


async def hourly(event: dict[str, Any]) -> None: ...


def names(*handlers: ScheduledHandler) -> list[str]:
    registry = Registry()
    for handler in handlers:
        registry.add_scheduled(handler)
    return [each.name for each in registry.schedules()]


def test_a_schedule_is_named_by_its_function_and_its_expression() -> None:
    here = __name__
    assert names(
        ScheduledHandler(nightly, expression="cron(0 3 * * ? *)"),
        ScheduledHandler(nightly, expression="cron(0 3 * * ? *)", time_zone="Europe/Berlin"),
        ScheduledHandler(nightly, expression="rate(1 day)"),
        ScheduledHandler(hourly, expression="rate(1 hour)", name="hourly"),
    ) == [
        f"{here}.nightly cron(0 3 * * ? *)",
        f"{here}.nightly cron(0 3 * * ? *) Europe/Berlin",
        f"{here}.nightly rate(1 day)",
        "hourly",
    ]


def test_a_name_is_given_once() -> None:
    worker = Worker(MemoryTransport())
    worker.scheduled("rate(1 hour)")(nightly)
    with pytest.raises(SettingsInvalid, match=r"there is a schedule '.*nightly rate\(1 hour\)'"):
        worker.scheduled("rate(1 hour)")(nightly)
    worker.scheduled("rate(1 hour)", name="again")(nightly)
    with pytest.raises(SettingsInvalid, match="there is a schedule 'again' already"):
        worker.scheduled("rate(2 hours)", name="again")(hourly)


@pytest.mark.parametrize(
    "function", [lambda: None, lambda _event, _delivery: None, lambda *, event: event]
)
def test_a_scheduled_handler_takes_the_event(function: Callable[..., object]) -> None:
    for decorate in (Worker().scheduled, Worker().scheduled("rate(1 hour)")):
        with pytest.raises(SettingsInvalid, match=r"takes \(event\)"):
            decorate(function)


class TestTheSettingsOfLetsGo:
    @pytest.mark.parametrize(
        ("expression", "zone", "time"),
        [
            ("rate(1 hour)", "", "2026-11-26 11:00:00"),
            ("cron(0 0 * * 1)", "", "2026-11-30 00:00:00"),  # LetsGo's own example, five fields
            ("cron(0 0 * * 1)", "America/Los_Angeles", "2026-11-30 08:00:00"),
            ("cron(0 3 * * ? *)", "Europe/Berlin", "2026-11-27 02:00:00"),  # EventBridge's six
        ],
    )
    def test_have_a_bare_handler_run(self, expression: str, zone: str, time: str) -> None:
        found = schedule_in_environment(
            {"LETSGO_WORKER_SCHEDULE": expression, "LETSGO_WORKER_SCHEDULE_TIMEZONE": zone}
        )
        assert found is not None
        after = found[1].after(datetime.fromisoformat("2026-11-26T10:00:00Z").timestamp())
        assert after is not None
        assert f"{datetime.fromtimestamp(after, UTC):%Y-%m-%d %H:%M:%S}" == time

    def test_are_for_bare_handlers_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        handlers = (
            ScheduledHandler(nightly),
            ScheduledHandler(hourly, expression="rate(1 hour)"),
        )
        assert names(*handlers) == [f"{__name__}.hourly rate(1 hour)"]

        monkeypatch.setenv("LETSGO_WORKER_SCHEDULE", "rate(1 day)")
        assert names(*handlers) == [
            f"{__name__}.nightly rate(1 day)",
            f"{__name__}.hourly rate(1 hour)",
        ]

    @pytest.mark.parametrize(
        ("expression", "zone"), [("every night", ""), ("cron(0 0 * * 9)", ""), ("rate(1 day)", "X")]
    )
    def test_are_refused_when_the_worker_starts(
        self, monkeypatch: pytest.MonkeyPatch, expression: str, zone: str
    ) -> None:
        monkeypatch.setenv("LETSGO_WORKER_SCHEDULE", expression)
        monkeypatch.setenv("LETSGO_WORKER_SCHEDULE_TIMEZONE", zone)
        worker = Worker(MemoryTransport())
        worker.scheduled(nightly)
        with pytest.raises(SettingsInvalid, match=r"^LETSGO_WORKER_SCHEDULE, "):
            worker.run()
        with pytest.raises(SettingsInvalid, match=r"^LETSGO_WORKER_SCHEDULE, "):
            worker.serve(port=0)
