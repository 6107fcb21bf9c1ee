"""Cron expressions: which minutes they mean, and what is refused.

The first table is that of AWS, in
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice

import pytest

from letsgo_queue import SettingsInvalid
from letsgo_queue.worker.cron import parse, parse_unix

START = datetime(2026, 11, 26, 10, 0)
"""A Thursday."""


def next_of(expression: str, count: int = 3, *, start: datetime = START) -> list[str]:
    return [f"{at:%a %Y-%m-%d %H:%M}" for at in islice(parse(expression).after(start), count)]


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("0 10 * * ? *", ["Fri 2026-11-27 10:00", "Sat 2026-11-28 10:00", "Sun 2026-11-29 10:00"]),
        ("15 12 * * ? *", ["Thu 2026-11-26 12:15", "Fri 2026-11-27 12:15", "Sat 2026-11-28 12:15"]),
        (
            "0 18 ? * MON-FRI *",
            ["Thu 2026-11-26 18:00", "Fri 2026-11-27 18:00", "Mon 2026-11-30 18:00"],
        ),
        ("0 8 1 * ? *", ["Tue 2026-12-01 08:00", "Fri 2027-01-01 08:00", "Mon 2027-02-01 08:00"]),
        (
            "0/15 * * * ? *",
            ["Thu 2026-11-26 10:15", "Thu 2026-11-26 10:30", "Thu 2026-11-26 10:45"],
        ),
        (
            "0/10 * ? * MON-FRI *",
            ["Thu 2026-11-26 10:10", "Thu 2026-11-26 10:20", "Thu 2026-11-26 10:30"],
        ),
        (
            "0/5 8-17 ? * MON-FRI *",
            ["Thu 2026-11-26 10:05", "Thu 2026-11-26 10:10", "Thu 2026-11-26 10:15"],
        ),
        ("0 9 ? * 2#1 *", ["Mon 2026-12-07 09:00", "Mon 2027-01-04 09:00", "Mon 2027-02-01 09:00"]),
    ],
)
def test_the_examples_of_aws(expression: str, times: list[str]) -> None:
    assert next_of(expression) == times


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        # Day-of-month
        ("0 0 L * ? *", ["Mon 2026-11-30", "Thu 2026-12-31", "Sun 2027-01-31"]),
        ("0 0 L-3 * ? *", ["Fri 2026-11-27", "Mon 2026-12-28", "Thu 2027-01-28"]),
        ("0 0 LW * ? *", ["Mon 2026-11-30", "Thu 2026-12-31", "Fri 2027-01-29"]),
        ("0 0 15W * ? *", ["Tue 2026-12-15", "Fri 2027-01-15", "Mon 2027-02-15"]),
        ("0 0 1W * ? 2027", ["Fri 2027-01-01", "Mon 2027-02-01", "Mon 2027-03-01"]),
        ("0 0 1W 5 ? *", ["Mon 2027-05-03", "Mon 2028-05-01", "Tue 2029-05-01"]),  # a Saturday
        ("0 0 31W 1,10 ? *", ["Fri 2027-01-29", "Fri 2027-10-29", "Mon 2028-01-31"]),  # Sundays
        ("0 0 31 * ? *", ["Thu 2026-12-31", "Sun 2027-01-31", "Wed 2027-03-31"]),
        ("0 0 31W 1-3 ? 2027", ["Fri 2027-01-29", "Wed 2027-03-31"]),
        ("0 0 29 FEB ? *", ["Tue 2028-02-29", "Sun 2032-02-29", "Fri 2036-02-29"]),
        ("0 0 1,L * ? *", ["Mon 2026-11-30", "Tue 2026-12-01", "Thu 2026-12-31"]),
        ("0 0 10/10 * ? *", ["Mon 2026-11-30", "Thu 2026-12-10", "Sun 2026-12-20"]),
        ("0 0 28-2 * ? *", ["Sat 2026-11-28", "Sun 2026-11-29", "Mon 2026-11-30"]),
        # Day-of-week
        ("0 0 ? * 1 *", ["Sun 2026-11-29", "Sun 2026-12-06", "Sun 2026-12-13"]),
        ("0 0 ? * L *", ["Sat 2026-11-28", "Sat 2026-12-05", "Sat 2026-12-12"]),
        ("0 0 ? * 6L *", ["Fri 2026-11-27", "Fri 2026-12-25", "Fri 2027-01-29"]),
        ("0 0 ? * FRIL *", ["Fri 2026-11-27", "Fri 2026-12-25", "Fri 2027-01-29"]),
        ("0 0 ? * 3#2 *", ["Tue 2026-12-08", "Tue 2027-01-12", "Tue 2027-02-09"]),
        ("0 0 ? * TUE#5 *", ["Tue 2026-12-29", "Tue 2027-03-30", "Tue 2027-06-29"]),
        ("0 0 ? * fri-mon *", ["Fri 2026-11-27", "Sat 2026-11-28", "Sun 2026-11-29"]),
        ("0 0 ? * MON,wed *", ["Mon 2026-11-30", "Wed 2026-12-02", "Mon 2026-12-07"]),
        # Month and year
        ("0 0 1 JAN,JUL ? 2027-2028", ["Fri 2027-01-01", "Thu 2027-07-01", "Sat 2028-01-01"]),
        ("0 0 1 1 ? 2020/4", ["Sat 2028-01-01", "Thu 2032-01-01", "Tue 2036-01-01"]),
        ("0 0 1 1 ? 2027,2199", ["Fri 2027-01-01", "Tue 2199-01-01"]),
        ("0 0 1 1 ? 2020", []),
        ("0 0 30 2 ? *", []),
    ],
)
def test_days(expression: str, times: list[str]) -> None:
    assert next_of(expression) == [f"{time} 00:00" for time in times]


def test_hours_and_minutes() -> None:
    def times(expression: str, count: int) -> list[str]:
        return [time[-5:] for time in next_of(expression, count)]

    assert times("1/20 9,11 * * ? *", 4) == ["11:01", "11:21", "11:41", "09:01"]
    assert times("10-30/10 22-1 * * ? *", 7) == (
        ["22:10", "22:20", "22:30", "23:10", "23:20", "23:30", "00:10"]
    )
    assert times("*/30 * * * ? *", 2) == ["10:30", "11:00"]
    assert times("  5  10  *  *  ?  * ", 1) == ["10:05"]


def test_the_time_itself_is_not_meant() -> None:
    assert next_of("0 10 26 11 ? 2026", start=datetime(2026, 11, 26, 9, 59)) != []
    assert next_of("0 10 26 11 ? 2026", start=datetime(2026, 11, 26, 9, 59, 59)) != []
    assert next_of("0 10 26 11 ? 2026", start=datetime(2026, 11, 26, 10, 0)) == []


@pytest.mark.parametrize(
    ("expression", "field"),
    [
        ("60 0 * * ? *", "minutes is '60': it takes 0-59"),
        ("*/0 0 * * ? *", "minutes is '*/0'"),
        ("5- 0 * * ? *", "minutes is '5-'"),
        ("1,,2 0 * * ? *", "minutes is '1,,2'"),
        ("? 0 * * ? *", "minutes is '?'"),
        ("-5 0 * * ? *", "minutes is '-5'"),
        ("٣ 0 * * ? *", "minutes is '٣'"),
        ("0 24 * * ? *", "hours is '24': it takes 0-23"),
        ("0 0 0 * ? *", "day-of-month is '0': it takes 1-31"),
        ("0 0 L-32 * ? *", "day-of-month is 'L-32'"),
        ("0 0 W * ? *", "day-of-month is 'W'"),
        ("0 0 * 13 ? *", "month is '13': it takes 1-12, JAN-DEC"),
        ("0 0 * JANUARY ? *", "month is 'JANUARY'"),
        ("0 0 ? * 8 *", "day-of-week is '8': it takes 1-7, SUN-SAT"),
        ("0 0 ? * 0 *", "day-of-week is '0'"),
        ("0 0 ? * 2#6 *", "day-of-week is '2#6'"),
        ("0 0 ? * 2#1,4#1 *", "day-of-week is '2#1,4#1'"),  # AWS refuses it too
        ("0 0 * * ? 1969", "year is '1969': it takes 1970-2199"),
        ("0 0 * * ? 2030-2026", "year is '2030-2026'"),
        ("0 0 * * * *", "exactly one of them"),
        ("0 0 ? * ? *", "exactly one of them"),
        ("0 0 1 * 2 *", "exactly one of them"),
        ("0 0 * * ?", "it has 5 fields and takes 6"),
        ("0 0 0 * * ? *", "it has 7 fields and takes 6"),
        ("", "it has 0 fields"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(expression: str, field: str) -> None:
    with pytest.raises(SettingsInvalid, match=re.escape(field)):
        parse(expression)


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("0 0 * * 1", ["Mon 2026-11-30", "Mon 2026-12-07"]),
        ("0 0 * * 0", ["Sun 2026-11-29", "Sun 2026-12-06"]),
        ("0 0 * * 7", ["Sun 2026-11-29", "Sun 2026-12-06"]),
        ("0 0 * * SAT-SUN", ["Sat 2026-11-28", "Sun 2026-11-29"]),
        ("0 0 * * 5-7", ["Fri 2026-11-27", "Sat 2026-11-28"]),
        ("0 0 1 * *", ["Tue 2026-12-01", "Fri 2027-01-01"]),
        ("0 0 1 * ?", ["Tue 2026-12-01", "Fri 2027-01-01"]),
        ("0 0 1 * MON", ["Mon 2026-11-30", "Tue 2026-12-01"]),  # either, as crontab has it
        ("0 0 */2 * MON", ["Mon 2026-12-07", "Mon 2026-12-21"]),  # both, as crontab has it
    ],
)
def test_the_five_fields_of_crontab(expression: str, times: list[str]) -> None:
    found = [f"{at:%a %Y-%m-%d}" for at in islice(parse_unix(expression).after(START), 2)]
    assert found == times


@pytest.mark.parametrize(
    ("expression", "field"),
    [("0 0 * * 8", "day-of-week is '8': it takes 0-7"), ("0 0 L * *", "day-of-month is 'L'")],
)
def test_the_five_fields_have_numbers_only(expression: str, field: str) -> None:
    with pytest.raises(SettingsInvalid, match=field):
        parse_unix(expression)
