"""The queues and the clock that clients, workers and claim checks use in one test."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.forking import Lock
from letsgo_queue.testing.outbox import Outbox, Recorder
from letsgo_queue.testing.queues import QueueInTest, queue_like

ValueT = TypeVar("ValueT")


class Surroundings:
    """The queues of one test, its clock, and other objects made for it.

    Attributes:
        outbox: All that was enqueued.
        recorder: Middleware that puts it there.
    """

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.recorder = Recorder(self.outbox)
        self._now = float(math.floor(time.time()))
        self._queues: dict[str | None, QueueInTest] = {}
        self._kept: dict[Hashable, object] = {}
        self._lock = Lock()

    def now(self) -> float:
        """Seconds since 1970. Only `advance` moves it."""
        return self._now

    def advance(self, seconds: Duration) -> None:
        """Let time pass.

        Raises:
            SettingsInvalid: It is below 0, endless, or no duration.
        """
        passed = seconds_in(seconds, "advance", SettingsInvalid)
        if not 0 <= passed < math.inf:
            raise SettingsInvalid(f"advance={passed:.15g}: give 0 seconds or more.")
        self._now += passed

    def queue(self, url: str | None) -> QueueInTest:
        """The queue that stands for another one.

        Args:
            url: URL of the other queue; None for code that names none.

        Raises:
            SettingsInvalid: The URL names no queue.
        """
        with self._lock:
            try:
                known = self._queues.get(url)
            except TypeError:  # a list, or the like
                known = None
            if known is None:
                known = queue_like(url, clock=self.now)
                self._queues[url] = known
            return known

    def alias(self, url: str, queue: QueueInTest) -> None:
        """Have another URL name a queue too."""
        with self._lock:
            self._queues[url] = queue

    def kept(self, key: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """A value of this test, made when it is first asked for.

        Args:
            key: Names it.
            make: Makes it.
        """
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            return cast("ValueT", self._kept[key])
