"""A run writes a page, a chart, and a file to compare with."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks.chart import chart
from tests.benchmarks.compare import compare
from tests.benchmarks.measuring import Spread, ratio
from tests.benchmarks.plan import NEW_QUEUE
from tests.benchmarks.prices import Units
from tests.benchmarks.report import BEGIN, END, report, write_into
from tests.benchmarks.results import Mark, Results, RoundTrips
from tests.benchmarks.traffic import Traffic


def trips(library: str, wall: float) -> RoundTrips:
    return RoundTrips(
        library=library,
        payload="300 KB",
        queue_limit=NEW_QUEUE,
        network="AWS-like",
        wall=[wall, wall, wall],
        cpu=[0.01, 0.01, 0.01],
        peak=50_000_000,
        once=Traffic(calls={"sqs SendMessage": 1}, units=Units(sqs_requests=3)),
        late_calls=1,
        late_seconds=0.003,
        call_count=9,
    )


def results(ours: float) -> Results:
    mark = Mark(
        work="round trip",
        limit=0.4,
        at_most=True,
        unit="x",
        measured=ratio([ours], [0.1]),
        detail="beside",
    )
    return Results(
        date="2026-01-02T03:04:05+00:00",
        machine="2 cores",
        versions={"Python": "3.11.0"},
        load=0.5,
        quick=False,
        skipped=["fanferro is left out."],
        seconds=600,
        marks=[mark],
        round_trips=[trips("claimcheck", ours), trips("extended-client", 0.1)],
    )


@pytest.mark.parametrize(("ours", "verdict"), [(0.039, "met"), (0.041, "missed")])
def test_a_mark_says_whether_it_is_met(ours: float, verdict: str) -> None:
    text = report(results(ours))

    assert f"| {verdict} " in text
    assert f" {ours / 0.1:.2f} x |" in text
    assert "MiniStack answered 2 of 18 calls later than the model does." in text
    assert "fanferro is left out." in text


def test_a_lower_limit_is_met_from_it_on() -> None:
    found = Spread(1.0, 0.9, 1.1)
    mark = Mark(work="w", limit=1.0, at_most=False, unit="x", measured=found, detail="")

    assert mark.met


def test_the_text_around_the_tables_stays(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")

    write_into(page, results(0.03), "performance.svg")
    write_into(page, results(0.05), "performance.svg")

    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\nAfter\n")
    assert text.count("| round trip |") == 1
    assert "0.50 x" in text
    assert "(performance.svg)" in text


def test_a_run_is_compared_with_an_earlier_one(tmp_path: Path) -> None:
    old, new = results(0.06), results(0.03)
    old.write(tmp_path / "old.json")
    kept = Results.read(tmp_path / "old.json")
    assert kept == old

    text = compare(kept, new)

    assert "| 300 KB  | 1,048,576 | AWS-like |    60.0 |    30.0 |      0.50 |" in text
    assert "| met |" in text


def test_the_chart_shows_each_library_with_its_figures() -> None:
    picture = ElementTree.fromstring(chart(results(0.03)))

    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"300 KB", "claimcheck", "AWS extended client", "30 ms", "100 ms", "$1.20"} <= {*texts}
