"""Async handlers: all messages that are begun run as tasks of one event loop.

Steps that may wait for something, such as opening a stored message, run on a few threads beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.processing import Outcome, Processor

if TYPE_CHECKING:
    import asyncio

BLOCKING_THREADS = 8


class HandlerTasks:
    """Runs messages as tasks."""

    def __init__(
        self,
        event_loop: EventLoopThread,
        processor: Processor,
        finish: Callable[[IncomingMessage, Outcome], None],
    ) -> None:
        """Start nothing yet.

        Args:
            event_loop: The loop.
            processor: Handles the messages.
            finish: Called with each message and its outcome.
        """
        self._event_loop = event_loop
        self._processor = processor
        self._finish = finish
        self._threads = ThreadPoolExecutor(BLOCKING_THREADS, "letsgo-worker-blocking")
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, messages: Sequence[IncomingMessage]) -> None:
        """Begin messages, all beside each other."""
        self._event_loop.call(self._begin, messages)

    def cancel(self) -> None:
        """Cancel the handlers that still run: their messages fail."""
        if self._tasks:
            self._event_loop.call(lambda: [task.cancel() for task in self._tasks])

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, messages: Sequence[IncomingMessage]) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        for message in messages:
            task = loop.create_task(self._run(message), context=message.context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, message: IncomingMessage) -> None:
        self._finish(message, await self._processor.run_async(message, self._threads))
