"""Durations, as callers give them: a number of seconds, or a timedelta."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

Duration: TypeAlias = float | timedelta
"""Seconds, or a timedelta."""


def seconds_in(duration: object, name: str, error: Callable[[str], Exception]) -> float:
    """Return the seconds of a duration. The caller checks their range.

    Args:
        duration: The duration.
        name: Names it, for the error.
        error: The class of the error.

    Raises:
        Exception: An `error`, if the duration is of another type.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise error(
            f"{name} is of type {type(duration).__name__}: give a number of seconds, or a "
            "timedelta."
        )
    try:
        return float(seconds)
    except OverflowError:
        return math.inf if seconds > 0 else -math.inf
