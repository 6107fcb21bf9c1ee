"""Starts the threads of a worker, and watches that none ends in silence.

A part that fails is started again. If it fails again and again, or cannot be started, the worker
ends with an error: half alive, it would keep messages that it never handles, acknowledges or
extends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context

from letsgo_queue.errors import WorkerBroken
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

MAX_FAILURES = 5
FAILURES_WITHIN_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.1


class Parts:
    """Starts threads, and watches them. They inherit the context variables of its maker.

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
        self._context = copy_context()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, target: Callable[[], None], *, again: bool = True) -> bool:
        """Run `target` on a thread until it returns.

        Args:
            name: What the thread does.
            target: Its work.
            again: Whether to run it again if it raises; otherwise an error ends the worker.

        Returns:
            Whether the thread has started; if not, the worker ends.
        """
        run = self._run if again else self._run_once
        thread = threading.Thread(
            target=self._context.copy().run,
            args=(run, name, target),
            name=f"letsgo-worker-{name}",
            daemon=True,
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._break(f"its thread {name!r} cannot be started", error)
            return False
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        return True

    def join(self, seconds: float) -> None:
        """Wait for all threads, for `seconds` at most, and name those that still run."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                logger.warning("the thread %s is left behind: it waits for something", thread.name)

    def _run(self, name: str, target: Callable[[], None]) -> None:
        failures: list[float] = []
        while True:
            try:
                return target()
            except BaseException as error:
                now = time.monotonic()
                failures = [at for at in failures if now - at < FAILURES_WITHIN_SECONDS]
                failures.append(now)
                if len(failures) >= MAX_FAILURES:
                    return self._break(f"its thread {name!r} keeps failing", error)
                logger.exception("the worker's thread %r failed, and is started again", name)
                time.sleep(FIRST_PAUSE_SECONDS * 2 ** len(failures))

    def _run_once(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001  as above
            self._break(f"its thread {name!r} failed", error)

    def _break(self, why: str, error: BaseException) -> None:
        if self.broken is None:
            self.broken = WorkerBroken(
                f"the worker cannot go on: {why}: {type(error).__name__}: {error}. Its messages "
                "are given back. Start it again, with fewer threads or more memory."
            )
            self.broken.__cause__ = error
        self._on_broken()


class SideCalls:
    """Makes calls that may wait for something, in order, on a few threads.

    Not a pool of Python's own: those accept nothing more once the main thread has ended, and a
    worker may run on another.
    """

    def __init__(self, name: str, threads: int, parts: Parts) -> None:
        """Make no thread yet.

        Args:
            name: What the threads do.
            threads: How many there may be.
            parts: Starts the threads, and watches them.
        """
        self._name = name
        self._most = threads
        self._parts = parts
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], object]] = deque()
        self._threads = 0
        self._busy = 0
        self._closed = False

    def add(self, call: Callable[[], object]) -> None:
        """Have a thread make a call; what it raises is logged."""
        with self._changed:
            self._waiting.append(call)
            idle = self._threads - self._busy
            if len(self._waiting) > idle and self._threads < self._most:
                self._threads += 1
                self._parts.start(f"{self._name}-{self._threads}", self._run)
            self._changed.notify_all()

    def wait(self, deadline: float) -> None:
        """Wait until all calls are made, until `deadline` (on the monotonic clock) at most."""
        with self._changed:
            while self._waiting or self._busy:
                left = deadline - time.monotonic()
                if left <= 0 or self._parts.broken:
                    return
                self._changed.wait(left)

    def close(self) -> None:
        """Make no more calls, and end the threads."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while call := self._next():
            try:
                call()
            except Exception:
                logger.exception("a call of the worker's thread %r failed", self._name)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            self._busy += 1
            return self._waiting.popleft()
