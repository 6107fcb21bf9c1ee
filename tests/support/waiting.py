"""How tests wait: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_SECONDS = 60.0
_PAUSES = (0.01, 0.2)
"""The shortest and the longest time between two looks, in seconds."""


def wait_for(condition: Callable[[], _T], what: str, *, seconds: float = _SECONDS) -> _T:
    """Wait until `condition` gives something true, and return that.

    It looks less often the longer it waits: what takes long needs the cores more than this does.
    """
    shortest, longest = _PAUSES
    # Not `monotonic`, which some tests put ahead.
    begun = time.perf_counter()
    while not (value := condition()):
        waited = time.perf_counter() - begun
        assert waited < seconds, f"waited {seconds:.0f} s for {what}"
        # A tenth of the wait so far: no wait is much longer than it must be.
        time.sleep(min(max(waited / 10, shortest), longest))
    return value
