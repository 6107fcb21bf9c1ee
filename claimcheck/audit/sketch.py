"""Sizes in bounded memory: counts in buckets, each 2 % wider than the one before.

Quantiles are right to within 1 %, and the sketches of two processes add up. Up to 64 MiB there are
910 buckets, however many sizes are counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

GROWTH = 1.02
"""Bucket `n` counts sizes over `GROWTH ** (n - 1)` bytes, up to `GROWTH ** n`."""

_LOG_GROWTH = math.log(GROWTH)


class SizeSketch:
    """Counts sizes; the smallest and the largest are kept exactly.

    Attributes:
        buckets: How many sizes are in each bucket.
        smallest: Bytes; 0 until a size is counted.
        largest: Bytes; 0 until a size is counted.
    """

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()
        self.smallest = 0
        self.largest = 0

    def add(self, size: int) -> None:
        """Count a size, in bytes."""
        self.buckets[bucket_of(size)] += 1
        self._widen(size, size)

    def merge(self, buckets: Mapping[int, int], *, smallest: int, largest: int) -> None:
        """Add the counts of another sketch."""
        if buckets:
            self.buckets.update(buckets)
            self._widen(smallest, largest)

    def quantile(self, share: float) -> int:
        """The smallest size that a share of all sizes does not exceed; 0 if there are none."""
        rank = share * self.buckets.total()
        passed = 0
        for bucket in sorted(self.buckets):
            passed += self.buckets[bucket]
            if passed >= rank:
                middle = round(GROWTH**bucket * 2 / (GROWTH + 1))
                return min(max(middle, self.smallest), self.largest)
        return 0

    def _widen(self, smallest: int, largest: int) -> None:
        self.smallest = min(self.smallest, smallest) if self.largest else smallest
        self.largest = max(self.largest, largest)


def bucket_of(size: int) -> int:
    """The bucket that counts a size."""
    return math.ceil(math.log(max(size, 1)) / _LOG_GROWTH)
