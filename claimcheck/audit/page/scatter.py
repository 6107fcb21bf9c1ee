"""Draws what goes on the queue: a point for each message of a sample, as SVG."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from claimcheck.audit.page.axis import (
    grid_lines,
    mark_labels,
    marks_of,
    size_axis,
    size_scale,
    tick_label,
)
from claimcheck.audit.page.markup import element, percent, short_name
from claimcheck.audit.page.scales import LogScale
from claimcheck.audit.report import ROUTES, AuditReport, Point
from claimcheck.audit.text import size_text
from claimcheck.core.opened import Route

MAX_POINTS = 1200
"""The most points in the chart, unless there are more types: each has at least one."""

_SHAPES: Final[dict[Route, str]] = {
    "inline": "M-3.5,0 a3.5,3.5 0 1,0 7,0 a3.5,3.5 0 1,0 -7,0 Z",
    "compressed": "M0,-5.5 L5.2,4 L-5.2,4 Z",
    "stored": "M-4,-4 H4 V4 H-4 Z",
}


def scatter(report: AuditReport) -> Element:
    """Return a chart of the size of messages on the queue, over their size as given."""
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
            "Each point is a message. Inline messages are on the diagonal, compressed and stored "
            "ones below it.",
        ),
        element(
            "defs", *(element("path", id=f"shape-{route}", d=_SHAPES[route]) for route in ROUTES)
        ),
        class_="scatter",
        role="img",
    )
    svg.extend(grid_lines(across))
    for at, tick in enumerate(up.ticks):
        y = percent(1 - up.at(tick))
        svg.append(element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        svg.append(tick_label(up, at, tick, x="0%", y=y, dx=-10, dy="0.35em", text_anchor="end"))
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
    heading = mark_labels(across, marks_of(report))
    heading.append(
        element("text", "size on the queue", class_="axis-title", x="0%", y="100%", dx=-52, dy=-22)
    )
    return element(
        "div",
        _legend(report),
        element("div", heading, svg, size_axis(across), class_="plot"),
        class_="chart rows",
    )


def _unchanged(across: LogScale, up: LogScale) -> Element:
    """The diagonal, where messages are as large on the queue as given."""
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
    """The points that fit, at most equally many of each type: the lowest draws are a sample too."""
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
