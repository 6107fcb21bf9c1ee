"""Draws how sizes are spread: a histogram for each message type, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from claimcheck.audit.page.axis import (
    Mark,
    grid_lines,
    mark_labels,
    marks_of,
    size_axis,
    size_scale,
)
from claimcheck.audit.page.markup import element, name_element, percent, short_name
from claimcheck.audit.page.scales import LogScale, bars_of
from claimcheck.audit.report import AuditReport, TypeReport
from claimcheck.audit.text import size_text
from letsgo_queue.text import counted

SHOWN_TYPES = 12
"""How many histograms are shown until a reader asks for the others."""

_LEAST_HEIGHT = 0.08
"""Share of the highest bar: a bar that counts one message among thousands must be seen."""


def histograms(report: AuditReport) -> Element:
    """A histogram for each type, the type with the largest message first."""
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


def _rows(report: AuditReport, types: Sequence[TypeReport]) -> Element:
    scale = size_scale(report)
    rows = element(
        "div", element("div", class_="side"), mark_labels(scale, marks_of(report)), class_="rows"
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
    rows.append(size_axis(scale))
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
    svg.extend(grid_lines(scale))
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
