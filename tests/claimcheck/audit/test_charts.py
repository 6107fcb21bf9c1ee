from __future__ import annotations

from itertools import pairwise
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimcheck.audit import AuditReport, AuditSettings
from claimcheck.audit.page.axis import size_scale
from claimcheck.audit.page.histograms import SHOWN_TYPES, histograms
from claimcheck.audit.page.scales import LogScale, bars_of
from claimcheck.audit.page.scatter import MAX_POINTS, scatter
from claimcheck.audit.sketch import bucket_of
from claimcheck.audit.text import size_text
from tests.claimcheck.audit.reports import report_of

MAX_SIZE = 64 * 2**20


def share(element: Element, attribute: str) -> float:
    """Where an element is, of the chart's width or height."""
    return float(element.attrib[attribute].removesuffix("%")) / 100


def with_class(parent: Element, name: str) -> list[Element]:
    return [each for each in parent.iter() if name in each.get("class", "").split()]


def settings(limit: int, threshold: int) -> AuditSettings:
    return AuditSettings(limit=limit, threshold=threshold)


@given(st.lists(st.integers(0, MAX_SIZE), min_size=1))
def test_a_scale_holds_its_sizes_in_order(sizes: list[int]) -> None:
    scale = LogScale.over(sizes)

    places = [scale.at(size) for size in sorted(sizes)]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1
    assert [scale.at(tick) for tick in (scale.ticks[0], scale.ticks[-1])] == [0, 1]


def test_a_scale_is_no_wider_than_whole_decades() -> None:
    assert LogScale.over([100, 1_000_000]).ticks == [100, 1000, 10_000, 100_000, 1_000_000]
    assert LogScale.over([99, 1_000_001]).ticks[0] == 10
    assert LogScale.over([99, 1_000_001]).ticks[-1] == 10_000_000
    assert LogScale.over([1000]).ticks == [1000, 10_000]
    assert LogScale.over([0]).ticks == [1, 10]


@given(st.lists(st.integers(0, MAX_SIZE), min_size=1))
def test_each_size_is_in_one_bar(sizes: list[int]) -> None:
    bars = bars_of(report_of({"a": sizes}).types[0].size.buckets)

    assert sum(bar.count for bar in bars) == len(sizes)
    for bar in bars:
        # A bucket's edge is a float, so a size on it may be counted on either side.
        inside = [s for s in sizes if bar.over * 0.999 <= max(s, 1) <= bar.up_to * 1.001]
        assert len(inside) >= bar.count > 0
    assert all(one.up_to <= other.over * 1.001 for one, other in pairwise(bars))


def test_a_bar_for_each_occupied_range() -> None:
    report = report_of({"order:new": [*[300] * 4, *[20_000] * 2, 3_000_000]})

    (chart,) = with_class(histograms(report), "histogram")
    bars = with_class(chart, "bar")
    scale = size_scale(report)
    for bar, size in zip(bars, (300, 20_000, 3_000_000), strict=True):
        left = share(bar, "x")
        assert left - 0.001 <= scale.at(size) <= left + share(bar, "width") + 0.001
    # As high as they count, and standing on the ground.
    heights = [share(bar, "height") for bar in bars]
    assert heights == pytest.approx([heights[0], heights[0] / 2, heights[0] / 4])
    assert [share(bar, "y") + share(bar, "height") for bar in bars] == pytest.approx([1, 1, 1])
    titles = [bar.findtext("title", "").partition(": ")[2] for bar in bars]
    assert titles == ["4 messages", "2 messages", "1 message"]


def test_one_message_among_many_is_seen() -> None:
    report = report_of({"order:new": [*[300] * 5000, 200_000]})

    few = with_class(histograms(report), "bar")[-1]
    assert share(few, "height") > 0.05


