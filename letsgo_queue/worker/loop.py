"""The worker's loop: receives messages, hands them over, and ends when it should.

    receivers ──> in hand: waiting, up to `prefetch` ──> executors ──> acknowledger
                  held: for a claim, a store, a limit        │
                  └───────── the heartbeat keeps all of them invisible

Each request costs, so one receiver asks, and several only while the queue has more than one request
brings. The time that handlers take decides how many messages may wait: none waits behind slow
handlers, and quick handlers never wait for the queue.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from letsgo_queue.errors import LetsGoError, QueueUnavailable
from letsgo_queue.events import QueueFailed
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.log import get_logger
from letsgo_queue.text import shown
from letsgo_queue.transports.base import ReceivedMessage, Transport
from letsgo_queue.worker.acknowledging import Acknowledger
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.executors import Executors
from letsgo_queue.worker.gates import Gates
from letsgo_queue.worker.giving_back import GivingBack
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.incoming import LONGEST_PAUSE_SECONDS, IncomingMessage
from letsgo_queue.worker.lanes import Lanes
from letsgo_queue.worker.options import LoopOptions
from letsgo_queue.worker.pace import Pace
from letsgo_queue.worker.parts import Parts, SideCalls
from letsgo_queue.worker.processing import Held, Outcome, Processor
from letsgo_queue.worker.receipts import Receipts
from letsgo_queue.worker.retries import doubled
from letsgo_queue.worker.signals import WATCH_SECONDS

if TYPE_CHECKING:  # a worker that is not asked for its health does not load what answers
    from letsgo_queue.worker.health import LoopState, RunningHandler

logger = get_logger(__name__)

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
"""The shortest and the longest pause before a queue that did not answer is asked again."""

EMPTY_PAUSE_SECONDS = 0.05
"""The pause before an empty queue is asked again, if the loop is to stop when it is empty, or if
polls do not wait."""

AHEAD_SECONDS = 0.1
"""How soon after its receive a message should be begun."""

MAX_RECEIVERS = 5

TELL_SECONDS = 5.0
"""How often a loop that stops says what it waits for."""

OPEN_POLL_SECONDS = 0.6
"""How long a loop that stops waits for an open poll, once no message is in hand. Polls of other
queues than SQS end sooner."""

BROKEN_SECONDS = 3.0
"""How long a loop that is broken waits for the handlers that run."""

ENDING_SECONDS = 4.0
"""How long a loop that stops waits for claims and acknowledgements in the end."""

CANCELLING_SECONDS = 1.0
"""How long a loop that stops first waits for the async handlers that it cancels."""

STUCK_SECONDS = 1.0
"""How long a message may take to be opened, or settled, before others are received in its place."""

LATE_SECONDS = 60.0
"""How long before SQS's 12 hours end a message that still waits for a limit is given back."""

MAX_LATE_CALLS = 4
"""The most requests at once that give them back."""

LOOK_SECONDS = 1.0
"""How often the loop looks for such messages."""

MAX_HELD = 1_000
"""Messages that may wait for something else than a handler while others are still received."""

MAX_UNACKNOWLEDGED = 100
"""Handled messages that may wait for their acknowledgement while others are still received."""


@dataclass(slots=True, eq=False)
class _Ask:
    """A receiver's request to the queue. Compared by identity: no two are equal.

    Attributes:
        slots: How many messages.
        alone: Whether nothing is in hand, and nobody else asks.
        on_thread: Whether the receiver's thread has it, and ends it.
    """

    slots: int
    alone: bool
    on_thread: bool = False


