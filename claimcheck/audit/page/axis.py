"""Draws the axis of sizes, and the lines that mark some sizes, for both charts of the page.

Both charts have the same sizes from left to right, so a reader can compare them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from claimcheck.audit.page.markup import element, percent
from claimcheck.audit.page.scales import LogScale
from claimcheck.audit.report import AuditReport
from claimcheck.audit.text import size_text

_HALF = 0.5

_CLOSE = 0.45
"""If two lines are nearer than this, a label between them is too long for a phone."""

_MAX_TICKS = 6
"""The most labels that fit a phone. If there are more, every other one is for larger pages."""


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
        """The text of its label."""
        return f"{self.kind} {size_text(self.size)}"


def marks_of(report: AuditReport) -> tuple[Mark, Mark]:
    """The sizes that matter: threshold and limit."""
    settings = report.settings
    return Mark("threshold", settings.threshold), Mark("limit", settings.limit)


def size_scale(report: AuditReport) -> LogScale:
    """The scale of both charts: from the smallest message to the largest, marks included."""
    return LogScale.over(
        [
            *(mark.size for mark in marks_of(report)),
            *(each.size.smallest for each in report.types),
            *(each.size.largest for each in report.types),
        ]
    )


def mark_labels(scale: LogScale, marks: Sequence[Mark]) -> Element:
    """The names of the marked lines, above a chart.

    Labels are on two levels, each on the side of its line that has more room. If the lines are
    close, both labels are on one side, the outer one above, so that no line crosses a label.
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


def size_axis(scale: LogScale) -> Element:
    """The sizes under a chart."""
    svg = element("svg", class_="axis", aria_hidden="true")
    for at, tick in enumerate(scale.ticks):
        x = percent(scale.at(tick))
        svg.append(tick_label(scale, at, tick, x=x, y=0, dy="1.3em", text_anchor="middle"))
    svg.append(
        element("text", "size as given", class_="axis-title", x="50%", y=38, text_anchor="middle")
    )
    return svg


def grid_lines(scale: LogScale) -> Iterator[Element]:
    """The upright lines behind a chart."""
    for tick in scale.ticks:
        x = percent(scale.at(tick))
        yield element("line", class_="grid", x1=x, x2=x, y1="0%", y2="100%")


def tick_label(scale: LogScale, at: int, size: int, **attributes: str | float) -> Element:
    """The label of a tick.

    Args:
        scale: The scale.
        at: Which of its ticks.
        size: The size there, in bytes.
        attributes: The attributes that place the label.
    """
    spare = len(scale.ticks) > _MAX_TICKS and at % 2 == 1
    # A decade is a whole number of its unit.
    text = size_text(size).replace(".0", "")
    return element("text", text, class_="tick spare" if spare else "tick", **attributes)
