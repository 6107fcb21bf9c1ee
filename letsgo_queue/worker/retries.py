"""How long a message whose handler failed waits for its next delivery, and how often it gets one.

Without a policy the queue decides: the message comes again when its visibility timeout ends, and
the queue's redrive policy says how often.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS
from letsgo_queue.validation import check_number

_MAX_DOUBLINGS = 40
"""Far beyond any pause; a float can be doubled a thousand times, and then it overflows."""


def doubled(seconds: float, times: int, longest: float) -> float:
    """A pause that doubles so many times, up to the longest."""
    return min(seconds * 2.0 ** min(times, _MAX_DOUBLINGS), longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter: the delay doubles with each delivery, up to a cap.

        Worker(retry_policy=RetryPolicy(base=5, max_attempts=8))

    Attributes:
        base: Seconds before the second delivery, or a timedelta.
        cap: The longest delay in seconds, up to 43,200 (SQS's longest visibility timeout), or a
            timedelta.
        jitter: What share of a delay is random, 0 to 1: so many messages that failed together do
            not come again together.
        max_attempts: Deliveries after which a message that fails goes to the dead-letter queue;
            None leaves that to the queue. At least 1, and below the maximum receives of the
            queue's redrive policy, which would come first.
    """

    base: Duration = 30.0
    cap: Duration = 900.0
    jitter: float = 0.5
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            SettingsInvalid: A number is out of range.
        """
        if not 0 <= self._base <= self._cap <= MAX_VISIBILITY_SECONDS:
            raise SettingsInvalid(
                f"base={self._base:.15g}, cap={self._cap:.15g}: a retry policy takes 0 <= base <= "
                f"cap <= {MAX_VISIBILITY_SECONDS:,} seconds."
            )
        check_number("jitter", self.jitter, whole=False)
        if not 0 <= self.jitter <= 1:
            raise SettingsInvalid(f"jitter={self.jitter}: a retry policy takes a share, 0 to 1.")
        check_number("max_attempts", 1 if self.max_attempts is None else self.max_attempts)
        if self.max_attempts is not None and self.max_attempts < 1:
            raise SettingsInvalid(
                f"max_attempts={self.max_attempts}: a retry policy takes 1 or more, or None."
            )

    def delay(self, attempt: int, *, chance: Callable[[], float] = random.random) -> int:
        """Seconds to wait after a delivery that failed, rounded up.

        Args:
            attempt: Which delivery it was, from 1.
            chance: Gives a number from 0 to 1.
        """
        longest = doubled(self._base, max(attempt - 1, 0), self._cap)
        return math.ceil(longest * (1 - self.jitter * chance()))

    @property
    def _base(self) -> float:
        return seconds_in(self.base, "base", SettingsInvalid)

    @property
    def _cap(self) -> float:
        return seconds_in(self.cap, "cap", SettingsInvalid)

    def is_last(self, attempt: int) -> bool:
        """Whether a message that fails in this delivery gets no other."""
        return self.max_attempts is not None and attempt >= self.max_attempts
