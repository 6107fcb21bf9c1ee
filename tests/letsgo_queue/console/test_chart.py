"""The chart of a queue's last hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from letsgo_queue.admin.watch import Minute
from letsgo_queue.console.overview import CHART_HEIGHT, CHART_WIDTH, chart

NOW = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)
MINUTE = NOW.replace(second=0)


def ago(minutes: int) -> datetime:
    return MINUTE - timedelta(minutes=minutes)


def test_each_minute_has_its_place_and_the_busiest_is_full() -> None:
    made = chart([Minute(ago(70), 9, 9), Minute(ago(59), 4, 0), Minute(ago(0), 2, 8)], NOW)

    assert [(bar.x, bar.up, bar.down) for bar in made.bars] == [
        (0, CHART_HEIGHT / 4, 0),
        (CHART_WIDTH - 10, CHART_HEIGHT / 8, CHART_HEIGHT / 2),
    ]
    assert (made.most, made.sent, made.removed, made.since) == (8, 6, 8, None)


def test_a_count_that_began_later_says_since_when() -> None:
    assert chart([], NOW, since=ago(5)).since == ago(5)
    assert chart([], NOW, since=ago(5)).sent == 0
    assert chart([Minute(ago(3), 1, 1)], NOW, since=ago(90)).since is None


def test_what_nobody_counted_is_not_known() -> None:
    assert (chart([], NOW).sent, chart([], NOW).removed) == (None, None)
