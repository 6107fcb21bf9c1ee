"""What the tests of the heartbeat share: a queue, leases, and how they fail."""

from __future__ import annotations

import threading
from collections.abc import Callable

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    QueueUnavailable,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    order,
    receive_one,
)

TIMEOUT = 600
"""Seconds that a message is invisible at first."""


class Extended(MemoryTransport):
    """A queue that notes what it is told, and may refuse it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(visibility_timeout=TIMEOUT, clock=clock)
        self.extensions: list[int] = []
        self.extended: list[str] = []
        self.refuse: Callable[[], None] = lambda: None

    def has_extended(self, count: int) -> bool:
        return len(self.extensions) == count

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        self.refuse()
        super().change_visibility(message, seconds)
        self.extensions.append(seconds)
        self.extended.append(message.message_id)


class Leased:
    """A lease that notes what it is told, and may refuse it."""

    def __init__(self, refuse: Callable[[], None] = lambda: None) -> None:
        self.refuse = refuse
        self.extensions: list[object] = []

    def extend(self, seconds: float) -> None:
        self.refuse()
        self.extensions.append(seconds)

    def settle(self, *, succeeded: bool) -> None: ...

    def give_back(self) -> None: ...


class Slow:
    """An answer that comes when the test says so."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self) -> None:
        self.asked.set()
        assert self.may_answer.wait(DEADLINE_SECONDS)


class RefusesThrice:
    """Does not answer three times."""

    def __init__(self) -> None:
        self.attempts: list[object] = []

    def __call__(self) -> None:
        self.attempts.append(None)
        if len(self.attempts) < 4:
            raise QueueUnavailable("no answer.")


def in_hand(queue: Extended, **options: object) -> IncomingMessage:
    """A message that was just received."""
    Client(queue).enqueue(order(**options))
    return IncomingMessage(receive_one(queue), queue)


def has(values: list[object], count: int) -> bool:
    return len(values) >= count
