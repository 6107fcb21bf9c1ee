"""Several processes that do the same work, and the parent that looks after them.

    parent ── forks ──> children, numbered from 0
       └──── a pipe ───────┘   its end tells them to stop; it ends with the parent too

The parent loads the application once for all. It handles no message and makes no client, so little
in it can fail. A child that ends without being told to is started again.

The pipe stops the children, not a signal: a terminal and systemd send them a signal as well, and a
second one would end a worker at once.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from letsgo_queue.errors import SettingsInvalid, WorkerBroken
from letsgo_queue.log import get_logger
from letsgo_queue.worker.retries import doubled
from letsgo_queue.worker.signals import STOP_SIGNALS

logger = get_logger(__name__)

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
"""The shortest and the longest pause before a child that failed is started again."""

STEADY_SECONDS = 60.0
"""After running for so long, a child works: its earlier failures no longer count."""

MAX_FAILURES = 10
"""How often in a row a child may fail. With the pauses that takes three minutes."""

ENDING_SECONDS = 15.0
"""How long a child may take to end, beyond its drain time."""

RECYCLED = 75
"""Exit code of a child that is to be started again at once: EX_TEMPFAIL of sysexits.h."""

FAILED_FOR_GOOD = 78
"""Exit code of a child that would fail again: EX_CONFIG of sysexits.h."""

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """A child, as it knows itself.

    Attributes:
        number: Its number, from 0. A child that is started in its place gets the same.
        pipe: Ends when the child should.
    """

    number: int
    pipe: int

    def when_told_to_stop(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the parent says so, or is gone."""

        def wait() -> None:
            os.read(self.pipe, 1)
            stop()

        threading.Thread(target=wait, name="letsgo-worker-parent", daemon=True).start()


def fork_processes(count: int, *, drain_timeout: float, until_done: bool) -> ChildProcess | None:
    """Fork children, and look after them until all have ended.

    Call it on the main thread. It returns in every process: in a child at once, for it to do its
    work and end; in the parent when all children have ended.

    Args:
        count: How many children.
        drain_timeout: Seconds that a child may work on when it is told to stop.
        until_done: Whether a child that ends with exit code 0 has done its work.

    Returns:
        Which child this is; None in the parent.

    Raises:
        SettingsInvalid: This system cannot fork.
        WorkerBroken: In the parent: a child cannot be run. The others were stopped.
    """
    if not hasattr(os, "fork"):
        raise SettingsInvalid(
            "this system cannot fork, so one command runs one process: start it several times."
        )
    gc.collect()
    gc.freeze()  # the children's collectors would write to, and so copy, all that they share
    return _Parent(count, drain_timeout, until_done=until_done).run()


