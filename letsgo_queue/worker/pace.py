"""How long handlers take. From that follows how far ahead a worker receives."""

from __future__ import annotations

import math

LATEST_SHARE = 0.2
"""How much the latest message counts in the average duration."""

MAX_TIMES = 10
"""How many averages it counts at most. One message that waited for the interpreter or the machine
says little about its handler; ten that are slow say enough."""

QUICK_SECONDS = 0.002
"""Handlers that take no longer on average are quick: those of one batch share a thread."""


class Pace:
    """How long handlers take, on average. Its user has a lock."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._seconds_each = math.inf

    def note(self, seconds: float) -> None:
        """Note how long a handler took."""
        before = self._seconds_each
        if before == math.inf:
            self._seconds_each = seconds
        else:
            seconds = min(seconds, MAX_TIMES * before)
            self._seconds_each = before + LATEST_SHARE * (seconds - before)

    @property
    def is_quick(self) -> bool:
        """Whether handlers are quick."""
        return self._seconds_each <= QUICK_SECONDS

    def begun_in(self, seconds: float, concurrency: int) -> int:
        """How many messages are begun in `seconds`, `concurrency` at once."""
        return int(concurrency * seconds / max(self._seconds_each, 1e-6))
