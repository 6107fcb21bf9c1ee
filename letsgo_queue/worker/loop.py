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
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from letsgo_queue.errors import LetsGoError
from letsgo_queue.transports.base import MAX_BATCH, ReceivedMessage, Transport
from letsgo_queue.worker.acknowledging import Acknowledger
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.lanes import Lanes
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.processing import Hold, Outcome, Processor
from letsgo_queue.worker.tasks import HandlerTasks
from letsgo_queue.worker.threads import HELP_SECONDS, HandlerThreads

logger = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts to reach a queue that does not answer."""

AHEAD_SECONDS = 0.1
"""How soon a message that is received should be begun."""

MAX_RECEIVERS = 5

WATCH_SECONDS = 1.0
"""How often a loop looks whether it should stop, where nobody wakes it."""

TELL_SECONDS = 5.0
"""How often a loop that stops says what it waits for."""

OPEN_POLL_SECONDS = 0.5
"""How long a loop that stops waits for an open long poll, where it waits for nothing else."""

ENDING_SECONDS = 5.0
"""How long a loop that stops waits for acknowledgements, and for its threads."""

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


class Pace:
    """How many messages were handled lately. Its user has a lock."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._now = 0
        self._before = 0

    def count(self, handled: int = 1) -> None:
        """So many more were handled."""
        self._turn()
        self._now += handled

    def handled_lately(self) -> int:
        """How many were handled in the last `AHEAD_SECONDS`, or in those before."""
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        passed = time.monotonic() - self._since
        if passed >= AHEAD_SECONDS:
            self._before = self._now if passed < 2 * AHEAD_SECONDS else 0
            self._now = 0
            self._since += passed


