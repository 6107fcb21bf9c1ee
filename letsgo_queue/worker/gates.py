"""Gates: where a message waits for its limits before it begins.

    lanes ──> its handler's concurrency and rate ──> bytes of opened bodies ──> executors

A message over a limit waits in the worker, and messages behind it at that limit wait in order. The
heartbeat keeps them invisible, and they use up no receive. All others pass.
"""

from __future__ import annotations

import math
import re
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.validation import check_number
from letsgo_queue.worker.incoming import IncomingMessage

if TYPE_CHECKING:
    from letsgo_queue.worker.handler import Handler

DEFAULT_MAX_OPENED_BYTES = 256 * 1024 * 1024

MOST_PER_PERIOD = 100_000

_RATE = re.compile(r"([1-9][0-9]*)/(s|min|h)")
_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """How many messages may begin in any period."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `"10/s"`, `"100/min"` or `"1000/h"`.

        Raises:
            SettingsInvalid: It is something else.
        """
        match = _RATE.fullmatch(str(text))
        if match is None or int(match[1]) > MOST_PER_PERIOD:
            raise SettingsInvalid(
                f'rate={text!r}: give "10/s", "100/min" or "1000/h", up to {MOST_PER_PERIOD:,}.'
            )
        return cls(int(match[1]), _PERIODS[match[2]])


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerLimits:
    """The limits of one handler, in each worker process.

    Attributes:
        concurrency: How many of its messages are in process at once; None for as many as the
            worker allows.
        rate: How many begin in a period; None for any number.
        timeout: Seconds that it may run; None for as long as it takes.

    Raises:
        SettingsInvalid: A number is out of range.
    """

    concurrency: int | None = None
    rate: Rate | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.concurrency is not None:
            check_number("concurrency", self.concurrency)
            if self.concurrency < 1:
                raise SettingsInvalid(
                    f"concurrency={self.concurrency}: a handler takes at least 1."
                )
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise SettingsInvalid(f"timeout={self.timeout}: give seconds, more than 0.")


UNLIMITED = HandlerLimits()


class _Room(Protocol):
    """How much room a limit leaves."""

    def take(self, message: IncomingMessage) -> bool:
        """Take room for a message; False if there is not enough."""
        ...

    def give(self, message: IncomingMessage) -> None:
        """Give back the room of a message that has ended."""
        ...

    def seconds_left(self, ahead: int = 0) -> float:
        """Seconds until time alone makes room for the one that has so many others ahead in line.

        They never fall as more are ahead. Infinite if time alone never does.
        """
        ...


class _AtOnce:
    """Room for a number of messages at once."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, _message: IncomingMessage) -> bool:
        if not self._left:
            return False
        self._left -= 1
        return True

    def give(self, _message: IncomingMessage) -> None:
        self._left += 1

    def seconds_left(self, ahead: int = 0) -> float:
        return math.inf


class _PerPeriod:
    """Room for the messages that may begin in a period."""

    def __init__(self, rate: Rate) -> None:
        self._period = rate.seconds
        self._begun: deque[float] = deque([-math.inf] * rate.count, maxlen=rate.count)
        """When the latest ones began, the earliest first."""
        self._in_process: dict[IncomingMessage, float] = {}  # and when each began

    def take(self, message: IncomingMessage) -> bool:
        if self.seconds_left() > 0:
            return False
        self._in_process[message] = now = time.monotonic()
        self._begun.append(now)
        return True

    def give(self, message: IncomingMessage) -> None:
        began = self._in_process.pop(message)
        # A message that was sent on, being early, or that waits for its store, takes no turn.
        if not message.handler_started and began in self._begun:
            self._begun.remove(began)
            self._begun.appendleft(-math.inf)

    def seconds_left(self, ahead: int = 0) -> float:
        # Each turn that is taken is free again a period later.
        periods, turn = divmod(ahead, len(self._begun))
        left = self._begun[turn] + self._period - time.monotonic()
        return max(left, 0) + periods * self._period


class _Bytes:
    """Room for the bytes of opened bodies. A body over the limit takes all the room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._opened = 0

    def take(self, message: IncomingMessage) -> bool:
        if self._opened and self._opened + message.opened_bytes > self._most:
            return False
        self._opened += message.opened_bytes
        return True

    def give(self, message: IncomingMessage) -> None:
        self._opened -= message.opened_bytes

    def seconds_left(self, ahead: int = 0) -> float:
        return math.inf


