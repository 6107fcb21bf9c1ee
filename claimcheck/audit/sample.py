"""A uniform sample in bounded memory: each item draws a number, and the lowest draws stay.

By the same rule two samples merge into a sample of both.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from claimcheck.audit.report import Point
from claimcheck.core.opened import Route


class PointSample:
    """Keeps some of the points that it is shown, each with the same chance."""

    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        """Make an empty sample.

        Args:
            capacity: How many points are kept.
            draw: Gives random numbers from 0 to 1.
        """
        self._capacity = capacity
        self._draw = draw
        # A heap with the highest draw first. Plain tuples, since most do not stay for long.
        self._kept: list[tuple[float, int, int, Route]] = []

    @property
    def points(self) -> tuple[Point, ...]:
        """The points that are kept, the lowest draw first."""
        return tuple(
            Point(size=size, sent_size=sent_size, route=route, draw=-negative)
            for negative, size, sent_size, route in sorted(self._kept, reverse=True)
        )

    def add(self, size: int, sent_size: int, route: Route) -> None:
        """Show it a point."""
        self._keep(self._draw(), size, sent_size, route)

    def merge(self, points: Iterable[Point]) -> None:
        """Show it the points of another sample."""
        for point in points:
            self._keep(point.draw, point.size, point.sent_size, point.route)

    def _keep(self, draw: float, size: int, sent_size: int, route: Route) -> None:
        entry = (-draw, size, sent_size, route)
        if len(self._kept) < self._capacity:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)
