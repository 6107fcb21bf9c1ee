"""Places in a chart: logarithmic scales of whole decades, and bars of equal width."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from claimcheck.audit.sketch import GROWTH

BUCKETS_PER_BAR = 12
"""A bar has whole buckets of a sketch, so that no bar is higher because of a cut. It goes from one
size to a quarter more; about ten bars are a decade."""


@dataclass(frozen=True, slots=True)
class LogScale:
    """Sizes from `10 ** first` to `10 ** last` bytes.

    Attributes:
        first: The decade at its start.
        last: The decade at its end.
    """

    first: int
    last: int

    @classmethod
    def over(cls, sizes: Iterable[int]) -> LogScale:
        """A scale over all sizes; there must be at least one."""
        known = [max(size, 1) for size in sizes]
        first = len(str(min(known))) - 1
        last = len(str(max(known) - 1)) if max(known) > 1 else 0
        return cls(first, max(last, first + 1))

    @property
    def ticks(self) -> list[int]:
        """The sizes at which decades start and end."""
        return [10**exponent for exponent in range(self.first, self.last + 1)]

    def at(self, size: float) -> float:
        """The place of a size: 0 at the start, 1 at the end."""
        return (math.log10(max(size, 1)) - self.first) / (self.last - self.first)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram.

    Attributes:
        over: It counts sizes over this (bytes).
        up_to: It counts sizes up to this (bytes).
        count: How many sizes it counts.
    """

    over: float
    up_to: float
    count: int


def bars_of(buckets: Mapping[int, int]) -> list[Bar]:
    """The bars of a sketch's buckets, smallest first, without empty bars."""
    counts: Counter[int] = Counter()
    for bucket, count in buckets.items():
        counts[math.ceil(bucket / BUCKETS_PER_BAR)] += count
    return [
        Bar(
            GROWTH ** ((at - 1) * BUCKETS_PER_BAR),
            GROWTH ** (at * BUCKETS_PER_BAR),
            counts[at],
        )
        for at in sorted(counts)
        if counts[at]
    ]
