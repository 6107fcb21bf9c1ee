"""Compares two runs: each mark, and the round trips of claimcheck."""

from __future__ import annotations

from tests.benchmarks.measuring import Spread
from tests.benchmarks.results import Results, RoundTrips
from tests.benchmarks.tables import table


def compare(old: Results, new: Results) -> str:
    """Tables of what both runs measured."""
    return "\n\n".join(
        [
            f"{old.date[:16]} on {old.machine}\n{new.date[:16]} on {new.machine}",
            _marks(old, new),
            _round_trips(old, new),
        ]
    )


def _marks(old: Results, new: Results) -> str:
    before = {mark.work: mark for mark in old.marks}
    return table(
        ["work", ">mark", ">old", ">new", ""],
        [
            (
                mark.work,
                f"{mark.limit:g} {mark.unit}",
                f"{before[mark.work].measured.median:.2f}",
                f"{mark.measured.median:.2f}",
                "met" if mark.met else "missed",
            )
            for mark in new.marks
            if mark.work in before
        ],
    )


def _round_trips(old: Results, new: Results) -> str:
    before = {_what(each): each for each in old.round_trips}
    return table(
        ["payload", ">queue", "network", ">old, ms", ">new, ms", ">new / old", ">CPU, new / old"],
        [
            (
                each.payload,
                f"{each.queue_limit:,}",
                each.network,
                f"{_median(was.wall) * 1e3:,.1f}",
                f"{_median(each.wall) * 1e3:,.1f}",
                f"{_median(each.wall) / _median(was.wall):.2f}",
                f"{_median(each.cpu) / _median(was.cpu):.2f}",
            )
            for each in new.round_trips
            if each.library == "claimcheck" and (was := before.get(_what(each)))
        ],
    )


def _what(trips: RoundTrips) -> tuple[str, ...]:
    return (trips.library, trips.payload, str(trips.queue_limit), trips.network)


def _median(values: list[float]) -> float:
    return Spread.of(values).median