class WorkLoop:
    """Takes messages from a queue and has them handled, until stopped.

    Attributes:
        queue: URL of the queue.
        options: How it works.
    """

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
        self.queue = transport.url
        self._processor = processor
        self.options = options
        timeout = options.visibility_timeout
        self._visibility_timeout = None if timeout is None else math.ceil(timeout)
        self._stopping = stopping
        self._changed = threading.Condition(threading.RLock())
        self._parts = parts = Parts(self._wake)
        self._heartbeat = Heartbeat(transport, parts)
        self._acknowledger = Acknowledger(transport, self._acknowledged, parts)
        self._receipts = Receipts(self._acknowledger.add, parts)
        self._giving_back = GivingBack(transport, self._heartbeat, parts)
        self._late = SideCalls("late", MAX_LATE_CALLS, parts)
        self._executors = Executors(options.concurrency, processor, event_loop, self._finish, parts)
        self._lanes = Lanes(fifo=transport.fifo)
        self._gates = Gates(max_opened_bytes=options.max_opened_bytes)
        self._pace = Pace()
        # What follows is read and changed under the lock of `_changed`.
        self._in_hand: set[IncomingMessage] = set()
        self._unacknowledged = 0
        self._stuck = 0
        self._held: list[tuple[float, int, IncomingMessage]] = []  # by when they are tried again
        self._numbers = count()
        self._aside: list[tuple[float, Sequence[IncomingMessage]]] = []  # by when they come again
        # One of each receiver.
        self._asks: set[_Ask] = set()
        self._queue_has_more = False
        self._reached = False
        self._failures = 0
        self._error: LetsGoError | None = None
        self._polls_end = 0.0
        self._looked_at = -math.inf
        self._over = False
        self._hurried = False
        self._closed = False
        # What follows is for `state`, which takes no lock.
        self._turned_at = time.monotonic()
        self._polled_at: float | None = None
        self._acknowledged_at: float | None = None

    def run(self) -> None:
        """Take messages until stopped, handle those in hand, and give back what is left.

        Raises:
            WorkerBroken: A part of the worker cannot go on.
            LetsGoQueueError: The queue cannot be used at all; with `until_empty`, it cannot be
                reached.
        """
        try:
            while not self._is_over():
                self._start_receiver()
                self._wait(self._tend())
            self._drain()
        finally:  # at once where a second signal interrupts it
            self._end()
        if error := self._parts.broken or self._error:
            raise error

    def hurry(self) -> None:
        """Make a loop that stops give back at once its messages in hand. Call it on any thread."""
        self._hurried = True
        self._wake()

    @property
    def has_messages(self) -> bool:
        """Whether messages are in hand, or wait for their acknowledgement. It takes no lock."""
        return bool(self._in_hand or self._unacknowledged)

    def state(self) -> LoopState:
        """What the loop does at this moment. It takes no lock, so that it works also when stuck."""
        from letsgo_queue.worker.health import LoopState

        now = time.monotonic()
        in_hand = list(self._in_hand)  # in one step, as threads change it
        running = sorted(
            (each for each in in_hand if each.handler_runs),
            key=lambda message: message.handler_began or now,
        )
        return LoopState(
            queue=self.queue,
            stopping=self._is_over() or self._closed,
            turned=now - self._turned_at,
            last_poll=_seconds_since(self._polled_at, now),
            poll_overdue=max(now - self._polls_end, 0.0) if self._asks else 0.0,
            last_acknowledgement=_seconds_since(self._acknowledged_at, now),
            in_hand=len(in_hand),
            running=len(running),
            longest=_running(running[0]) if running else None,
            over_time=[_running(each) for each in running if each.is_over_time],
        )

    def _tend(self) -> float:
        """Do what is due by now, and return the seconds until something is due again."""
        self._turned_at = time.monotonic()
        due_in = [WATCH_SECONDS]
        with self._changed:
            now = time.monotonic()
            ready = []
            while self._held and self._held[0][0] <= now:
                ready.append(heappop(self._held)[2])
            if self._held:
                due_in.append(self._held[0][0] - now)
            self._take_out_late(now)
            ready = [*self._gates.enter(ready), *self._gates.tend()]
            due_in.append(self._gates.seconds_left())
            stuck_since = now - STUCK_SECONDS
            self._stuck = sum(each.waits_since < stuck_since for each in self._in_hand)
        self._begin(ready)
        return min(*due_in, self._executors.tend(), self._receipts.tend())

    def _take_out_late(self, now: float) -> None:
        """Give back what has waited for a limit for as long as SQS hides a message."""
        if not self._gates.waiting or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for message in self._gates.take_out(_is_late):
            behind = self._lanes.fail(message)
            self._in_hand.difference_update((message, *behind))
            self._late.add(partial(self._giving_back.give_back_late, message, behind))

    # Receiving

    def _start_receiver(self) -> None:
        """Start a receiver, if one more should ask."""
        if ask := self._ask():
            receive = partial(self._receive, ask)
            started = False
            try:
                started = self._parts.start("receive", receive, again=False)
            finally:  # an interrupt may have come instead of the thread, or as it started
                if not started:
                    self._end_ask(ask, where_it_starts=True)

    def _receive(self, first: _Ask) -> None:
        """Ask the queue, and go on as long as one more receiver should ask."""
        ask = self._on_thread(first)
        while ask:
            try:
                received = self._receive_once(ask)
            except BaseException:  # a defect of ours, or no more threads: it ends the worker
                self._end_ask(ask)
                raise
            ask = self._received(ask, received)
            if ask and received:
                self._start_receiver()  # the queue may have more than one receiver brings

    def _on_thread(self, ask: _Ask) -> _Ask | None:
        """Return the request of a receiver once its thread runs; None if the loop has ended."""
        with self._changed:
            ask.on_thread = True
            if not self._closed:
                self._asks.add(ask)  # again, where an interrupt came as the thread started
                return ask
        self._end_ask(ask)
        return None

    def _receive_once(self, ask: _Ask) -> int:
        """Ask the queue once, and return how many messages came."""
        try:
            received = self._transport.receive(
                max_messages=ask.slots,
                wait_seconds=self._wait_seconds,
                visibility_timeout=self._visibility_timeout,
            )
        except Exception as error:  # noqa: BLE001  or a defect of a transport, or a full machine
            self._could_not_receive(error)
            return 0
        self._reached, self._failures = True, 0
        self._polled_at = time.monotonic()
        self._take_in_hand(received)
        if not received and not self.options.until_empty and not self.options.wait_seconds:
            self._wait(EMPTY_PAUSE_SECONDS)
        return len(received)

    @property
    def _wait_seconds(self) -> float:
        if self.options.until_empty:
            return self._transport.seconds_to_prove_empty
        return self.options.wait_seconds

    def _take_in_hand(self, received: Sequence[ReceivedMessage]) -> None:
        messages = [self._processor.accept(self._transport, each) for each in received]
        for message in messages:
            message.opened_bytes = self._processor.opened_bytes(message)
        with self._changed:
            if self._closed:  # too late
                self._aside.append((time.monotonic(), messages))
                return
            self._in_hand.update(messages)
            ready = self._gates.enter(self._lanes.enter(messages))
        self._heartbeat.hold(messages)
        self._begin(ready)

    def _received(self, ask: _Ask, received: int) -> _Ask | None:
        """End a request, and return the next one; None ends this receiver."""
        with self._changed:
            if self.options.until_empty and not received:
                if ask.alone and self._nothing_in_hand():
                    self._over = True
                else:
                    self._changed.wait(EMPTY_PAUSE_SECONDS)
            self._queue_has_more = received == ask.slots
            self._end_ask(ask)
            return self._ask()

    def _end_ask(self, ask: _Ask, *, where_it_starts: bool = False) -> None:
        with self._changed:
            if where_it_starts and ask.on_thread:
                return
            self._asks.discard(ask)
            self._changed.notify_all()
        if self._closed and not self._asks:
            self._give_back_aside()

    def _ask(self) -> _Ask | None:
        """Return the request of one more receiver; None if there should be none."""
        with self._changed:
            slots = 0 if self._is_over() else self._room()
            if not slots:
                return None
            alone = not self._asks and self._nothing_in_hand()
            if alone:
                self._queue_has_more = False  # so that no other receiver asks meanwhile
            self._polls_end = time.monotonic() + self._wait_seconds
            ask = _Ask(slots, alone)
            self._asks.add(ask)
            return ask

    def _room(self) -> int:
        """How many messages one more receiver may ask for."""
        soon = self._pace.begun_in(AHEAD_SECONDS, self.options.concurrency)
        ahead = min(soon, self.options.prefetch)
        waiting = len(self._held) + self._lanes.waiting + self._gates.waiting + self._stuck
        waiting = min(waiting, MAX_HELD)
        unacknowledged = max(self._unacknowledged - MAX_UNACKNOWLEDGED, 0)
        busy = (
            len(self._in_hand) - waiting + unacknowledged + sum(each.slots for each in self._asks)
        )
        free = self.options.concurrency + ahead - busy
        enough = min(max(ahead // 2, 1), MAX_BATCH)
        if self._asks:
            if not self._queue_has_more or len(self._asks) == MAX_RECEIVERS:
                return 0
            enough = MAX_BATCH  # each request costs, so further ones should bring much
        return min(free, MAX_BATCH) if free >= enough else 0

    def _nothing_in_hand(self) -> bool:
        """Whether the loop waits for no message in hand.

        With `until_empty` it does not wait for messages that are held for more than 30 s, nor for
        those in line behind them: a store that is down, or another delivery, may take hours.
        """
        if self._unacknowledged:
            return False
        if not self._in_hand:
            return True
        only_held = len(self._in_hand) == len(self._held) + self._lanes.waiting
        return (
            self.options.until_empty
            and only_held
            and all(due - message.arrived > LONGEST_PAUSE_SECONDS for due, _, message in self._held)
        )

    def _could_not_receive(self, error: Exception) -> None:
        """Wait, longer each time; give up if the queue cannot be used at all."""
        if self._is_over():
            return
        if not isinstance(error, LetsGoError):
            logger.error("the queue %s failed", self._transport.url, exc_info=error)
            failure = QueueUnavailable(f"queue {self._transport.url}: {type(error).__name__}.")
            failure.__cause__ = error
            error = failure
        if self._processor.listeners:
            self._processor.listeners.emit(
                QueueFailed(type=None, queue=self._transport.url, call="receive", error=error)
            )
        with self._changed:
            if self.options.until_empty or not (self._reached or error.retryable):
                self._error = error
                return
            pause = doubled(FIRST_PAUSE_SECONDS, self._failures, MAX_PAUSE_SECONDS)
            self._failures += 1
        logger.warning("%s Trying again in %.0f s.", error, pause)
        until = time.monotonic() + pause
        with self._changed:
            while not self._is_over() and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, WATCH_SECONDS))

    # Handling

    def _begin(self, messages: Sequence[IncomingMessage]) -> None:
        self._executors.begin(messages, quick=self._pace.is_quick)

    def _finish(self, message: IncomingMessage, outcome: Outcome) -> None:
        """Settle a message after a run, or hold it until it is run again."""
        if isinstance(outcome, Held):
            self._hold(message, outcome.seconds)
            return
        unrun: Sequence[IncomingMessage] = ()
        with self._changed:
            if message not in self._in_hand:
                return  # it took too long, and was given back
            self._in_hand.remove(message)
            message.forget()
            ready = [*self._gates.leave(message)]
            if outcome:
                self._unacknowledged += not message.is_gone
                ready += self._gates.enter(self._lanes.leave(message))
            else:
                unrun = self._lanes.fail(message)
                self._in_hand.difference_update(unrun)
            self._pace.note(time.monotonic() - (message.begun or message.arrived))
            self._wake_if_needed()
        if outcome and not message.is_gone:
            (self._receipts if message.unsettled else self._acknowledger).add(message)
        else:
            self._heartbeat.drop(message)
        self._giving_back.give_back(unrun)
        self._begin(ready)

    def _acknowledged(
        self, messages: Sequence[IncomingMessage], errors: Sequence[LetsGoError | None]
    ) -> None:
        """Tell the log and listeners of messages that were acknowledged, or could not be."""
        if not all(errors):
            self._acknowledged_at = time.monotonic()
        for message, error in zip(messages, errors, strict=True):
            self._heartbeat.drop(message)
            try:
                self._processor.acknowledged(message, error)
            except BaseException:  # somebody's listener; the others must go on
                logger.exception(
                    "message %s: a listener failed", message.message_id, extra=message.log_fields
                )
        with self._changed:
            self._unacknowledged -= len(messages)
            self._wake_if_needed()

    def _hold(self, message: IncomingMessage, seconds: float) -> None:
        with self._changed:
            if message not in self._in_hand:
                return  # it took too long, and was given back
            ready = self._gates.leave(message)
            if self._is_over():
                self._set_aside(message, seconds)
            else:
                due = time.monotonic() + seconds
                heappush(self._held, (due, next(self._numbers), message))
            self._changed.notify_all()
        self._begin(ready)

    # Ending

    def _is_over(self) -> bool:
        """Whether no more messages should be taken."""
        failed = self._error is not None or self._parts.broken is not None
        return self._over or self._stopping.is_set() or failed

    def _wait(self, seconds: float) -> None:
        """Wait until something changes, for `seconds` at most."""
        with self._changed:
            if not self._is_over():
                self._changed.wait(seconds)

    def _wake_if_needed(self) -> None:
        """Wake the loop if it has something to do: waking costs, and messages are many."""
        if self._room() or self._gates.waiting or self._is_over():
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _drain(self) -> None:
        """Wait until the messages in hand are handled, and log which are waited for."""
        began = told = time.monotonic()
        broken = self._parts.broken is not None  # so that some messages cannot be handled
        deadline = began + min(self.options.drain_timeout, BROKEN_SECONDS if broken else math.inf)
        poll_deadline = deadline if self._must_wait_for_poll() else began + OPEN_POLL_SECONDS
        self._giving_back.deadline = deadline + ENDING_SECONDS
        with self._changed:
            held, self._held = self._held, []
            for due, _, message in held:
                self._set_aside(message, due - began)
        while True:
            with self._changed:
                # They may wait for hours. The others begin during the drain: each one that is given
                # back uses up a receive.
                for message in self._gates.take_out_rated(deadline - time.monotonic()):
                    self._set_aside(message, 0)
            due_in = self._tend()
            self._give_back_aside()
            with self._changed:
                self._turned_at = now = time.monotonic()
                end = deadline
                if self._nothing_in_hand():
                    end = min(poll_deadline, deadline) if self._asks else now
                if now >= end or self._hurried:
                    return
                self._changed.wait(min(end - now, due_in))
                in_hand = [each.message_id for each in self._in_hand]
            if in_hand and now - told >= TELL_SECONDS:
                told = now
                logger.info(
                    "stopping: waiting for %d messages, up to %.0f s: %s",
                    len(in_hand),
                    deadline - now,
                    in_hand[:MAX_BATCH],
                )

    def _set_aside(self, message: IncomingMessage, seconds: float) -> None:
        """Have a message that waits, and those behind it, given back soon."""
        aside = [message, *self._lanes.fail(message)]
        self._in_hand.difference_update(aside)
        self._aside.append((time.monotonic() + seconds, aside))

    def _give_back_aside(self) -> None:
        """Give back what is set aside, once no poll of our own would receive it again."""
        with self._changed:
            if self._asks and not self._closed:
                return
            aside, self._aside = self._aside, []
            now = time.monotonic()
            poll = max(self._polls_end - now, 0) if self._asks else 0.0
        by_second: dict[int, list[IncomingMessage]] = {}  # so that many share a request
        for due, messages in aside:
            by_second.setdefault(math.ceil(max(due - now, poll, 0)), []).extend(messages)
        for seconds, together in by_second.items():
            self._giving_back.give_back(together, seconds=seconds)

    def _must_wait_for_poll(self) -> bool:
        """Whether a poll that is given up would lose a message: a message gets only one receive."""
        if not self._asks:
            return False
        try:
            return self._transport.max_receives() == 1
        except LetsGoError:
            return False

    def _end(self) -> None:
        """Give back what is left, and end the threads."""
        now = time.monotonic()
        self._giving_back.deadline = deadline = now + ENDING_SECONDS
        with self._changed:
            self._over = self._closed = True
            left, self._in_hand = self._in_hand, set()
        for message in left:
            message.end(wait=0)
        running = {message for message in left if message.begun is not None}
        self._giving_back.report(running)  # before handlers are cancelled: they still run
        self._executors.close(now + CANCELLING_SECONDS)
        self._giving_back.release_claims(running)
        if left:
            self._aside.append((now, sorted(left, key=lambda message: message.arrived)))
        if self._aside:
            self._wait_for_polls()
        self._give_back_aside()
        self._receipts.close()
        self._acknowledger.close(deadline)
        self._late.close()
        self._heartbeat.close()
        self._executors.end()
        if self._asks:
            logger.info(
                "an open poll is given up: a message that it still brings comes again "
                "when its visibility timeout ends"
            )
        elif not running:
            self._parts.join(max(deadline - time.monotonic(), 0))
        self._giving_back.deadline = math.inf

    def _wait_for_polls(self) -> None:
        until = time.monotonic() + OPEN_POLL_SECONDS
        with self._changed:
            while self._asks and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)


def _seconds_since(moment: float | None, now: float) -> float | None:
    return None if moment is None else now - moment


def _is_late(message: IncomingMessage) -> bool:
    if message.is_over:  # it is delivered again
        return True
    return message.invisible_until is not None and message.longest_extension < LATE_SECONDS


def _running(message: IncomingMessage) -> RunningHandler:
    from letsgo_queue.worker.health import RunningHandler

    return RunningHandler(
        message_id=shown(message.message_id),
        type=shown(message.type),
        seconds=message.handler_duration or 0.0,
    )
