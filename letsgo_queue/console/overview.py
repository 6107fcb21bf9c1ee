"""Shows all queues at a glance: live numbers, and a chart of the last hour."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from letsgo_queue.admin.watch import Minute
from letsgo_queue.console.extension import Extension, Notice
from letsgo_queue.console.pages import Pages, duration, number
from letsgo_queue.console.queues import ConsoleQueue
from letsgo_queue.console.sampling import MINUTES, Sample

STREAM_SECONDS = 1.0
"""How many seconds lie between two updates of an open page."""

CHART_WIDTH, CHART_HEIGHT = 600, 120
"""The size of a chart, in its own units: ten for a minute."""


class OverviewPages:
    """The overview.

    Attributes:
        routes: Its pages.
    """

    def __init__(
        self,
        pages: Pages,
        queues: Sequence[ConsoleQueue],
        extensions: Sequence[Extension],
        *,
        is_ending: Callable[[], bool],
    ) -> None:
        """Set the queues that the pages show."""
        self._is_ending = is_ending
        self._pages = pages
        self._queues = queues
        self._extensions = extensions
        self.routes = [
            Route("/", self._overview),
            Route("/numbers", self._numbers),
            Route("/parts", self._parts),
        ]

    def _overview(self, request: Request) -> Response:
        return self._pages.render(
            request,
            "overview.html",
            rows=[(each, each.sampler.last(), self._chart(each)) for each in self._queues],
            notices=self._notices(),
        )

    def _parts(self, request: Request) -> Response:
        """Return the parts that an open page replaces from time to time."""
        rows = [(each, self._chart(each)) for each in self._queues]
        return self._pages.render(request, "parts.html", rows=rows, notices=self._notices())

    def _notices(self) -> Sequence[Notice]:
        return [notice for each in self._extensions for notice in each.notices()]

    def _chart(self, queue: ConsoleQueue) -> Chart:
        return chart(queue.sampler.minutes(), datetime.now(UTC), queue.sampler.counting_since)

    def _numbers(self, _request: Request) -> Response:
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        told: Mapping[str, str] | None = None
        while not self._is_ending():
            numbers = {
                f"{each.number}.{name}": text
                for each in self._queues
                for name, text in shown_numbers(each.sampler.last()).items()
            }
            if numbers != told:
                told = numbers
                yield f"data: {json.dumps(numbers)}\n\n"
            await asyncio.sleep(STREAM_SECONDS)


def shown_numbers(sample: Sample) -> Mapping[str, str]:
    """Return the texts that a page shows for a sample, by name."""
    counts = {} if sample.status is None else asdict(sample.status)
    return {
        **{name: number(counts.get(name)) for name in ("waiting", "in_flight", "delayed", "dead")},
        "oldest": duration(sample.oldest_seconds),
        "error": sample.error or sample.traffic.missing or "",
    }


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute in a chart.

    Attributes:
        minute: The minute.
        x: Its place on the chart.
        up: The height of its bar of sent messages.
        down: The depth of its bar of removed messages.
    """

    minute: Minute
    x: int
    up: float
    down: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the last hour: sent messages above the line, removed messages below it.

    Attributes:
        bars: A bar for each minute with traffic.
        most: The messages that a full bar stands for.
        sent: Messages that were sent in the hour; None if nobody knows.
        removed: Messages that were removed; None if nobody knows.
        since: When the console began to count, if it has not counted for the whole hour.
    """

    bars: Sequence[Bar]
    most: int
    sent: int | None
    removed: int | None
    since: datetime | None


def chart(minutes: Sequence[Minute], now: datetime, since: datetime | None = None) -> Chart:
    """Make the chart of these minutes, up to now.

    Args:
        minutes: Traffic, by the minute.
        now: The end of the chart.
        since: When the console began to count; None if the queue counts by itself.
    """
    this_minute = now.replace(second=0, microsecond=0)
    first = this_minute - timedelta(minutes=MINUTES - 1)
    shown = [each for each in minutes if each.at >= first]
    most = max([1, *(max(each.sent, each.removed) for each in shown)])
    known = bool(shown) or since is not None
    half = CHART_HEIGHT / 2
    step = CHART_WIDTH // MINUTES
    bars = [
        Bar(
            each,
            x=round((each.at - first) / timedelta(minutes=1)) * step,
            up=round(each.sent / most * half, 1),
            down=round(each.removed / most * half, 1),
        )
        for each in shown
    ]
    return Chart(
        bars,
        most,
        sum(each.sent for each in shown) if known else None,
        sum(each.removed for each in shown) if known else None,
        since if since is not None and since > first else None,
    )
