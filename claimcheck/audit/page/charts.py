"""The two charts of the page, as SVG: how sizes are spread, and what becomes of them.

Both have the same sizes from left to right, so the one can be read under the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from claimcheck.audit.page.markup import element, name_element, percent, short_name
from claimcheck.audit.page.scales import LogScale, bars_of
from claimcheck.audit.report import AuditReport, Point, TypeReport
from claimcheck.audit.text import size_text
from claimcheck.core.claim_check import Route
from letsgo_queue.text import counted

SHOWN_TYPES = 12
"""How many histograms are shown before one asks for the rest."""

MAX_POINTS = 1200
"""How many points the scatter chart has at most, or one of each type."""

ROUTES: Final[tuple[Route, ...]] = ("inline", "compressed", "stored")

_LEAST_HEIGHT = 0.08
"""Of the highest bar: what counts one message among thousands must be seen."""

_HALF = 0.5

_CLOSE = 0.45
"""Nearer than this, a label on a phone is longer than the way to the other line."""

_MAX_TICKS = 6
"""How many labels fit a phone; with more of them, every other is for larger pages."""

_SHAPES: Final[dict[Route, str]] = {
    "inline": "M-3.5,0 a3.5,3.5 0 1,0 7,0 a3.5,3.5 0 1,0 -7,0 Z",
    "compressed": "M0,-5.5 L5.2,4 L-5.2,4 Z",
    "stored": "M-4,-4 H4 V4 H-4 Z",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A size that a line marks.

    Attributes:
        kind: Its class in the style sheet, and its name.
        size: Bytes.
    """

    kind: str
    size: int

    @property
    def text(self) -> str:
        """What its label says."""
        return f"{self.kind} {size_text(self.size)}"


def marks_of(report: AuditReport) -> tuple[Mark, Mark]:
    """The sizes that matter."""
    settings = report.settings
    return Mark("threshold", settings.threshold), Mark("limit", settings.limit)


def size_scale(report: AuditReport) -> LogScale:
    """From the smallest message to the largest, with what is marked."""
    return LogScale.over(
        [
            *(mark.size for mark in marks_of(report)),
            *(each.size.smallest for each in report.types),
            *(each.size.largest for each in report.types),
        ]
    )


def histograms(report: AuditReport) -> Element:
    """How the sizes of each type are spread, the type with the largest message first."""
    types = sorted(report.types, key=lambda each: -each.size.largest)
    shown, more = types[:SHOWN_TYPES], types[SHOWN_TYPES:]
    chart = element("div", _rows(report, shown), class_="chart")
    if more:
        chart.append(
            element(
                "details",
                element("summary", counted(len(more), "more type")),
                _rows(report, more),
            )
        )
    return chart


