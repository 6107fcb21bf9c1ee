"""The options of a worker: of `Worker(...)`, and of `run(...)` in their place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict

from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS, MAX_WAIT_SECONDS
from letsgo_queue.validation import check_number
from letsgo_queue.worker.gates import DEFAULT_MAX_OPENED_BYTES

MAX_PORT = 65_535

DEFAULT_CONCURRENCY = 10
DEFAULT_PREFETCH = 50
DEFAULT_DRAIN_SECONDS = 25.0
"""Under the 30 seconds that ECS and Kubernetes give a process to end."""


class RunOptions(TypedDict, total=False):
    """Replaces a worker's own options for one run; None leaves them."""

    prefetch: int | None
    visibility_timeout: Duration | None
    wait_seconds: Duration | None
    drain_timeout: Duration | None
    max_opened_bytes: int | None


_DURATIONS = ("visibility_timeout", "wait_seconds", "drain_timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How a worker's loop works; see `Worker`.

    Attributes:
        concurrency: Messages in process at once.
        prefetch: The most messages that wait to begin.
        wait_seconds: Seconds that one long poll waits.
        visibility_timeout: Seconds, which the queue gets rounded up; None for the queue's own.
        drain_timeout: Seconds that running handlers get when the loop stops; 12 hours at most.
        max_opened_bytes: Bytes of opened bodies at once.
        until_empty: Whether to stop when the queue is empty.
    """

    concurrency: int = DEFAULT_CONCURRENCY
    prefetch: int = DEFAULT_PREFETCH
    wait_seconds: float = MAX_WAIT_SECONDS
    visibility_timeout: float | None = None
    drain_timeout: float = DEFAULT_DRAIN_SECONDS
    max_opened_bytes: int = DEFAULT_MAX_OPENED_BYTES
    until_empty: bool = False

    def __post_init__(self) -> None:
        """Refuse a number that is out of range."""
        check_range("concurrency", self.concurrency, 1, None)
        check_range("prefetch", self.prefetch, 0, None)
        check_range("wait_seconds", self.wait_seconds, 0, MAX_WAIT_SECONDS, whole=False)
        longest = MAX_VISIBILITY_SECONDS  # SQS hides no message in hand for longer
        check_range("drain_timeout", self.drain_timeout, 0, longest, whole=False)
        check_range("max_opened_bytes", self.max_opened_bytes, 1, None)
        if self.visibility_timeout is not None:
            check_range("visibility_timeout", self.visibility_timeout, 1, longest, whole=False)

    def but(self, *, concurrency: int | None, until_empty: bool, given: RunOptions) -> Self:
        """Return these options, with the given ones in place of theirs.

        Raises:
            SettingsInvalid: A number is out of range.
        """
        changes: dict[str, Any] = {**given, "concurrency": concurrency}
        changes = {name: value for name, value in changes.items() if value is not None}
        for name in changes.keys() & _DURATIONS:
            changes[name] = seconds_in(changes[name], name, SettingsInvalid)
        return replace(self, until_empty=until_empty, **changes)


def check_range(
    name: str, value: float, lowest: float, highest: float | None, *, whole: bool = True
) -> None:
    """Refuse a number that is out of range.

    Raises:
        SettingsInvalid: It is out of range, not a number, or not whole though `whole`.
    """
    check_number(name, value, whole=whole)
    if not lowest <= value <= (math.inf if highest is None else highest):
        allowed = f"at least {lowest}" if highest is None else f"{lowest} to {highest:,}"
        raise SettingsInvalid(f"{name}={value:.15g}: a worker takes {allowed}.")
