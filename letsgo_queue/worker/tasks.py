"""Runs async handlers as tasks of one event loop.

    waiting ──> in ──> the handler, as a task ──> out
                │                                  │
                └── on a few threads beside the loop, if they may wait for something

For example, a message waits while a store opens it, or while it is settled after it failed. A
sealed message takes no slot before it is open, so that a store that does not answer keeps no other
message from its handler.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from letsgo_queue.errors import QueueUnavailable
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts, SideCalls
from letsgo_queue.worker.passage import Passage
from letsgo_queue.worker.processing import Outcome, Processor

if TYPE_CHECKING:
    import asyncio

CallsHandler: TypeAlias = Callable[[], object]
"""Calls the handler of a message, with its arguments."""

_T = TypeVar("_T")

OPENING_THREADS = 16
SETTLING_THREADS = 4


class HandlerTasks:
    """Runs messages as tasks."""

    def __init__(
        self,
        concurrency: int,
        event_loop: EventLoopThread,
        processor: Processor,
        finish: Callable[[IncomingMessage, Outcome], None],
        parts: Parts,
    ) -> None:
        """Start nothing yet.

        Args:
            concurrency: Handlers that run at once.
            event_loop: The loop.
            processor: Handles the messages.
            finish: Called with each message and its outcome, on any thread.
            parts: Starts the threads, and watches them.
        """
        self._concurrency = concurrency
        self._event_loop = event_loop
        self._processor = processor
        self._finish = finish
        # Three pools, so that a store that does not answer holds up nothing else.
        self._openings = SideCalls("open", OPENING_THREADS, parts)
        self._middleware = SideCalls("middleware", OPENING_THREADS, parts)
        self._settlings = SideCalls("settle", SETTLING_THREADS, parts)
        self._waiting: deque[IncomingMessage] = deque()
        self._opened: deque[tuple[IncomingMessage, Passage, CallsHandler]] = deque()
        self._tasks: set[asyncio.Task[BaseException | None]] = set()
        self._running = 0
        self._closed = False
        self._cancelled = threading.Event()

    def add(self, messages: Sequence[IncomingMessage]) -> None:
        """Have messages handled after those that wait already."""
        sealed = [message for message in messages if message.opened_bytes]
        self._waiting.extend(message for message in messages if not message.opened_bytes)
        self._event_loop.call(self._begin)
        for message in sealed:
            passage = self._processor.passage(message)
            self._openings.add(partial(self._enter, message, passage, has_slot=False))

    def close(self, deadline: float) -> None:
        """Begin no more messages, and cancel the handlers that run.

        Args:
            deadline: How long to wait until their claims are back (on the monotonic clock).
        """
        self._closed = True
        self._leave_opened()
        if self._tasks:
            self._event_loop.call(lambda: [task.cancel() for task in self._tasks])
            self._cancelled.wait(max(deadline - time.monotonic(), 0))
            self._openings.wait(deadline)

    def end(self) -> None:
        """End the threads."""
        for calls in (self._openings, self._middleware, self._settlings):
            calls.close()

    def _begin(self) -> None:
        """Fill the slots that are free, on the loop."""
        while self._running < self._concurrency and not self._closed:
            if opened := _next(self._opened):
                self._running += 1
                self._handle(*opened)
            elif message := _next(self._waiting):
                self._running += 1
                passage = self._processor.passage(message)
                step = partial(self._enter, message, passage, has_slot=True)
                if passage.blocks:
                    self._middleware.add(step)
                else:
                    step()
            else:
                return

    def _enter(self, message: IncomingMessage, passage: Passage, *, has_slot: bool) -> None:
        """Go in through the middleware, on the loop or beside it."""
        handler: CallsHandler | None = None
        failure: BaseException | None = None
        try:
            handler = message.context.run(self._processor.enter, message, passage)
        except BaseException as error:  # noqa: BLE001  whatever it is, the message failed for it
            failure = error
        if self._closed:  # and with it the loop, perhaps; the message is given back
            self._leave(message, passage, failure or QueueUnavailable("the worker has ended."))
        elif handler is None:
            self._left(message, passage, failure)
            if has_slot:
                self._event_loop.call(self._free_slot)
        elif not has_slot:
            self._event_loop.call(self._has_opened, message, passage, handler)
        elif passage.blocks:
            self._event_loop.call(self._handle, message, passage, handler)
        else:
            self._handle(message, passage, handler)

    def _has_opened(
        self, message: IncomingMessage, passage: Passage, handler: CallsHandler
    ) -> None:
        self._opened.append((message, passage, handler))
        if self._closed:
            self._leave_opened()
        else:
            self._begin()

    def _leave_opened(self) -> None:
        """Take the messages out again that wait for a slot: they will not get one."""
        while opened := _next(self._opened):
            message, passage, _ = opened
            ended = QueueUnavailable("the worker has ended.")
            self._settlings.add(partial(self._leave, message, passage, ended))

    def _handle(self, message: IncomingMessage, passage: Passage, handler: CallsHandler) -> None:
        """Run the handler, on the loop."""
        import asyncio

        handling = self._processor.call_async(message, handler)
        task = asyncio.get_running_loop().create_task(handling, context=message.context)
        self._tasks.add(task)
        task.add_done_callback(partial(self._handled, message, passage))

    def _handled(
        self, message: IncomingMessage, passage: Passage, task: asyncio.Task[BaseException | None]
    ) -> None:
        import asyncio

        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.result()
        self._left(message, passage, error)
        self._free_slot()
        if self._closed and not self._tasks:
            self._cancelled.set()

    def _free_slot(self) -> None:
        self._running -= 1
        self._begin()

    def _left(
        self, message: IncomingMessage, passage: Passage, error: BaseException | None
    ) -> None:
        """Go out through the middleware, beside the loop if that may wait."""
        leave = partial(self._leave, message, passage, error)
        if message.opened_bytes:
            self._openings.add(leave)
        elif passage.blocks:
            self._middleware.add(leave)
        elif error is not None:
            self._settlings.add(leave)
        else:
            leave()

    def _leave(
        self, message: IncomingMessage, passage: Passage, error: BaseException | None
    ) -> None:
        outcome = message.context.run(self._processor.leave, message, passage, error)
        self._finish(message, outcome)


def _next(waiting: deque[_T]) -> _T | None:
    """Take the first of what waits; another thread may take it too, when the worker ends."""
    try:
        return waiting.popleft()
    except IndexError:
        return None
