"""The worker's loop: receives messages, hands them over, and ends when it should.

    receivers ──> in hand: waiting, up to `prefetch` ──> executors ──> acknowledger
                  held: for a claim, a store, a limit        │
                  └───────── the heartbeat keeps all of them invisible

Several receivers ask at once while the queue has more than one request brings, else a single one,
since each request costs. How many messages may wait follows from how many were handled in the last
`AHEAD_SECONDS`: behind slow handlers none waits, and quick ones never wait for the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from letsgo_queue.errors import LetsGoError, QueueNotFound
from letsgo_queue.transports.base import MAX_BATCH, ReceivedMessage, Transport
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.lanes import Lanes
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.processing import Hold, Outcome

logger = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts to reach a queue that does not answer."""

AHEAD_SECONDS = 0.1
"""How soon a message that is received should be begun."""

MAX_RECEIVERS = 5

MAX_HELD = 1_000
"""Messages that may be held while others are still received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How a loop works.

    Attributes:
        concurrency: Messages in process at once.
        prefetch: Messages that wait to be begun, at most.
        wait_seconds: Seconds that one long poll waits.
        visibility_timeout: Seconds; None for the queue's own.
        drain_timeout: Seconds that running handlers get when the loop stops.
        until_empty: Whether to stop when the queue is empty.
    """

    concurrency: int
    prefetch: int
    wait_seconds: float
    visibility_timeout: int | None
    drain_timeout: float
    until_empty: bool = False


class Executor(Protocol):
    """Runs messages."""

    def add(self, messages: Sequence[IncomingMessage]) -> None:
        """Have messages handled soon."""
        ...

    def close(self) -> Sequence[IncomingMessage]:
        """Begin no more messages; those that were not begun."""
        ...