def cores() -> int:
    """How many cores this process may use, by its affinity and its container's limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with suppress(OSError, ValueError):
        quota, period = _CPU_MAX.read_text().split()
        count = min(count or 1, math.ceil(int(quota) / int(period)))  # "max": ValueError
    return count or 1


@dataclass(slots=True)
class _Place:
    """A child and those that are started in its place.

    Attributes:
        pid: Its process id; None while there is none.
        start_at: When to start the next (on the monotonic clock); None for never.
        started_at: When the last was started.
        failures: How many failed in a row.
    """

    pid: int | None = None
    start_at: float | None = 0.0
    started_at: float = 0.0
    failures: int = 0


class _Parent:
    def __init__(self, count: int, drain_timeout: float, *, until_done: bool) -> None:
        self._places = [_Place() for _ in range(count)]
        self._drain_timeout = drain_timeout
        self._until_done = until_done
        self._pipe, self._tells_to_stop = os.pipe()
        self._kill_at = math.inf
        self._stopping = False
        self._broken: str | None = None

    def run(self) -> ChildProcess | None:
        """See `fork_processes`."""
        with _Signals() as signals:
            while any(each.pid or each.start_at is not None for each in self._places):
                for number, place in enumerate(self._places):
                    due = place.start_at is not None and place.start_at <= time.monotonic()
                    if due and self._fork(number, place, signals):
                        return ChildProcess(number, self._pipe)
                for received in signals.wait(self._next_due()):
                    if received in STOP_SIGNALS:
                        self._on_stop_signal(received)
                self._look_after_children()
        os.close(self._pipe)
        self._stop()
        if self._broken:
            raise WorkerBroken(self._broken)
        return None

    def _next_due(self) -> float:
        """Seconds until something is due, even if no signal comes."""
        dues = [each.start_at for each in self._places if each.start_at is not None]
        due = min((*dues, self._kill_at))
        return max(due - time.monotonic(), 0) if due < math.inf else math.inf

    def _fork(self, number: int, place: _Place, signals: _Signals) -> bool:
        """Start a child, and return whether this process is the child."""
        place.start_at, place.started_at = None, time.monotonic()
        try:
            place.pid = signals.fork()
        except OSError as error:
            self._failed(number, place, f"cannot be started ({error.strerror})")
            return False
        if place.pid == 0:
            os.close(self._tells_to_stop)
            return True
        logger.info("worker process %d started, pid %d", number, place.pid)
        return False

    def _on_stop_signal(self, number: int) -> None:
        if not self._stopping:
            self._stop()
            return
        for pid in self._pids():
            os.kill(pid, signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _stop(self) -> None:
        """Tell the children to stop, and start no more."""
        if self._stopping:
            return
        self._stopping = True
        self._kill_at = time.monotonic() + self._drain_timeout + ENDING_SECONDS
        os.close(self._tells_to_stop)
        for place in self._places:
            place.start_at = None
        if pids := self._pids():
            logger.info("stopping %d worker processes", len(pids))

    def _look_after_children(self) -> None:
        for number, place in enumerate(self._places):
            if place.pid and (ended := os.waitpid(place.pid, os.WNOHANG)) != (0, 0):
                self._ended(number, place, os.waitstatus_to_exitcode(ended[1]))
        if time.monotonic() >= self._kill_at:
            self._kill_at = math.inf
            for pid in self._pids():
                logger.error("worker process with pid %d does not end, and is killed", pid)
                os.kill(pid, signal.SIGKILL)

    def _ended(self, number: int, place: _Place, code: int) -> None:
        """Start another child in place of one that has ended, unless it is done or told to stop."""
        pid, place.pid = place.pid, None
        how = f"(pid {pid}) ended with exit code {code}"
        if code < 0:
            how = f"(pid {pid}) was ended by {_name_of(-code)}"
        if code == FAILED_FOR_GOOD:
            self._broken = (
                f"worker process {number} cannot be run; its error is above. All processes end."
            )
            self._stop()
        elif self._stopping:
            if code not in {0, RECYCLED}:
                logger.warning("worker process %d %s", number, how)
        elif code == RECYCLED:
            place.start_at, place.failures = 0.0, 0
        elif code or not self._until_done:
            self._failed(number, place, how)

    def _failed(self, number: int, place: _Place, how: str) -> None:
        """Start a child again, later each time; give up in the end."""
        now = time.monotonic()
        if now - place.started_at >= STEADY_SECONDS:
            place.failures = 0
        pause = doubled(FIRST_PAUSE_SECONDS, place.failures, MAX_PAUSE_SECONDS)
        place.failures += 1
        if place.failures >= MAX_FAILURES:
            self._broken = (
                f"worker process {number} failed {place.failures} times in a row, the last time it "
                f"{how}. All processes end."
            )
            self._stop()
            return
        place.start_at = now + pause
        logger.warning("worker process %d %s; starting it again in %.0f s", number, how, pause)

    def _pids(self) -> list[int]:
        return [place.pid for place in self._places if place.pid]


def _name_of(number: int) -> str:
    """The name of a signal; a real-time signal may have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Signals:
    """Makes signals something to wait for, so that no work runs inside a signal handler."""

    def __enter__(self) -> Self:
        self._numbers = (*STOP_SIGNALS, signal.SIGCHLD)
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._before = {number: signal.getsignal(number) for number in self._numbers}
        self._wakeup_before = signal.set_wakeup_fd(self._writing.fileno())
        for number in self._numbers:
            signal.signal(number, _do_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def wait(self, seconds: float) -> bytes:
        """Wait for a signal, and return the numbers of those that came; none after the time."""
        ready, _, _ = select.select(
            [self._reading], [], [], None if seconds == math.inf else seconds
        )
        return self._reading.recv(4096) if ready else b""

    def fork(self) -> int:
        """Fork; in the child signals do what they did before."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        try:
            pid = os.fork()
            if pid == 0:
                self._restore()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _restore(self) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            if handler is not None:  # None: not set by Python, which cannot set it again
                signal.signal(number, handler)
        self._reading.close()
        self._writing.close()


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Handle a signal by doing nothing: Python reports only signals that have a handler."""
