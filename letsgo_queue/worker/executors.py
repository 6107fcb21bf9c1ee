"""Runs messages that may begin, each on what its handler needs.

    async handlers              tasks of the event loop
    sync handlers               threads
    sync, of a sealed message   threads that open it first, beside those of the handlers: a store
                                that does not answer keeps no other message from its handler

In each of these ways, up to `concurrency` sync handlers run at once, and as many async ones.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence

from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.processing import Outcome, Processor
from letsgo_queue.worker.tasks import HandlerTasks
from letsgo_queue.worker.threads import HandlerThreads, Slots
from letsgo_queue.worker.time_limits import TimeLimits, await_within_limit

MAX_OPENING = 16
"""How many messages may wait to be opened, beside those whose handlers run."""


class Executors:
    """Runs messages, and says what became of each."""

    def __init__(
        self,
        concurrency: int,
        processor: Processor,
        event_loop: EventLoopThread,
        finish: Callable[[IncomingMessage, Outcome], None],
        parts: Parts,
    ) -> None:
        """Start nothing yet.

        Args:
            concurrency: Handlers that run at once.
            processor: Handles the messages.
            event_loop: Runs async handlers.
            finish: Called with each message and its outcome, on any thread.
            parts: Starts the threads, and watches them.
        """
        self._processor = processor
        self._finish = finish
        self._slots = Slots(concurrency)
        self._time_limits = TimeLimits()
        self._event_loop = event_loop
        self._threads = HandlerThreads(concurrency, self._run, parts)
        self._openers = HandlerThreads(
            concurrency + MAX_OPENING, self._open_and_run, parts, name="open-and-handle"
        )
        self._tasks = HandlerTasks(concurrency, event_loop, processor, finish, parts)

    def begin(self, messages: Sequence[IncomingMessage], *, quick: bool) -> None:
        """Have messages handled after those that wait already.

        Args:
            messages: The messages.
            quick: Whether their handlers take no longer than waking a thread does.
        """
        if not messages:
            return
        tasks, sealed, others = [], [], []
        for message in messages:
            if message.opened_bytes:
                message.waits_since = time.monotonic()
            if message.handler and message.handler.is_async:
                tasks.append(message)
            elif message.opened_bytes:
                sealed.append(message)
            else:
                others.append(message)
        if tasks:
            self._tasks.add(tasks)
        if sealed:
            self._openers.add(sealed)
        if others:
            self._threads.add(others, quick=quick)

    def tend(self) -> float:
        """Do what is due by the clock, and return the seconds until more is due."""
        help_in = (self._threads.help(), self._openers.help())
        due_in = [math.inf if seconds is None else seconds for seconds in help_in]
        return min(*due_in, self._time_limits.tend())

    def close(self, deadline: float) -> None:
        """Begin no more messages, and cancel the async handlers that run.

        Args:
            deadline: Until when to wait for their end (on the monotonic clock).
        """
        self._threads.close()
        self._openers.close()
        self._tasks.close(deadline)

    def end(self) -> None:
        """End the threads that tasks have beside the event loop."""
        self._tasks.end()

    def _run(self, message: IncomingMessage) -> None:
        with self._slots:
            outcome = self._processor.run(message, self._call)
        self._finish(message, outcome)

    def _open_and_run(self, message: IncomingMessage) -> None:
        self._finish(message, self._processor.run(message, self._call_in_slot))

    def _call_in_slot(self, message: IncomingMessage, handler: Callable[[], object]) -> None:
        with self._slots:
            self._call(message, handler)

    def _call(self, message: IncomingMessage, handler: Callable[[], object]) -> None:
        result = self._time_limits.call(message, handler)
        if inspect.isawaitable(result):  # of an async handler behind a plain decorator
            self._event_loop.run(await_within_limit(message, lambda: result))
