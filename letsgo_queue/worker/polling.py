"""Receives messages, by long polls, when they can be handled at once or very soon.

    receivers ──> in hand: waiting, up to `prefetch` ──> handlers, up to `concurrency`

How many messages may wait depends on how long handlers take: a message should begin within
`AHEAD_SECONDS`. So nothing waits behind slow handlers, and quick ones never wait for the queue.
While the queue has more than one request brings, several receivers ask at once. When it has less,
only one asks, because each request costs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from letsgo_queue.errors import LetsGoError, QueueUnavailable
from letsgo_queue.transports.base import MAX_BATCH, ReceivedMessage, Transport
from letsgo_queue.worker.delivery import LONGEST_PAUSE_SECONDS, IncomingMessage
from letsgo_queue.worker.processing import Processor
from letsgo_queue.worker.retries import doubled
from letsgo_queue.worker.threads import HandlerThreads

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
"""The shortest and the longest pause before a queue that did not answer is asked again."""

EMPTY_PAUSE_SECONDS = 0.05
"""The pause, while handlers run, before an empty queue is asked again."""

AHEAD_SECONDS = 0.1
"""How soon a message should begin after it was received."""

WATCH_SECONDS = 0.05
"""How often a worker looks whether it should stop, and whether a message waits too long."""

DRAIN_SECONDS = 1.0
"""How long a worker that stops goes on with messages that it received and has not begun."""

MAX_RECEIVERS = 5

MAX_HELD = 1_000
"""How many messages may be held, for a claim or a store, while others are still received."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a receiver asks for.

    Attributes:
        slots: How many messages.
        idle: Whether nothing else is in hand: if the queue is empty then, no handler can have sent
            a message meanwhile.
    """

    slots: int
    idle: bool


class Poller:
    """Receives messages and has them handled, until stopped."""

    def __init__(
        self,
        transport: Transport,
        processor: Processor,
        *,
        concurrency: int,
        prefetch: int,
        wait_seconds: float,
        visibility_timeout: int | None,
        stopping: threading.Event,
    ) -> None:
        """Make a poller.

        Args:
            transport: The queue.
            processor: Handles the messages.
            concurrency: Messages in process at once.
            prefetch: Messages that wait to be begun, at most.
            wait_seconds: Seconds that one long poll waits.
            visibility_timeout: Seconds; None for the queue's own.
            stopping: Set when no more messages should be taken.
        """
        self._transport = transport
        self._processor = processor
        self._concurrency = concurrency
        # From a FIFO queue one message at a time: several could be of one group, and those behind
        # the first would wait for it while their visibility timeouts run out.
        self._prefetch = 0 if transport.fifo else prefetch
        self._most = 1 if transport.fifo else MAX_BATCH
        self._wait_seconds = wait_seconds
        self._visibility_timeout = visibility_timeout
        self._stopping = stopping
        self._until_empty = False
        self._changed = threading.Condition()
        self._in_hand = 0  # with what receivers ask for
        self._receiving = 0
        self._has_more = False
        self._emptied = False
        self._ended = False
        self._handlers = HandlerThreads(
            concurrency,
            processor.run,
            handled=self._handled,
            held=self._held,
            share=self._prefetch > 0,
        )
        self._too_late: list[IncomingMessage] = []
        self._reached = False
        self._failures = 0
        self._error: BaseException | None = None

    def run(self, *, until_empty: bool) -> None:
        """Take messages until stopped, and wait for those in process.

        Args:
            until_empty: Also stop once the queue has nothing more to receive.

        Raises:
            LetsGoQueueError: The queue cannot be used at all.
        """
        self._until_empty = until_empty
        try:
            while ask := self._wait_for_room():
                self._start_receiver(ask)
            self._wait_for_receivers()
            self._handlers.drain(DRAIN_SECONDS)
        finally:  # also after a second signal, wherever it is raised
            self._ended = True
            # What is given back while a receiver asks would come to it again, and use up receives.
            self._wait_for_receivers()
            self._give_back((0.0, message) for message in self._too_late)
            self._give_back(self._handlers.close())
            self._give_back(self._handlers.join())
        if self._error is not None:
            raise self._error

    def _wait_for_room(self) -> _Ask | None:
        """Wait until one more receiver should ask, and say what for; None at the end."""
        with self._changed:
            while not (ask := self._next_ask()) and not self._is_over():
                # A signal may stop the worker, and its handler must take no lock to say so.
                self._changed.wait(WATCH_SECONDS)
                self._handlers.help()
            return ask

    def _start_receiver(self, ask: _Ask) -> None:
        # Whoever takes it from here answers for it: an interruption does not tell whether the
        # thread has begun.
        left = [ask]

        def take() -> _Ask | None:
            with suppress(IndexError):
                return left.pop()
            return None

        # No pool: the interpreter would wait for its threads before it exits.
        thread = threading.Thread(
            target=lambda: self._receive(take()), name="letsgo-worker-receive", daemon=True
        )
        try:
            thread.start()
        except BaseException:
            if (unasked := take()) is not None:
                self._asked(unasked, 0)
            raise

    def _wait_for_receivers(self) -> None:
        with self._changed:
            while self._receiving:
                self._changed.wait(WATCH_SECONDS)
                self._handlers.help()

    def _next_ask(self) -> _Ask | None:
        """What one more receiver should ask for; None if there should be none."""
        slots = 0 if self._is_over() else self._room()
        if not slots:
            return None
        ask = _Ask(slots, idle=self._is_idle())
        self._in_hand += slots
        self._receiving += 1
        return ask

    def _is_idle(self) -> bool:
        """Whether no message is in hand that `until_empty` waits for.

        It does not wait for the lease of another delivery, which may last for hours.
        """
        if not self._until_empty or self._in_hand > self._handlers.held:
            return self._in_hand == 0
        return self._in_hand == self._handlers.held_longer_than(LONGEST_PAUSE_SECONDS)

    def _is_over(self) -> bool:
        stopped = self._stopping.is_set() or self._ended
        return stopped or self._emptied or self._error is not None

    def _room(self) -> int:
        """How many messages one more receiver may ask for."""
        ahead = self._ahead()
        held = min(self._handlers.held, MAX_HELD)
        free = self._concurrency + ahead - (self._in_hand - held)
        if self._receiving:
            enough = self._most
            if not self._has_more or self._receiving == MAX_RECEIVERS or self._most == 1:
                return 0
        else:
            # Half of what may wait is left meanwhile: requests for few cost as much as for many.
            enough = min(max(ahead // 2, 1), self._most)
        return min(free, self._most) if free >= enough else 0

    def _ahead(self) -> int:
        """How many messages may wait, if handlers take as long as they did so far."""
        if self._handlers.seconds_each is None:
            return 0
        soon = self._concurrency * AHEAD_SECONDS / max(self._handlers.seconds_each, 1e-6)
        return min(int(soon), self._prefetch)

    def _receive(self, ask: _Ask | None) -> None:
        """Receive, and go on while one more receiver should ask."""
        while ask:
            in_hand = 0
            try:
                in_hand = self._receive_once(ask)
            except BaseException as error:  # noqa: BLE001  raised by `run`
                self._error = error
            ask = self._asked(ask, in_hand)

    def _receive_once(self, ask: _Ask) -> int:
        """Ask the queue, and hand on what it has; how many messages are in hand now."""
        messages = self._ask(ask.slots)
        accepted = [self._processor.accept(self._transport, each) for each in messages]
        if self._ended or (self._stopping.is_set() and not self._ahead()):
            self._too_late += accepted  # slow work is not begun any more
            return 0
        self._handlers.add(accepted)
        if self._until_empty and not messages and not ask.idle:
            self._stopping.wait(EMPTY_PAUSE_SECONDS)
        return len(messages)

    def _asked(self, ask: _Ask, received: int) -> _Ask | None:
        """A request is over; what to ask for next."""
        with self._changed:
            self._in_hand -= ask.slots - received
            self._receiving -= 1
            self._has_more = received == ask.slots
            self._emptied |= self._until_empty and ask.idle and not received
            after = self._next_ask()
            self._tell()
            return after

    def _ask(self, slots: int) -> Sequence[ReceivedMessage]:
        if self._stopping.is_set():
            return []
        try:
            messages = self._transport.receive(
                max_messages=slots,
                wait_seconds=self._wait_seconds,
                visibility_timeout=self._visibility_timeout,
            )
        except QueueUnavailable as error:
            if not (self._reached or error.retryable):
                raise
            pause = doubled(FIRST_PAUSE_SECONDS, self._failures, MAX_PAUSE_SECONDS)
            self._failures += 1
            logger.warning("%s Trying again in %.0f s.", error, pause)
            self._stopping.wait(pause)
            return []
        self._reached, self._failures = True, 0
        return messages

    def _handled(self) -> None:
        with self._changed:
            self._in_hand -= 1
            self._tell()

    def _held(self) -> None:
        with self._changed:
            self._tell()

    def _tell(self) -> None:
        """Wake `run` if it has something to do: waking costs, and messages are many."""
        if self._room() or self._is_over():
            self._changed.notify_all()

    def _give_back(self, messages: Iterable[tuple[float, IncomingMessage]]) -> None:
        """Have messages that were not handled delivered again, each in so many seconds."""
        for seconds, message in messages:
            try:
                self._processor.give_back(message, seconds=seconds)
            except LetsGoError as error:
                logger.warning("message %s comes again later: %s", message.message_id, error)
            except Exception:  # a defect of a transport; the others must be given back too
                logger.exception("message %s comes again later", message.message_id)
