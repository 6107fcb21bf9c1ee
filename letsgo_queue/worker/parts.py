"""The threads of a worker, none of which may end in silence.

A part that fails is started again. One that fails again and again, or that cannot be started at
all, ends the worker with an error that says so: a worker that is half alive would keep messages
that it never handles, acknowledges or extends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from letsgo_queue.errors import WorkerBroken

logger = logging.getLogger(__name__)

MAX_FAILURES = 5
FAILURES_WITHIN_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.1


class Parts:
    """Starts threads, and watches them.

    Attributes:
        broken: Why the worker cannot go on; None while it can.
    """

    def __init__(self, on_broken: Callable[[], None]) -> None:
        """Make no thread yet.

        Args:
            on_broken: Called, on any thread, when the worker cannot go on.
        """
        self.broken: WorkerBroken | None = None
        self._on_broken = on_broken
        self._threads: list[threading.Thread] = []

    def start(self, name: str, target: Callable[[], None]) -> None:
        """Run `target` on a thread until it returns; run it again where it raises."""
        thread = threading.Thread(
            target=self._run, args=(name, target), name=f"letsgo-worker-{name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or no memory for one
            self._break(f"its thread {name!r} cannot be started ({error})", error)
            return
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)

    def join(self, seconds: float) -> list[str]:
        """Wait for all threads, so many seconds at most; the names of those that still run."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return [each.name for each in self._threads if each.is_alive()]

    def _run(self, name: str, target: Callable[[], None]) -> None:
        failures: list[float] = []
        while True:
            try:
                return target()
            except BaseException as error:  # noqa: BLE001  a defect of ours, or a full machine
                now = time.monotonic()
                failures = [at for at in failures if now - at < FAILURES_WITHIN_SECONDS]
                failures.append(now)
                if len(failures) >= MAX_FAILURES or isinstance(error, MemoryError):
                    self._break(f"its thread {name!r} keeps failing", error)
                    return None
                _log(name, error)
                time.sleep(FIRST_PAUSE_SECONDS * 2 ** len(failures))

    def _break(self, why: str, error: BaseException) -> None:
        if self.broken is None:
            self.broken = WorkerBroken(
                f"the worker cannot go on: {why}: {type(error).__name__}. Its messages are given "
                "back. Start it again, with fewer threads or more memory."
            )
            self.broken.__cause__ = error
        self._on_broken()


def _log(name: str, error: BaseException) -> None:
    with suppress(Exception):  # stderr may be closed; the thread must go on
        logger.error("the worker's thread %r failed, and is started again", name, exc_info=error)