class WorkLoop:
    """Takes messages from a queue and has them handled, until stopped."""

    def __init__(
        self,
        transport: Transport,
        processor: Processor,
        options: LoopOptions,
        *,
        event_loop: EventLoopThread,
        stopping: threading.Event,
    ) -> None:
        """Make a loop; no thread is started yet.

        Args:
            transport: The queue.
            processor: Handles the messages.
            options: How to work.
            event_loop: Runs async handlers.
            stopping: Set when no more messages should be taken.
        """
        self._transport = transport
        self._processor = processor
        self._options = options
        self._stopping = stopping
        self._changed = threading.Condition(threading.RLock())
        self._parts = Parts(self._wake)
        self._heartbeat = Heartbeat(transport, self._parts)
        self._acknowledger = Acknowledger(transport, processor.acknowledged, self._parts)
        self._threads = HandlerThreads(options.concurrency, self._run, self._parts)
        self._tasks = HandlerTasks(event_loop, processor, self._finish)
        self._lanes = Lanes(fifo=transport.fifo)
        self._pace = Pace()
        self._held: list[tuple[float, int, IncomingMessage]] = []  # by when they are tried again
        self._numbers = count()
        self._in_hand = 0  # with those that receivers ask for
        self._receivers = 0
        self._queue_has_more = False
        self._is_empty = False
        self._error: LetsGoError | None = None
        self._failures = 0

    def run(self) -> None:
        """Take messages until stopped, then end as `_stop` says.

        Raises:
            WorkerBroken: A part of the worker cannot go on.
            LetsGoQueueError: With `until_empty`, the queue cannot be reached.
        """
        try:
            while not self._is_over():
                self._start_receivers()
                self._wait(self._tend())
        finally:
            self._stop()
        if error := self._parts.broken or self._error:
            raise error

    def _tend(self) -> float:
        """Do what time alone brings about; seconds until that is due again."""
        due_in = [WATCH_SECONDS]
        with self._changed:
            now = time.monotonic()
            ready = []
            while self._held and self._held[0][0] <= now:
                ready.append(heappop(self._held)[2])
            if self._held:
                due_in.append(self._held[0][0] - now)
        self._begin(ready)
        if (seconds := self._threads.help()) is not None:
            due_in.append(seconds)
        return min(due_in)

    # Receiving

    def _start_receivers(self) -> None:
        """Start a receiver, if one more should ask."""
        if slots := self._ask():
            self._parts.start("receive", lambda: self._receive(slots))

    def _receive(self, slots: int) -> None:
        """Ask the queue, and go on as long as one more receiver should ask."""
        while slots:
            received: Sequence[ReceivedMessage] = ()
            try:
                received = self._receive_once(slots)
            finally:
                slots = self._received(slots, len(received))

    def _receive_once(self, slots: int) -> Sequence[ReceivedMessage]:
        try:
            received = self._transport.receive(
                max_messages=slots,
                wait_seconds=self._options.wait_seconds,
                visibility_timeout=self._options.visibility_timeout,
            )
        except LetsGoError as error:
            self._could_not_receive(error)
            return ()
        self._failures = 0
        messages = [self._processor.accept(self._transport, each) for each in received]
        self._heartbeat.hold(messages)
        for message in messages:
            self._processor.find_handler(message)
        with self._changed:
            ready = self._lanes.enter(messages)
        self._begin(ready)
        return received

    def _received(self, asked: int, received: int) -> int:
        """A request is over; how many messages to ask for next, 0 to end this receiver."""
        with self._changed:
            idle = self._in_hand == asked
            self._in_hand -= asked - received
            self._receivers -= 1
            self._queue_has_more = received == asked
            # No handler is at work that might still send a message.
            self._is_empty |= self._options.until_empty and idle and not received
            slots = self._ask()
            self._changed.notify_all()
        if slots and received:
            self._start_receivers()  # the queue may have more than one receiver brings
        return slots

    def _ask(self) -> int:
        """How many messages one more receiver should ask for; 0 if there should be none."""
        with self._changed:
            slots = 0 if self._is_over() else self._room()
            if slots:
                self._in_hand += slots
                self._receivers += 1
            return slots

    def _room(self) -> int:
        ahead = min(self._pace.handled_lately(), self._options.prefetch)
        busy = self._in_hand - min(len(self._held), MAX_HELD)
        free = self._options.concurrency + ahead - busy
        enough = min(max(ahead // 2, 1), MAX_BATCH)
        if self._receivers:
            if not self._queue_has_more or self._receivers == MAX_RECEIVERS:
                return 0
            enough = MAX_BATCH  # each request costs, so further ones should bring much
        return min(free, MAX_BATCH) if free >= enough else 0

    def _could_not_receive(self, error: LetsGoError) -> None:
        """Wait, longer each time; with `until_empty`, give up."""
        if self._options.until_empty:
            with self._changed:
                self._error = error
            return
        pause = min(2.0**self._failures, MAX_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 10)
        logger.warning("%s Trying again in %.0f s.", error, pause)
        self._stopping.wait(pause)

    # Handling

    def _begin(self, messages: Sequence[IncomingMessage]) -> None:
        """Hand messages to the executor of their handlers."""
        tasks = [each for each in messages if each.handler and each.handler.is_async]
        if tasks:
            self._tasks.add(tasks)
        if len(tasks) < len(messages):
            self._threads.add(
                [each for each in messages if not (each.handler and each.handler.is_async)]
            )

    def _run(self, message: IncomingMessage) -> None:
        self._finish(message, self._processor.run(message))

    def _finish(self, message: IncomingMessage, outcome: Outcome) -> None:
        """A message was run: settle it, or hold it until it is run again."""
        if isinstance(outcome, Hold):
            with self._changed:
                due = time.monotonic() + outcome.seconds
                heappush(self._held, (due, next(self._numbers), message))
                self._changed.notify()
            return
        self._heartbeat.release(message)
        if outcome:
            self._acknowledger.add(message)
        with self._changed:
            ready = self._lanes.leave(message) if outcome else ()
            unrun = () if outcome else self._lanes.fail(message)
            self._in_hand -= 1 + len(unrun)
            self._pace.count()
            if self._room() or self._is_over():
                self._changed.notify()
        self._give_back(unrun)
        if ready:
            self._begin(ready)

    # Ending

    def _is_over(self) -> bool:
        """Whether no more messages should be taken."""
        failed = self._error is not None or self._parts.broken is not None
        return self._stopping.is_set() or self._is_empty or failed

    def _wait(self, seconds: float) -> None:
        """Wait until something changes, so many seconds at most."""
        with self._changed:
            if not self._is_over():
                # What stops a worker may be a signal, which must not take a lock to say so.
                self._changed.wait(min(seconds, WATCH_SECONDS))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _stop(self) -> None:
        """End in steps, none of which takes longer than its time."""
        self._stopping.set()
        # Those that are held may wait for hours: let others have them.
        self._give_back_held()
        self._drain(time.monotonic() + self._options.drain_timeout)
        for message in (*self._threads.close(), *self._lanes.clear()):
            self._heartbeat.release(message)
            self._give_back([message])
        self._tasks.cancel()
        for message in self._heartbeat.in_hand():
            logger.warning(
                "message %s of type %r is given back: its handler still runs after %.0f s",
                message.message_id,
                message.type,
                message.seconds_in_hand,
            )
            self._heartbeat.release(message)
            for hold in message.holds:
                hold.release()
            self._give_back([message])
        self._acknowledger.close(ENDING_SECONDS)
        self._heartbeat.close()
        self._tasks.close()
        for name in self._parts.join(ENDING_SECONDS):
            logger.warning("%s is left behind: it waits for an answer", name)

    def _drain(self, deadline: float) -> None:
        """Wait until the messages in hand are handled, and tell what is waited for."""
        began = told = time.monotonic()
        while True:
            self._threads.help()
            with self._changed:
                now = time.monotonic()
                only_polls = not self._heartbeat.in_hand() and self._receivers > 0
                # Its answer may bring a message. That one comes again when its visibility timeout
                # ends.
                end = min(deadline, began + OPEN_POLL_SECONDS) if only_polls else deadline
                if not self._in_hand or now >= end:
                    return
                if now - told > TELL_SECONDS:
                    told = now
                    logger.info("stopping: %d messages are still in hand", self._in_hand)
                self._changed.wait(min(end - now, HELP_SECONDS))

    def _give_back_held(self) -> None:
        with self._changed:
            held, self._held = self._held, []
            self._in_hand -= len(held)
        now = time.monotonic()
        for due, _, message in held:
            self._heartbeat.release(message)
            self._give_back([message], seconds=max(due - now, 0))

    def _give_back(self, messages: Sequence[IncomingMessage], *, seconds: float = 0) -> None:
        """Have messages that were not handled delivered again."""
        for message in messages:
            try:
                self._processor.give_back(message, seconds=seconds)
            except LetsGoError as error:
                logger.warning("message %s comes again later: %s", message.message_id, error)
