"""The clock of a server, learned from its answers.

The clocks of two machines may differ by minutes, and one machine reads the leases of the other. So
both go by the store's clock. Every answer has the server's time in its `Date` header, in whole
seconds: when an answer said second D, the server's clock was between D and D + 1 at some moment
between sending and receiving. A slow answer says less than a quick one, but nothing false. Every
answer narrows the time down further.

Between answers the monotonic clock counts on, so nothing changes when somebody sets this machine's
clock. Where the two clocks of the machine drift apart by more than a second, it was suspended or
its clock was set. Nobody can tell which, so the server's time is unknown until the next answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from letsgo_queue.log import get_logger

logger = get_logger(__name__)

TOLERATED_DOUBT_SECONDS = 3.0
"""How far apart the earliest and the latest time may be. The first answer may be slow, as it waits
for credentials and TLS; the next one is not."""

TOLERATED_DRIFT_SECONDS = 1.0
WARN_OFFSET_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Anchor:
    """How far the clock of the server is from ours, as far as answers told.

    Attributes:
        earliest: The least that the server's clock is ahead of our monotonic one.
        latest: The most.
        wall: How far our wall clock was ahead of our monotonic one.
    """

    earliest: float
    latest: float
    wall: float

    @property
    def offset(self) -> float:
        """The best guess of how far the server's clock is ahead of our monotonic one."""
        return (self.earliest + self.latest) / 2


class ServerClock:
    """Tells the time of a server. Safe to use from several threads."""

    def __init__(
        self,
        server: str,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the time of this machine.

        Args:
            server: Names the server in the log.
            wall: Seconds since 1970, by this machine.
            monotonic: Seconds since some moment, which nobody sets.
        """
        self._server = server
        self._wall = wall
        self._monotonic = monotonic
        self._anchor: _Anchor | None = None  # only ever replaced, never changed
        self._warned = False

    @property
    def known(self) -> bool:
        """Whether answers told the time well, and nobody has set this machine's clock since."""
        anchor = self._anchor
        return (
            anchor is not None
            and anchor.latest - anchor.earliest <= TOLERATED_DOUBT_SECONDS
            and self._holds(anchor)
        )

    def now(self) -> float:
        """Seconds since 1970, by the server's clock as far as it is known."""
        anchor = self._anchor
        if anchor is None:
            return self._wall()
        if self._holds(anchor):
            return self._monotonic() + anchor.offset
        # A machine that was suspended is the likely case. Its wall clock is right again.
        return self._wall() + anchor.offset - anchor.wall

    def moment(self) -> float:
        """This moment, as `learn` takes it."""
        return self._monotonic()

    def learn(self, second: float | None, *, sent: float, received: float) -> None:
        """Learn the time from an answer.

        Args:
            second: What its `Date` header says (seconds since 1970); None takes this machine's
                time.
            sent: When the request was sent: a `moment`.
            received: When the answer came: a `moment`.
        """
        wall = self._wall() - self._monotonic()
        anchor = self._anchor
        if second is None:
            if anchor is None or not self._holds(anchor):
                self._anchor = _Anchor(wall, wall, wall)
            return
        earliest, latest = second - received, second + 1 - sent
        if anchor is not None and self._holds(anchor):
            low, high = max(earliest, anchor.earliest), min(latest, anchor.latest)
            if low <= high:  # else the server's clock was set, or drifted
                earliest, latest = low, high
        self._anchor = _Anchor(earliest, latest, wall)
        self._warn_of(self._anchor.offset - wall)

    def _holds(self, anchor: _Anchor) -> bool:
        drift = self._wall() - self._monotonic() - anchor.wall
        return abs(drift) <= TOLERATED_DRIFT_SECONDS

    def _warn_of(self, offset: float) -> None:
        if abs(offset) <= WARN_OFFSET_SECONDS or self._warned:
            return
        self._warned = True
        logger.warning(
            "this machine's clock is %.0f s %s that of %s. Leases go by the store's clock, so no "
            "claim is acquired too early or too late. Set the machine's clock all the same: "
            "expiry and the times in logs go by it, and AWS refuses requests that are minutes off.",
            abs(offset),
            "behind" if offset > 0 else "ahead of",
            self._server,
        )
