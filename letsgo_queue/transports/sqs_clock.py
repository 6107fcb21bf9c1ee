"""Tells when a server gave an answer: an answer that was held up is older than it seems.

SQS counts a message's visibility timeout from its answer to ReceiveMessage. The answer's `Date` is
that moment on the server's clock, to the second. The answer that took the least time so far tells
how far that clock is from this machine's monotonic one.
"""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

RESOLUTION_SECONDS = 1.0
"""The resolution of a `Date`."""


class ServerClock:
    """Compares the `Date` of a server's answers with the monotonic clock."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._ahead = math.inf

    def answered_at(self, date: str | None, *, asked: float, arrived: float) -> float:
        """When the server gave an answer (on the monotonic clock).

        Args:
            date: The answer's `Date`; None if it has none.
            asked: When the request was made (on the monotonic clock).
            arrived: When the answer arrived.
        """
        try:
            ahead = arrived - parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return arrived
        self._ahead = min(self._ahead, ahead)
        late = max(ahead - self._ahead - RESOLUTION_SECONDS, 0.0)
        # This holds even if the server's clock was set back: an answer is not older than its
        # request.
        return max(arrived - late, asked)
