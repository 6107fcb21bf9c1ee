"""The event loop that a worker's async handlers share."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class EventLoopThread:
    """An event loop on a thread of its own, started when first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, outcome: Awaitable[None]) -> None:
        """Await what an async handler returned, raising what it raises. Call on another thread."""
        import asyncio

        stopped = asyncio.run_coroutine_threadsafe(_contained(outcome), self._started()).result()
        if stopped is not None:
            raise stopped

    def stop(self) -> None:
        """Stop the loop, if it was started; what still runs on it is cancelled."""
        import asyncio

        with self._lock:
            if self._loop is not None and self._thread is not None:
                asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()
                self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="letsgo-worker-asyncio", daemon=True
                )
                self._thread.start()
            return self._loop


async def _cancel_others() -> None:
    import asyncio

    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _contained(outcome: Awaitable[None]) -> SystemExit | KeyboardInterrupt | None:
    """Keep from the event loop what would end it, and all that runs on it."""
    try:
        await outcome
    except (SystemExit, KeyboardInterrupt) as stopped:
        return stopped
    return None
