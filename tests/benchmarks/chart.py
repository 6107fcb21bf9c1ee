"""The chart: time and price of a round trip on the AWS-like network, by payload and library.

SVG, written as text. The bars of a payload have one scale; each payload has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from tests.benchmarks.measuring import Spread
from tests.benchmarks.payloads import PAYLOADS, PayloadName
from tests.benchmarks.peers import LIBRARIES, Library
from tests.benchmarks.plan import NEW_QUEUE
from tests.benchmarks.results import Results, RoundTrips

ROW, BAR, GAP = 19, 13, 16
TOP, LABELS, PANEL, MARGIN = 64, 228, 330, 24
WIDTH = LABELS + 2 * PANEL + MARGIN
VALUE_ROOM = 96

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 14px; font-weight: 600 }
.faint { fill: #57606a }
.ours { fill: #0969da } .theirs { fill: #afb8c1 }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #8b949e }
  .ours { fill: #58a6ff } .theirs { fill: #484f58 }
  .page { fill: #0d1117 }
}
"""


class _Panel(NamedTuple):
    title: str
    value: Callable[[RoundTrips], float]
    label: Callable[[float], str]


_PANELS = (
    _Panel(
        "one round trip",
        lambda trips: Spread.of(trips.wall).median * 1e3,
        lambda value: f"{value:,.0f} ms",
    ),
    _Panel(
        "a million of them",
        lambda trips: trips.dollars_per_million,
        lambda value: f"${value:,.2f}",
    ),
)


def chart(results: Results) -> str:
    """The chart of a run."""
    shown = [
        each
        for each in results.round_trips
        if (each.network, each.queue_limit) == ("AWS-like", NEW_QUEUE)
    ]
    payloads = [name for name in PAYLOADS if any(each.payload == name for each in shown)]
    libraries = [each for each in LIBRARIES if any(t.library == each.name for t in shown)]
    height = TOP + len(payloads) * (len(libraries) * ROW + GAP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            _text(MARGIN, 26, "Send, receive, done: AWS-like network, 1 MiB queue", "title"),
            *(
                _text(LABELS + at * PANEL, TOP - 14, panel.title, "faint")
                for at, panel in enumerate(_PANELS)
            ),
            *_groups(shown, payloads, libraries),
            "</svg>",
            "",
        ]
    )


def _groups(
    shown: Sequence[RoundTrips], payloads: Sequence[PayloadName], libraries: Sequence[Library]
) -> Iterator[str]:
    top = TOP
    for payload in payloads:
        of_payload = {each.library: each for each in shown if each.payload == payload}
        yield _text(MARGIN, top + BAR - 2, payload, "title")
        for row, library in enumerate(libraries):
            middle = top + row * ROW
            yield _text(LABELS - 8, middle + BAR - 2, library.title, "faint", anchor="end")
            yield from _bars(library, of_payload, middle)
        top += len(libraries) * ROW + GAP


def _bars(library: Library, of_payload: dict[str, RoundTrips], top: int) -> Iterator[str]:
    trips = of_payload.get(library.name)
    if trips is None:
        why = "does not fit the queue" if library.up_to is None else "not measured"
        yield _text(LABELS, top + BAR - 2, why, "faint")
        return
    for at, panel in enumerate(_PANELS):
        left = LABELS + at * PANEL
        largest = max(map(panel.value, of_payload.values()))
        length = max(1.0, panel.value(trips) / largest * (PANEL - VALUE_ROOM))
        kind = "ours" if library.distribution == "letsgo-claimcheck" else "theirs"
        yield (
            f'<rect class="{kind}" x="{left}" y="{top}" width="{length:.1f}" height="{BAR}" '
            'rx="2"/>'
        )
        yield _text(round(left + length + 6), top + BAR - 2, panel.label(panel.value(trips)))


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
