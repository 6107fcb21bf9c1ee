"""Scheduled handlers, and when they run: `rate(...)` or `cron(...)`, as EventBridge has them.

    rate(5 minutes)       at each multiple of five minutes since 1970, so that a fleet agrees on it
    cron(0 3 * * ? *)     at 03:00 on the clock of the time zone

When clocks are set forward, a cron time that does not exist is skipped. When they are set back, a
cron time that exists twice counts once, the first time. EventBridge Scheduler does the same:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time
"""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.validation import check_text
from letsgo_queue.worker.cron import UNIX_FIELDS, Cron, parse, parse_unix
from letsgo_queue.worker.handler import Handler
from letsgo_queue.worker.incoming import IncomingMessage

ScheduledFunction: TypeAlias = Callable[[dict[str, Any]], object]
"""Takes the event as EventBridge has it, sync or async."""

SCHEDULE = "LETSGO_WORKER_SCHEDULE"
TIME_ZONE = "LETSGO_WORKER_SCHEDULE_TIMEZONE"
"""The settings of LetsGo's own worker:
https://github.com/47chapters/letsgo/blob/main/docs/how-to/schedule-asynchronous-work.md"""

UTC_NAME = "UTC"

_NAME = re.compile(r"[0-9A-Za-z._-]{1,64}")
"""The limits of EventBridge."""

_RATE = re.compile(r"rate\(\s*([0-9]{1,9})\s+(minute|hour|day)s?\s*\)")
_CRON = re.compile(r"cron\((.*)\)")
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}

LONGEST_RATE_DAYS = 36_500
"""Its next run is a date that Python can name."""


class Schedule(Protocol):
    """When something is due."""

    def after(self, moment: float) -> int | None:
        """The first time it is due after a moment, both in seconds since 1970; None for never."""
        ...


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """A period.

    Attributes:
        seconds: Its length.
    """

    seconds: int

    def after(self, moment: float) -> int | None:
        """See `Schedule`."""
        return (int(moment // self.seconds) + 1) * self.seconds


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A cron expression on the clock of a time zone.

    Attributes:
        cron: The expression.
        zone: The time zone.
    """

    cron: Cron
    zone: tzinfo

    def after(self, moment: float) -> int | None:
        """See `Schedule`."""
        here = datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None)
        for found in self.cron.after(here):
            seconds = int(found.replace(tzinfo=self.zone).timestamp())
            exists = datetime.fromtimestamp(seconds, self.zone).replace(tzinfo=None) == found
            if exists and seconds > moment:  # the second time of two is not
                return seconds
        return None


class ScheduledHandler(Handler):
    """A function that handles scheduled events.

    Attributes:
        expression: When it runs outside of Lambda; None for when LetsGo's settings say.
        schedule: The expression, read.
        rule: The given name: in Lambda, that of the rule whose events it handles.
    """

    def __init__(
        self,
        function: ScheduledFunction,
        *,
        expression: str | None = None,
        time_zone: str | None = None,
        name: str | None = None,
    ) -> None:
        """Look at the signature, and read the expression.

        Args:
            function: The function.
            expression: When it runs.
            time_zone: Whose clock a cron expression means; None for UTC.
            name: Names it, in place of its own name and its expression.

        Raises:
            SettingsInvalid: It does not take `(event)`, or the expression or name cannot be used.
        """
        super().__init__(function)
        try:
            inspect.signature(function).bind({})
        except TypeError as error:
            raise self._wrong_signature(error) from None
        for option, value in (("timezone", time_zone), ("name", name)):
            if value is not None:
                check_text(option, value)
        if name is not None and not _NAME.fullmatch(name):
            raise SettingsInvalid(
                f"name={name!r}: the name of a schedule is 1 to 64 letters, digits, ., _ and -, as "
                "EventBridge has it."
            )
        if expression is None and time_zone is not None:
            raise SettingsInvalid(
                f'timezone={time_zone!r} has no expression: @worker.scheduled("cron(0 3 * * ? *)", '
                f"timezone={time_zone!r}). For LetsGo's own schedule set {TIME_ZONE}."
            )
        self.expression = expression
        self.rule = name
        self.schedule = None
        if expression is not None:
            self.schedule = parse_schedule(expression, UTC_NAME if time_zone is None else time_zone)
        self._time_zone = time_zone
        self.message_type = self.schedule_name  # of its ticks

    @property
    def schedule_name(self) -> str:
        """Names it among all schedules."""
        return self.name_with(self.expression)

    def name_with(self, expression: str | None) -> str:
        """Its name, if it runs by that expression."""
        if self.rule is not None:
            return self.rule
        return " ".join(filter(None, (self.name, expression, self._time_zone)))

    def arguments(self, incoming: IncomingMessage) -> tuple[object, ...]:
        """The arguments of a call: the event, which a tick has as its payload."""
        return (json.loads(incoming.body)["payload"],)

    def _wrong_signature(self, takes: object) -> SettingsInvalid:
        del takes
        return SettingsInvalid(f"handler {self.name}: a handler of scheduled events takes (event).")


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A handler that runs by a schedule.

    Attributes:
        name: Names it, the same in every process of a fleet.
        schedule: When it runs.
        handler: The handler.
    """

    name: str
    schedule: Schedule
    handler: ScheduledHandler


def parse_schedule(expression: str, time_zone: str = UTC_NAME, *, unix: bool = False) -> Schedule:
    """Read the expression of a schedule.

    Args:
        expression: `rate(...)` or `cron(...)`.
        time_zone: The IANA name of the time zone whose clock a cron expression means.
        unix: Whether a cron expression may have crontab's five fields.

    Raises:
        SettingsInvalid: It cannot be read, or the time zone is not known.
    """
    text, zone = expression.strip(), _zone(time_zone)
    if (rate := _RATE.fullmatch(text)) and int(rate[1]):
        period = int(rate[1]) * _SECONDS[rate[2]]
        if period > LONGEST_RATE_DAYS * _SECONDS["day"]:
            raise SettingsInvalid(
                f"schedule {expression!r}: a rate is {LONGEST_RATE_DAYS:,} days at most."
            )
        return RateSchedule(period)
    cron = _CRON.fullmatch(text)
    if cron is None:
        raise SettingsInvalid(
            f"schedule {expression!r}: write rate(5 minutes), with minutes, hours or days, or "
            "cron(0 3 * * ? *)."
        )
    read = parse_unix if unix and len(cron[1].split()) == UNIX_FIELDS else parse
    try:
        return CronSchedule(read(cron[1]), zone)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"schedule {expression!r}: {error}") from None


def schedule_in_environment(
    environ: Mapping[str, str] = os.environ,
) -> tuple[str, Schedule] | None:
    """The schedule that LetsGo's settings describe, with its expression; None if there is none.

    LetsGo gives the same setting to EventBridge Scheduler, which takes six fields, and to its own
    local worker, which takes five.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    expression = environ.get(SCHEDULE)
    if not expression:
        return None
    try:
        zone = environ.get(TIME_ZONE) or UTC_NAME
        return expression, parse_schedule(expression, zone, unix=True)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{SCHEDULE}, {TIME_ZONE}: {error}") from None


def _zone(name: str) -> tzinfo:
    if name == UTC_NAME:  # also where the machine has no time zones
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise SettingsInvalid(
            f"time zone {name!r} is not known: give an IANA name, Europe/Berlin. If this machine "
            "has no time zones, pip install tzdata."
        ) from None