def scatter(report: AuditReport) -> Element:
    """The size on the queue of messages, over their size as given."""
    across = size_scale(report)
    points = _points(report)
    up = LogScale.over(
        [
            *(mark.size for mark in marks_of(report)),
            *(point.sent_size for _, point in points),
        ]
    )
    svg = element(
        "svg",
        element("title", "Size on the queue over size as given, by route"),
        element(
            "desc",
            "Each point is a message. What went inline is on the diagonal; what was compressed or "
            "stored is under it.",
        ),
        element(
            "defs", *(element("path", id=f"shape-{route}", d=_SHAPES[route]) for route in ROUTES)
        ),
        class_="scatter",
        role="img",
    )
    svg.extend(_grid(across))
    for at, tick in enumerate(up.ticks):
        y = percent(1 - up.at(tick))
        svg.append(element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        svg.append(_tick(up, at, tick, x="0%", y=y, dx=-10, dy="0.35em", text_anchor="end"))
    svg.append(_unchanged(across, up))
    threshold, limit = marks_of(report)
    for mark in threshold, limit:
        x, y = percent(across.at(mark.size)), percent(1 - up.at(mark.size))
        svg.append(element("line", class_=mark.kind, x1=x, x2=x, y1="0%", y2="100%"))
        if mark is limit:
            svg.append(element("line", class_=mark.kind, x1="0%", x2="100%", y1=y, y2=y))
    svg.extend(_point(across, up, message_type, point) for message_type, point in points)
    svg.append(
        element(
            "text",
            f"{limit.text} on the queue",
            class_="mark limit",
            x="0%",
            y=percent(1 - up.at(limit.size)),
            dx=6,
            dy=-6,
        )
    )
    heading = _heading(across, marks_of(report))
    heading.append(
        element("text", "size on the queue", class_="axis-title", x="0%", y="100%", dx=-52, dy=-22)
    )
    return element(
        "div",
        _legend(report),
        element("div", heading, svg, _axis(across), class_="plot"),
        class_="chart rows",
    )


def _rows(report: AuditReport, types: Sequence[TypeReport]) -> Element:
    scale = size_scale(report)
    rows = element(
        "div", element("div", class_="side"), _heading(scale, marks_of(report)), class_="rows"
    )
    for each in types:
        weighed = counted(each.messages + each.not_sent, "message")
        rows.append(
            element(
                "div",
                name_element(each.type),
                element("span", f"{weighed}, median {size_text(each.size.median)}"),
                class_="side label",
            )
        )
        rows.append(_histogram(scale, marks_of(report), each))
    rows.append(element("div", class_="side"))
    rows.append(_axis(scale))
    return rows


def _histogram(scale: LogScale, marks: Sequence[Mark], report: TypeReport) -> Element:
    size = report.size
    svg = element(
        "svg",
        element("title", f"Sizes of {short_name(report.type)}"),
        element(
            "desc",
            f"From {size_text(size.smallest)} to {size_text(size.largest)}, median "
            f"{size_text(size.median)}, 95 % up to {size_text(size.p95)}.",
        ),
        class_="histogram",
        role="img",
    )
    svg.extend(_grid(scale))
    svg.append(element("line", class_="base", x1="0%", x2="100%", y1="100%", y2="100%"))
    bars = bars_of(size.buckets)
    highest = max((bar.count for bar in bars), default=0)
    for bar in bars:
        height = max(bar.count / highest, _LEAST_HEIGHT)
        # A bar is wider than the sizes in it, which are all on the scale.
        left, right = max(scale.at(bar.over), 0), min(scale.at(bar.up_to), 1)
        svg.append(
            element(
                "rect",
                element(
                    "title",
                    f"{size_text(int(bar.over))} to {size_text(int(bar.up_to))}: "
                    f"{counted(bar.count, 'message')}",
                ),
                class_="bar",
                x=percent(left),
                width=percent(right - left),
                y=percent(1 - height * 0.9),
                height=percent(height * 0.9),
            )
        )
    for mark in marks:
        x = percent(scale.at(mark.size))
        svg.append(element("line", class_=mark.kind, x1=x, x2=x, y1="0%", y2="100%"))
    return svg


def _heading(scale: LogScale, marks: Sequence[Mark]) -> Element:
    """Names the marked lines.

    Labels are on two levels, each beside its own line, where there is more room. Of lines that are
    close both have theirs on one side, the outer one above, so that none crosses the other's.
    """
    svg = element("svg", class_="marks", aria_hidden="true")
    ordered = sorted(marks, key=lambda mark: mark.size)
    places = [scale.at(mark.size) for mark in ordered]
    close = places[-1] - places[0] < _CLOSE
    middle = sum(places) / len(places)
    for level, mark in enumerate(reversed(ordered) if middle > _HALF else ordered):
        x, y = percent(scale.at(mark.size)), 4 + 18 * level
        to_left = (middle if close else scale.at(mark.size)) > _HALF
        svg.append(element("line", class_=mark.kind, x1=x, x2=x, y1=y, y2="100%"))
        svg.append(
            element(
                "text",
                mark.text,
                class_=f"mark {mark.kind}",
                x=x,
                y=y,
                dx=-6 if to_left else 6,
                dy="0.7em",
                text_anchor="end" if to_left else "start",
            )
        )
    return svg


def _axis(scale: LogScale) -> Element:
    svg = element("svg", class_="axis", aria_hidden="true")
    for at, tick in enumerate(scale.ticks):
        x = percent(scale.at(tick))
        svg.append(_tick(scale, at, tick, x=x, y=0, dy="1.3em", text_anchor="middle"))
    svg.append(
        element("text", "size as given", class_="axis-title", x="50%", y=38, text_anchor="middle")
    )
    return svg


def _grid(scale: LogScale) -> Iterator[Element]:
    for tick in scale.ticks:
        x = percent(scale.at(tick))
        yield element("line", class_="grid", x1=x, x2=x, y1="0%", y2="100%")


def _tick(scale: LogScale, at: int, size: int, **attributes: str | float) -> Element:
    spare = len(scale.ticks) > _MAX_TICKS and at % 2 == 1
    # A decade is a whole number of its unit.
    text = size_text(size).replace(".0", "")
    return element("text", text, class_="tick spare" if spare else "tick", **attributes)


def _unchanged(across: LogScale, up: LogScale) -> Element:
    """The diagonal: as large on the queue as given."""
    low = 10 ** max(across.first, up.first)
    high = 10 ** min(across.last, up.last)
    return element(
        "line",
        class_="unchanged",
        x1=percent(across.at(low)),
        y1=percent(1 - up.at(low)),
        x2=percent(across.at(high)),
        y2=percent(1 - up.at(high)),
    )


def _points(report: AuditReport) -> list[tuple[str, Point]]:
    """Of each type as many as fit: those with the lowest draws are a sample again."""
    if not report.types:
        return []
    most = max(MAX_POINTS // len(report.types), 1)
    return [
        (each.type, point)
        for each in report.types
        for point in sorted(each.points, key=lambda point: point.draw)[:most]
    ]


def _point(across: LogScale, up: LogScale, message_type: str, point: Point) -> Element:
    return element(
        "use",
        element(
            "title",
            f"{short_name(message_type)}: {size_text(point.size)}, {point.route}, "
            f"{size_text(point.sent_size)} on the queue",
        ),
        class_=f"point {point.route}",
        href=f"#shape-{point.route}",
        x=percent(across.at(point.size)),
        y=percent(1 - up.at(point.sent_size)),
    )


def _legend(report: AuditReport) -> Element:
    legend = element("ul", class_="legend")
    for route in ROUTES:
        count = sum(each.routes.get(route, 0) for each in report.types)
        swatch = element(
            "svg",
            element("path", class_=f"point {route}", d=_SHAPES[route]),
            class_="swatch",
            viewBox="-7 -7 14 14",
            aria_hidden="true",
        )
        legend.append(
            element(
                "li",
                swatch,
                element("span", route, class_="route"),
                element("span", f"{count:,}", class_="count"),
            )
        )
    return legend
