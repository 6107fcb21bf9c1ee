"""A clock for the tests of a store."""

from __future__ import annotations

import time


class Clock:
    """A clock that moves only when a test advances it.

    Attributes:
        now: Seconds since 1970.
    """

    def __init__(self) -> None:
        """Start the clock at a whole second, which every store keeps exactly."""
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        """Read the clock."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward, by seconds."""
        self.now += seconds