class _Gate:
    """Lets messages through in order, as soon as there is room."""

    def __init__(self, room: _Room) -> None:
        self.room = room
        self.waiting: deque[IncomingMessage] = deque()

    def enter(self, message: IncomingMessage) -> bool:
        """Let a message through, or put it behind those that wait; return whether it is through."""
        if not self.waiting and self.room.take(message):
            return True
        self.waiting.append(message)
        return False

    def next(self) -> IncomingMessage | None:
        """Let the first waiting message through, if there is room."""
        if self.waiting and self.room.take(self.waiting[0]):
            return self.waiting.popleft()
        return None

    def take_out(self, which: Callable[[IncomingMessage], bool]) -> Sequence[IncomingMessage]:
        """Take out some of those that wait, in order."""
        taken = [each for each in self.waiting if which(each)]
        for message in taken:
            self.waiting.remove(message)
        return taken

    def seconds_left(self) -> float:
        """Seconds until time alone lets a message through."""
        return self.room.seconds_left() if self.waiting else math.inf


class Gates:
    """Says which messages may begin. Not safe to share between threads: its user has a lock.

    Attributes:
        waiting: How many messages may not begin yet.
    """

    def __init__(self, *, max_opened_bytes: int) -> None:
        """Begin with nothing in hand.

        Args:
            max_opened_bytes: Bytes of opened bodies at once. One is always let through.
        """
        self.waiting = 0
        self._bytes = _Gate(_Bytes(max_opened_bytes))
        self._of_handlers: dict[Handler, tuple[_Gate, ...]] = {}
        # By message, since its handler may be another one once it is opened.
        self._passed: dict[IncomingMessage, tuple[_Gate, ...]] = {}

    def enter(self, messages: Sequence[IncomingMessage]) -> Sequence[IncomingMessage]:
        """Take messages in, and return those that may begin now."""
        return [each for each in messages if self._pass(each, self._gates_of(each))]

    def leave(self, message: IncomingMessage) -> Sequence[IncomingMessage]:
        """Take out a message that has ended, or is held, and return those that may begin now."""
        gates = self._passed.pop(message, ())
        for gate in gates:
            gate.room.give(message)
        return self._admit(gates) if self.waiting else ()

    def take_out(self, which: Callable[[IncomingMessage], bool]) -> Sequence[IncomingMessage]:
        """Take out some of those that may not begin yet. `tend` has those that they kept back."""
        return self._take_out((*self._all_of_handlers(), self._bytes), which)

    def take_out_rated(self, seconds: float) -> Sequence[IncomingMessage]:
        """Take out those that the rate of their handler does not let begin in so many seconds."""
        taken: list[IncomingMessage] = []
        for gates in self._of_handlers.values():
            backwards = gates[::-1]  # a rate is the last one
            line = [message for gate in backwards for message in gate.waiting]
            if line and (room := backwards[0].room).seconds_left() < math.inf:
                in_time = bisect_right(range(len(line)), seconds, key=room.seconds_left)
                taken += self._take_out(backwards, set(line[in_time:]).__contains__)
        return taken

    def tend(self) -> Sequence[IncomingMessage]:
        """Return the messages that may begin by now."""
        return self._admit((*self._all_of_handlers(), self._bytes)) if self.waiting else ()

    def seconds_left(self) -> float:
        """Seconds until time alone lets a message begin."""
        if not self.waiting:
            return math.inf
        return min((gate.seconds_left() for gate in self._all_of_handlers()), default=math.inf)

    def _all_of_handlers(self) -> Sequence[_Gate]:
        return [gate for gates in self._of_handlers.values() for gate in gates]

    def _gates_of(self, message: IncomingMessage) -> tuple[_Gate, ...]:
        """The gates that a message has to pass, in order."""
        gates: tuple[_Gate, ...] = ()
        if handler := message.handler:
            if handler not in self._of_handlers:
                self._of_handlers[handler] = _make_gates(handler.limits)
            gates = self._of_handlers[handler]
        return (*gates, self._bytes) if message.opened_bytes else gates

    def _take_out(
        self, gates: Sequence[_Gate], which: Callable[[IncomingMessage], bool]
    ) -> Sequence[IncomingMessage]:
        taken = []
        for gate in gates:
            for message in gate.take_out(which):
                path = self._gates_of(message)
                for passed in path[: path.index(gate)]:
                    passed.room.give(message)
                taken.append(message)
        self.waiting -= len(taken)
        return taken

    def _pass(self, message: IncomingMessage, gates: Sequence[_Gate]) -> bool:
        passes = all(gate.enter(message) for gate in gates)
        if not passes:
            self.waiting += 1
        elif passed := self._gates_of(message):
            self._passed[message] = passed
        return passes

    def _admit(self, gates: Sequence[_Gate]) -> Sequence[IncomingMessage]:
        """Let through those that wait at these gates."""
        ready = []
        for gate in gates:
            while message := gate.next():
                self.waiting -= 1
                ahead = self._gates_of(message)
                if self._pass(message, ahead[ahead.index(gate) + 1 :]):
                    ready.append(message)
        return ready


def _make_gates(limits: HandlerLimits) -> tuple[_Gate, ...]:
    rooms: list[_Room] = []
    if limits.concurrency is not None:
        rooms.append(_AtOnce(limits.concurrency))
    if limits.rate is not None:
        rooms.append(_PerPeriod(limits.rate))
    return tuple(_Gate(room) for room in rooms)
