"""The event loop that a worker's async handlers share."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class EventLoopThread:
    """An event loop on a thread of its own, started when first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end, raising what it raises. Call from another thread."""
        import asyncio

        stopped = asyncio.run_coroutine_threadsafe(_contained(coroutine), self._started()).result()
        if stopped is not None:
            raise stopped

    def stop(self) -> None:
        """Stop the loop, if it was started."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
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


async def _contained(coroutine: Coroutine[Any, Any, None]) -> SystemExit | KeyboardInterrupt | None:
    """Keep from the event loop what would end it, and all that runs on it."""
    try:
        await coroutine
    except (SystemExit, KeyboardInterrupt) as stopped:
        return stopped
    return None
