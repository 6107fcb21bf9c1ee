"""Samples queues while the console runs: how many messages wait, and how many came and went.

Each queue has a thread of its own, so that a slow one holds up no other, and no page waits for any.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from letsgo_queue.admin import QueueAdmin, QueueStatus
from letsgo_queue.admin.watch import Minute, QueueWatch, Traffic
from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

SAMPLE_SECONDS = 2.0
"""How many seconds lie between two samples of a queue in a file."""

AWS_SAMPLE_SECONDS = 10.0
"""The same for SQS: each request costs, and its numbers are up to a minute old."""

TRAFFIC_SECONDS = 60.0
"""The same for CloudWatch, which counts by the minute."""

MINUTES = 60
FIRST_SAMPLE_SECONDS = 2.0
"""How long a page waits for the first sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The numbers of a queue at one moment.

    Attributes:
        at: The moment, in UTC.
        status: How many messages it had; None if it could not be asked.
        traffic: Its age and traffic.
        error: Why it could not be asked.
    """

    at: datetime
    status: QueueStatus | None = None
    traffic: Traffic = field(default_factory=Traffic)
    error: str | None = None

    @property
    def oldest_seconds(self) -> float | None:
        """The age of the oldest message in seconds; None if there is none, or nobody knows."""
        sent_at = self.traffic.oldest_sent_at
        return None if sent_at is None else max((self.at - sent_at).total_seconds(), 0.0)


class Sampler:
    """Samples one queue.

    Attributes:
        admin: Counts its messages.
        watch: Tells of its traffic.
    """

    def __init__(
        self,
        admin: QueueAdmin,
        watch: QueueWatch,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare to take samples.

        Args:
            admin: Counts the queue's messages.
            watch: Tells of its traffic.
            clock: The time, in UTC.
        """
        self.admin = admin
        self.watch = watch
        self._clock = clock
        self._in_file = watch.peek_costs is None
        self._changed = threading.Condition()
        self._last: Sample | None = None
        self._totals: deque[tuple[datetime, int, int]] = deque()
        self._traffic = Traffic()
        self._traffic_due: datetime | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="letsgo-console", daemon=True)

    def start(self) -> None:
        """Start taking samples."""
        self._thread.start()

    def stop(self) -> None:
        """Stop taking samples, and release the connections."""
        self._stopping.set()
        self._thread.join(FIRST_SAMPLE_SECONDS)

    def last(self) -> Sample:
        """Return the last sample. Before the first one, wait for it for a moment."""
        with self._changed:
            self._changed.wait_for(lambda: self._last is not None, FIRST_SAMPLE_SECONDS)
            return self._last or Sample(at=self._clock(), error="The queue did not answer yet.")

    def minutes(self) -> Sequence[Minute]:
        """Return the known traffic of each minute of the last hour, oldest first."""
        with self._changed:
            last, totals = self._last, [*self._totals]
        if last is None:
            return ()
        if last.traffic.minutes is not None:
            return last.traffic.minutes
        return _minutes(totals)

    @property
    def counting_since(self) -> datetime | None:
        """When it began to count the traffic itself; None if the queue counts by the minute."""
        with self._changed:
            return self._totals[0][0] if self._totals else None

    def sample(self) -> Sample:
        """Ask the queue once, and keep the answer."""
        now = self._clock()
        try:
            status = self.admin.status()
            taken = Sample(at=now, status=status, traffic=self._ask_traffic(now))
        except LetsGoError as error:
            taken = Sample(at=now, error=str(error))
        with self._changed:
            self._last = taken
            if taken.traffic.sent is not None and taken.traffic.removed is not None:
                self._totals.append((now, taken.traffic.sent, taken.traffic.removed))
                while self._totals[0][0] < now - timedelta(minutes=MINUTES + 1):
                    self._totals.popleft()
            self._changed.notify_all()
        return taken

    def _ask_traffic(self, now: datetime) -> Traffic:
        if self._traffic_due is None or now >= self._traffic_due:
            pause = 0.0 if self._in_file else TRAFFIC_SECONDS
            self._traffic_due = now + timedelta(seconds=pause)
            self._traffic = self.watch.traffic()
        return self._traffic

    def _run(self) -> None:
        pause = SAMPLE_SECONDS if self._in_file else AWS_SAMPLE_SECONDS
        with closing(self.admin), closing(self.watch):
            while True:
                try:
                    self.sample()
                except Exception:  # a defect; the console goes on with the last sample
                    logger.exception("the queue %s was not sampled", self.watch.url)
                if self._stopping.wait(pause):
                    return


def _minutes(totals: Sequence[tuple[datetime, int, int]]) -> Sequence[Minute]:
    """Return the traffic between samples, by the minute of the later sample."""
    by_minute: dict[datetime, list[int]] = {}
    for (_, sent_before, removed_before), (at, sent, removed) in pairwise(totals):
        counts = by_minute.setdefault(at.replace(second=0, microsecond=0), [0, 0])
        counts[0] += max(sent - sent_before, 0)
        counts[1] += max(removed - removed_before, 0)
    return [Minute(at, *counts) for at, counts in sorted(by_minute.items())]