def test_all_histograms_share_one_axis() -> None:
    report = report_of({"small": [150, 5_000], "large": [5_000, 900_000]})

    large, small = with_class(histograms(report), "histogram")
    at_5_kb = with_class(small, "bar")[-1].get("x")
    assert with_class(large, "bar")[0].get("x") == at_5_kb


@pytest.mark.parametrize(
    ("threshold", "limit"),
    [(250_000, 262_144), (250_000, 1_048_576), (1_000_000, 262_144), (200, 50_000_000)],
)
def test_the_lines_are_where_their_sizes_are(threshold: int, limit: int) -> None:
    report = report_of({"order:new": [500, 2_000_000]}, settings(limit, threshold))
    scale = size_scale(report)

    for chart in histograms(report), scatter(report):
        for name, size in ("threshold", threshold), ("limit", limit):
            lines = [each for each in with_class(chart, name) if each.tag == "line"]
            upright = [share(each, "x1") for each in lines if each.get("x1") == each.get("x2")]
            assert upright
            assert upright == pytest.approx([scale.at(size)] * len(upright), abs=0.0001)
            (label, *_) = [each.text for each in with_class(chart, name) if each.tag == "text"]
            assert label == f"{name} {size_text(size)}"


def test_points_are_where_they_belong() -> None:
    report = report_of({"report:export": [3_000_000]}, route="stored", sent_size=300)

    chart = scatter(report)
    (point,) = chart.iter("use")
    across, up = size_scale(report), LogScale.over([300, 262_144])
    assert share(point, "x") == pytest.approx(across.at(3_000_000), abs=0.0001)
    assert share(point, "y") == pytest.approx(1 - up.at(300), abs=0.0001)
    assert point.findtext("title") == "report:export: 3.0 MB, stored, 300 B on the queue"
    # Its shape is its route's, and none is another's.
    shapes = {f"#{each.get('id')}": each.get("d") for each in chart.iter("path") if each.get("id")}
    assert point.get("href") == "#shape-stored"
    assert len(set(shapes.values())) == len(shapes) == 3


def test_what_travels_as_given_is_on_the_diagonal() -> None:
    chart = scatter(report_of({"order:new": [200, 7_000, 240_000]}))

    (diagonal,) = with_class(chart, "unchanged")
    x1, y1, x2, y2 = (share(diagonal, name) for name in ("x1", "y1", "x2", "y2"))
    for point in chart.iter("use"):
        x, y = share(point, "x"), share(point, "y")
        assert (y - y1) / (y2 - y1) == pytest.approx((x - x1) / (x2 - x1), abs=0.001)


def test_many_types_leave_the_chart_light() -> None:
    report = report_of({f"type:{n}": range(1000 + n, 1400 + n) for n in range(150)})

    assert len(report.types[0].points) > MAX_POINTS // 150
    points = list(scatter(report).iter("use"))
    assert len(points) == MAX_POINTS // 150 * 150
    assert {each.findtext("title", "").partition(": ")[0] for each in points} == {
        each.type for each in report.types
    }

    chart = histograms(report)
    (more,) = chart.iter("details")
    assert more.findtext("summary") == f"{150 - SHOWN_TYPES} more types"
    assert len(with_class(more, "histogram")) == 150 - SHOWN_TYPES
    assert len(with_class(chart, "histogram")) == 150


@pytest.mark.parametrize("largest", [1, 9, 10, 11])
def test_the_smallest_sizes(largest: int) -> None:
    report = report_of({"a": [0, largest]}, settings(limit=5, threshold=4))

    assert [bar.count for bar in bars_of(report.types[0].size.buckets)]
    for each in (*with_class(histograms(report), "bar"), *scatter(report).iter("use")):
        assert -0.2 <= share(each, "x") <= 1.2


def test_a_bucket_is_of_one_bar() -> None:
    report: AuditReport = report_of({"a": [1000, 1001]})
    assert bucket_of(1000) == bucket_of(1001)
    assert len(bars_of(report.types[0].size.buckets)) == 1
