"""The threads that handlers run on. A thread wakes only when there is work for it.

    in hand, in order of arrival ──> threads, up to `concurrency`; each takes the next itself

While handlers are slow, each message has a thread at once. Quick handlers share a thread, if it is
done with all of them within `STINT_SECONDS`: to wake another costs more than a quick handler does,
and threads wait for each other's turn at the interpreter. How long handlers took so far decides. If
one turns out slower, `help`, which the poller calls again and again, has other threads take what
waits behind it.

A message that cannot be opened yet is held, on no thread, until `help` has it tried again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count

from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.processing import Hold

logger = logging.getLogger(__name__)

STINT_SECONDS = 0.01
"""How much work is worth a thread."""

HELP_SECONDS = 0.01
"""How long a message waits behind others before `help` wakes a thread for it."""

_LATEST_SHARE = 0.2
"""How much the latest message counts in the average duration."""

_MOST_TIMES = 10
"""How many averages it counts at most. One message that waited for the interpreter or the machine
says little about its handler; ten that are slow say enough."""


class HandlerThreads:
    """Threads that handle messages, and how long those take."""

    def __init__(
        self,
        concurrency: int,
        run: Callable[[IncomingMessage], bool | Hold],
        *,
        handled: Callable[[], None],
        held: Callable[[], None],
        share: bool = True,
    ) -> None:
        """Make them; a thread is started when it is first needed.

        Args:
            concurrency: Threads at most.
            run: Handles a message, or says how long to hold it.
            handled: Called after each message, on its thread.
            held: Called after each message that has to wait, on its thread.
            share: Whether quick handlers share a thread.
        """
        self._concurrency = concurrency
        self._handle = run
        self._tell_handled = handled
        self._tell_held = held
        self._share = share
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, IncomingMessage]] = deque()
        self._held: list[tuple[float, int, IncomingMessage]] = []  # by when they are tried again
        self._numbers = count()
        self._threads: list[threading.Thread] = []
        self._idle = 0  # one that is woken is busy at once
        self._busy_since: dict[int, float] = {}
        self._closed = False
        self.seconds_each: float | None = None
        """How long messages take on average, the latest counting most; None before the first."""

    def add(self, messages: Sequence[IncomingMessage]) -> None:
        """Have messages handled after those that wait already."""
        now = time.monotonic()
        with self._changed:
            self._waiting.extend((now, each) for each in messages)
            seconds = math.inf if self.seconds_each is None else self.seconds_each
            if not self._share or seconds >= STINT_SECONDS:
                self._wake(len(self._waiting))
            elif self._waiting:
                slow = sum(now - since >= STINT_SECONDS for since in self._busy_since.values())
                coming_back = len(self._threads) - self._idle - slow
                wanted = math.ceil(len(self._waiting) * seconds / STINT_SECONDS)
                self._wake(max(wanted, 1) - coming_back)

    @property
    def held(self) -> int:
        """How many messages wait until they are tried again."""
        return len(self._held)

    def held_longer_than(self, seconds: float) -> int:
        """How many messages wait for more than so many seconds."""
        with self._changed:
            due = time.monotonic() + seconds
            return sum(each[0] > due for each in self._held)

    def help(self) -> bool:
        """Wake threads for what has waited too long; whether any message waits to begin."""
        with self._changed:
            now = time.monotonic()
            while self._held and self._held[0][0] <= now:
                self._waiting.append((now - HELP_SECONDS, heappop(self._held)[2]))
                self._wake(1)
            if not self._waiting:
                return False
            arrived, _ = self._waiting[0]
            if time.monotonic() - arrived > HELP_SECONDS:
                self._wake(len(self._waiting))
            return True

    def drain(self, seconds: float) -> None:
        """Wait until no message waits to begin, so many seconds at most."""
        deadline = time.monotonic() + seconds
        while self.help() and time.monotonic() < deadline:
            time.sleep(HELP_SECONDS)

    def close(self) -> Sequence[tuple[float, IncomingMessage]]:
        """Begin nothing more.

        Returns:
            The messages that were not begun, each with the seconds that it should still wait.
        """
        with self._changed:
            self._closed = True
            waiting = [(0.0, message) for _, message in self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        return [*waiting, *self._let_go()]

    def join(self) -> Sequence[tuple[float, IncomingMessage]]:
        """After `close`: wait for the handlers that run.

        Returns:
            As `close`: the messages that could not be opened yet.
        """
        for thread in self._threads:
            thread.join()
        return self._let_go()

    def _let_go(self) -> Sequence[tuple[float, IncomingMessage]]:
        """Hold nothing any more."""
        with self._changed:
            now = time.monotonic()
            held = [(max(due - now, 0.0), message) for due, _, message in self._held]
            self._held.clear()
        return held

    def _wake(self, count: int) -> None:
        """Wake so many threads, and start more as far as there may be more."""
        woken = min(max(count, 0), self._idle)
        self._idle -= woken
        self._changed.notify(woken)
        for _ in range(min(count - woken, self._concurrency - len(self._threads))):
            name = f"letsgo-worker-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while message := self._next():
            started = time.monotonic()
            try:
                outcome = self._handle(message)
            except BaseException:  # a listener's, or a defect; it must not end the thread
                logger.exception("message %s is left to its queue", message.message_id)
                outcome = False
            if isinstance(outcome, Hold):
                self._hold(message, outcome.seconds)
                self._tell_held()
            else:
                self._note(time.monotonic() - started)
                self._tell_handled()
            del message, outcome  # and with them the body, which may be large

    def _hold(self, message: IncomingMessage, seconds: float) -> None:
        with self._changed:
            due = time.monotonic() + seconds
            heappush(self._held, (due, next(self._numbers), message))

    def _note(self, seconds: float) -> None:
        before = seconds if self.seconds_each is None else self.seconds_each
        seconds = min(seconds, _MOST_TIMES * max(before, 1e-6))
        self.seconds_each = before + _LATEST_SHARE * (seconds - before)

    def _next(self) -> IncomingMessage | None:
        """The next message, as soon as there is one; None at the end."""
        with self._changed:
            thread = threading.get_ident()
            self._busy_since.pop(thread, None)
            while not self._waiting:
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
            _, message = self._waiting.popleft()
            self._busy_since[thread] = time.monotonic()
            return message
