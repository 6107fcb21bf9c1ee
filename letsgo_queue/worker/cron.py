"""Cron expressions as EventBridge has them: which minutes they mean, on the clock of a place.

    minutes hours day-of-month month day-of-week year

    *  ?        any                          L       the last day of the month; or Saturday
    1,15        each of them                 L-3     three days before the last of the month
    MON-FRI     from one to the other        LW      the last day from Monday to Friday
    10/15       10, 25, 40, 55               15W     the day from Monday to Friday nearest the 15th
    6L          the month's last Friday      6#2     the month's second Friday

One of the two fields for days is `?`. Weekdays are numbered from Sunday, which is 1.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html has the syntax. L-3, and
a range that goes over the end (FRI-MON), come from Quartz, whose syntax EventBridge uses.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from letsgo_queue.errors import SettingsInvalid

DaysOf: TypeAlias = Callable[[int, int], Iterable[int]]
"""Gives the days that are meant in a month of a year. Days that the month does not have are left
out later."""

WEEK = 7

_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {
    name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an expression, and the values that it may have.

    Attributes:
        name: As AWS calls it.
        first: The lowest number.
        last: The highest.
        takes: The values that it takes, for people.
        names: Names that may stand for a number.
        wraps: Whether a range may go over the end: FRI-MON.
    """

    name: str
    first: int
    last: int
    takes: str
    names: Mapping[str, int] = field(default_factory=dict)
    wraps: bool = True

    def numbers(self, text: str) -> frozenset[int]:
        """The numbers in a list of numbers, ranges and steps.

        Raises:
            ValueError: It is no such list.
        """
        return frozenset(number for part in text.split(",") for number in self._part(part))

    def number(self, text: str) -> int:
        """A number, or a name for one.

        Raises:
            ValueError: It is neither, or out of range.
        """
        number = self.names.get(text)
        if number is None and re.fullmatch("[0-9]{1,4}", text):
            number = int(text)
        if number is None or not self.first <= number <= self.last:
            raise ValueError
        return number

    def refuse(self, text: str) -> SettingsInvalid:
        """The error for what cannot be read."""
        return SettingsInvalid(f"{self.name} is {text!r}: it takes {self.takes}.")

    def _part(self, text: str) -> Iterable[int]:
        span, slash, step = text.partition("/")
        start, dash, end = span.partition("-")
        everything = range(self.first, self.last + 1)
        if span == "*":
            numbers = [*everything]
        elif dash:
            numbers = self._between(self.number(start), self.number(end))
        elif slash:
            numbers = [*range(self.number(start), self.last + 1)]
        else:
            numbers = [self.number(start)]
        if not slash:
            return numbers
        if not re.fullmatch("[0-9]{1,4}", step) or int(step) == 0:
            raise ValueError
        return numbers[:: int(step)]

    def _between(self, start: int, end: int) -> list[int]:
        if start <= end:
            return [*range(start, end + 1)]
        if not self.wraps:
            raise ValueError
        return [*range(start, self.last + 1), *range(self.first, end + 1)]


_LISTS = "lists (1,3), ranges (1-3), steps (1/5) and *"

MINUTES = Field("minutes", 0, 59, f"0-59, {_LISTS}")
HOURS = Field("hours", 0, 23, f"0-23, {_LISTS}")
DAY_OF_MONTH = Field("day-of-month", 1, 31, f"1-31, L, L-3, LW, 15W, ?, {_LISTS}")
MONTH = Field("month", 1, 12, f"1-12, JAN-DEC, {_LISTS}", _MONTHS)
DAY_OF_WEEK = Field("day-of-week", 1, 7, f"1-7, SUN-SAT, L, 6L, 6#2, ?, {_LISTS}", _WEEKDAYS)
YEAR = Field("year", 1970, 2199, f"1970-2199, {_LISTS}", wraps=False)

UNIX_DAY_OF_WEEK = Field(
    "day-of-week",
    0,
    7,
    f"0-7, SUN-SAT, {_LISTS}",
    {name: number - 1 for name, number in _WEEKDAYS.items()},
)
"""As crontab has it, numbered from Sunday, which is 0 and also 7."""

FIELDS = 6
UNIX_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression.

    Attributes:
        minutes: The minutes of the hour.
        hours: The hours of the day.
        days: The days of a month.
        months: The months.
        years: The years.
    """

    minutes: Set[int]
    hours: Set[int]
    days: DaysOf
    months: Set[int]
    years: Set[int]

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the minutes that are meant after `moment`, in order.

        Args:
            moment: A time on the clock of the place, without a time zone; so are the results.
        """
        minutes, hours = sorted(self.minutes), sorted(self.hours)
        for year, month, day in self._dates(moment):
            for hour in hours:
                for minute in minutes:
                    found = datetime(year, month, day, hour, minute)
                    if found > moment:
                        yield found

    def _dates(self, moment: datetime) -> Iterator[tuple[int, int, int]]:
        """The dates that are meant, from that of `moment` on."""
        for year in sorted(self.years):
            for month in sorted(self.months):
                if (year, month) >= (moment.year, moment.month):
                    last = calendar.monthrange(year, month)[1]
                    for day in sorted({*self.days(year, month)}):
                        if 1 <= day <= last and (year, month, day) >= (
                            moment.year,
                            moment.month,
                            moment.day,
                        ):
                            yield year, month, day


