"""Renders the console's pages, and writes numbers, sizes and times for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import jinja2
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse

from letsgo_queue.text import counted, printable, shown, shown_error

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
KILO = 1_000
ROUND = 100
"""From here on a size is shown without decimals."""

NOTHING = "-"

MOST_CHOSEN = 200
"""The most names that a filter offers, and the most characters of each."""

MOST_DIGITS = 18
"""The most digits of a number in an address: so many fit into every database."""


class Pages:
    """Renders templates. It escapes every value, so that a value is never markup."""

    def __init__(self, loaders: Sequence[jinja2.BaseLoader]) -> None:
        """Make the templates' environment.

        Args:
            loaders: Load the templates of extensions.
        """
        self.environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.PackageLoader("letsgo_queue.console"), *loaders]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters.update(
            shown=shown,
            shown_error=shown_error,
            printable=printable,
            size=size,
            duration=duration,
            since=since,
            when=when,
            moment=moment,
            number=number,
            counted=counted,
        )

    def render(
        self, request: Request, template: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return a page as an answer.

        Args:
            request: The request to answer.
            template: The template's name.
            status: The answer's status.
            values: The values that the template uses.
        """
        text = self.environment.get_template(template).render(path=request.url.path, **values)
        # A sender may have sent half a surrogate pair, which UTF-8 cannot encode.
        return HTMLResponse(text.encode(errors="replace"), status)

    def say(self, **values: object) -> None:
        """Give every template a value."""
        self.environment.globals.update(values)


def number(count: float | None) -> str:
    """Write a number: `1,234`; a dash if nobody knows it."""
    return NOTHING if count is None else f"{round(count):,}"  # an integer may fit into no float


def size(count: float | None) -> str:
    """Write bytes for people: `1.2 MB`."""
    if count is None:
        return NOTHING
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < KILO:
            return (
                f"{count:,.0f} {unit}" if unit == "B" or count >= ROUND else f"{count:.1f} {unit}"
            )
        count /= KILO
    return f"{count:,.1f} TB"


def duration(seconds: float | None) -> str:
    """Write seconds for people, in two parts at most: `3 min 20 s`."""
    if seconds is None:
        return NOTHING
    whole = max(round(seconds), 0)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def since(at: datetime | None) -> str:
    """Write how long ago a moment was; `in 3 s` for a moment in the future."""
    if at is None:
        return NOTHING
    seconds = (datetime.now(UTC) - at).total_seconds()
    return duration(seconds) if seconds >= 0 else f"in {duration(-seconds)}"


def when(at: datetime | None) -> str:
    """Write a moment as seen from now: `3 s ago`, `in 3 s`."""
    if at is None:
        return NOTHING
    text = since(at)
    return text if text.startswith("in ") else f"{text} ago"


def moment(at: datetime | None) -> str:
    """Write a moment, in UTC."""
    return NOTHING if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number_in(query: QueryParams, name: str) -> int | None:
    """Read a whole number in an address; None for anything else."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None


def choices(names: Iterable[str | None]) -> Sequence[str]:
    """Return the names that a filter offers, without names that are too long or unprintable."""
    fit = {each for each in names if each and len(each) <= MOST_CHOSEN and each.isprintable()}
    return sorted(fit)[:MOST_CHOSEN]


def form_of(body: bytes) -> Mapping[str, Sequence[str]]:
    """Read the fields of a form that was sent."""
    return parse_qs(body.decode(errors="replace"), keep_blank_values=True)
