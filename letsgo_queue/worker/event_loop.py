"""The event loop that a worker's async handlers share."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

from letsgo_queue.forking import Lock, PerProcess
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

STOP_SECONDS = 2.0
"""How long a loop that stops waits for the tasks that it cancels."""


class EventLoopThread:
    """An event loop on a thread of its own, started when a handler first needs it.

    asyncio is loaded then: a worker whose handlers are all sync does without.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._running = PerProcess(_Running)

    def run(self, outcome: Awaitable[object]) -> None:
        """Await what an async handler returned, and raise what it raises.

        Call it on another thread; the handler has the context variables of that thread.
        """
        import asyncio

        with self._lock:  # nothing is added to a loop that stops
            loop = self._running.get().loop
            ended = asyncio.run_coroutine_threadsafe(contained(outcome), loop)
        error = ended.result()
        if error is not None:
            raise error

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop call a function soon."""
        with self._lock:
            self._running.get().loop.call_soon_threadsafe(function, *arguments)

    def stop(self) -> None:
        """Cancel what still runs, close the loop, and end its thread.

        A task that will not be cancelled is left behind, with its thread.
        """
        with self._lock:
            if running := self._running.take():
                running.stop()


class _Running:
    """A loop, and the thread that it runs on."""

    def __init__(self) -> None:
        import asyncio

        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = self._runner.get_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="letsgo-worker-asyncio", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._runner.close()
            raise

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            logger.warning("the event loop is left behind: a handler does not end")

    def _run(self) -> None:
        with self._runner:
            while not self._stopping.is_set():
                try:
                    self._runner.run(self._stopping.wait())
                except BaseException:
                    # A task that a handler started, and did not await: asyncio ends the loop for
                    # SystemExit and KeyboardInterrupt.
                    logger.exception("a task of an async handler tried to end the worker")


async def contained(outcome: Awaitable[object]) -> BaseException | None:
    """Await a handler, and return what it raises: SystemExit would end the loop, and all on it.

    Returned, it reaches the handler's message as it is.
    """
    try:
        await outcome
    except BaseException as error:  # noqa: BLE001  raised by `run`
        return error
    return None