def parse(text: str) -> Cron:
    """Read the six fields of EventBridge.

    Raises:
        SettingsInvalid: One cannot be read; the error names it.
    """
    fields = text.upper().split()
    if len(fields) != FIELDS:
        raise SettingsInvalid(
            f"it has {len(fields)} fields and takes {FIELDS}: minutes, hours, day-of-month, month, "
            "day-of-week, year. One of the two for days is ?."
        )
    minutes, hours, day_of_month, month, day_of_week, year = fields
    if (day_of_month == "?") == (day_of_week == "?"):
        raise SettingsInvalid(
            f"day-of-month is {day_of_month!r} and day-of-week is {day_of_week!r}: exactly one of "
            "them has to be ?."
        )
    return Cron(
        minutes=_read(MINUTES, minutes),
        hours=_read(HOURS, hours),
        days=_days_of_week(day_of_week) if day_of_month == "?" else _days_of_month(day_of_month),
        months=_read(MONTH, month),
        years=_read(YEAR, year),
    )


def parse_unix(text: str) -> Cron:
    """Read the five fields of crontab, which LetsGo's documentation describes.

    Raises:
        SettingsInvalid: One cannot be read; the error names it.
    """
    minutes, hours, day_of_month, month, day_of_week = text.upper().split()
    month_days = _read(DAY_OF_MONTH, day_of_month.replace("?", "*"))
    week_days = {number % WEEK for number in _read(UNIX_DAY_OF_WEEK, day_of_week.replace("?", "*"))}
    # Crontab's own rule: where both are restricted, a day that fits either is meant.
    either = day_of_month[0] not in "*?" and day_of_week[0] not in "*?"

    def days(year: int, month: int) -> Iterable[int]:
        in_week = {*_on_weekdays({(day - 1) % WEEK for day in week_days}, year, month)}
        return month_days | in_week if either else month_days & in_week

    return Cron(
        minutes=_read(MINUTES, minutes),
        hours=_read(HOURS, hours),
        days=days,
        months=_read(MONTH, month),
        years=_read(YEAR, "*"),
    )


def _read(what: Field, text: str) -> frozenset[int]:
    try:
        return what.numbers(text)
    except ValueError:
        raise what.refuse(text) from None


def _days_of_month(text: str) -> DaysOf:
    try:
        return _any_of([_day_of_month(part) for part in text.split(",")])
    except ValueError:
        raise DAY_OF_MONTH.refuse(text) from None


def _day_of_month(text: str) -> DaysOf:
    if text == "L":
        return lambda year, month: (_last(year, month),)
    if text == "LW":
        return lambda year, month: (_nearest_weekday(_last(year, month), year, month),)
    if text.startswith("L-"):
        before = DAY_OF_MONTH.number(text[2:])
        return lambda year, month: (_last(year, month) - before,)
    if text.endswith("W"):
        near = DAY_OF_MONTH.number(text[:-1])
        return lambda year, month: (
            (_nearest_weekday(near, year, month),) if near <= _last(year, month) else ()
        )
    days = DAY_OF_MONTH.numbers(text)
    return lambda _year, _month: days


def _days_of_week(text: str) -> DaysOf:
    try:
        if "#" in text:  # alone, as AWS has it
            day, _, which = text.partition("#")
            if which not in {"1", "2", "3", "4", "5"}:
                raise ValueError
            return _nth(_weekday(DAY_OF_WEEK.number(day)), int(which) - 1)
        return _any_of([_day_of_week(part) for part in text.split(",")])
    except ValueError:
        raise DAY_OF_WEEK.refuse(text) from None


def _day_of_week(text: str) -> DaysOf:
    if text.endswith("L") and text != "L":
        return _nth(_weekday(DAY_OF_WEEK.number(text[:-1])), -1)
    numbers = {WEEK} if text == "L" else DAY_OF_WEEK.numbers(text)
    weekdays = {_weekday(number) for number in numbers}
    return lambda year, month: _on_weekdays(weekdays, year, month)


def _any_of(parts: list[DaysOf]) -> DaysOf:
    return lambda year, month: {day for part in parts for day in part(year, month)}


def _weekday(number: int) -> int:
    """A weekday as Python numbers it, from Monday, which is 0."""
    return (number - 2) % WEEK


def _last(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _on_weekdays(weekdays: Set[int], year: int, month: int) -> list[int]:
    first, length = calendar.monthrange(year, month)
    return [day for day in range(1, length + 1) if (first + day - 1) % WEEK in weekdays]


def _nth(weekday: int, position: int) -> DaysOf:
    """The n-th of a weekday in a month, from 0; -1 for the last. A month may have no fifth."""

    def days(year: int, month: int) -> Iterable[int]:
        found = _on_weekdays({weekday}, year, month)
        return found[position:][:1]

    return days


def _nearest_weekday(day: int, year: int, month: int) -> int:
    """The day from Monday to Friday that is nearest a day, in the same month."""
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < _last(year, month) else day - 2
    return day
