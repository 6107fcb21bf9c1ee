"""Time, CPU time and memory of this process, and the median and quartiles of several runs."""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_FORGET_THE_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work cost this process.

    Attributes:
        wall: Seconds.
        cpu: Seconds of CPU of all threads, in user and system mode.
    """

    wall: float
    cpu: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Do some work, and return its cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


@dataclass(frozen=True, slots=True)
class Spread:
    """Several runs of the same work.

    Attributes:
        median: The value in the middle.
        low: The first quartile.
        high: The third quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of values."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours as a multiple of theirs: of the medians, with the quartiles of the pairs."""
    pairs = Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
    median = statistics.median(ours) / statistics.median(theirs)
    return Spread(median, min(pairs.low, median), max(pairs.high, median))


def peak_bytes() -> int:
    """The most memory that this process has had."""
    if _STATUS.exists():
        # Not ru_maxrss: a child inherits that from its parent.
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def extra_peak_bytes(work: Callable[[], object]) -> int:
    """Do some work, and return how much more memory it needed at its peak. Linux only."""
    gc.collect()
    # Otherwise the work could use free memory that malloc keeps, and nobody would see it.
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR_REFS.write_text(_FORGET_THE_PEAK)
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(value) * 1024
