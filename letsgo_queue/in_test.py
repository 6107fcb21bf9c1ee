"""The queues and the clock of a test that runs, which `letsgo_queue.testing` makes.

Clients, workers and claim checks ask here for each message, and use these in place of their own. So
a test leaves nothing behind in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from letsgo_queue.testing.surroundings import Surroundings


class _Current:
    surroundings: Surroundings | None = None


def surroundings() -> Surroundings | None:
    """The surroundings of the test that runs; None outside of tests."""
    return _Current.surroundings


def set_surroundings(surroundings: Surroundings | None) -> None:
    """Have everything in this process use these; None ends that."""
    _Current.surroundings = surroundings


def now(clock: Callable[[], float]) -> float:
    """Seconds since 1970 by a clock, or by that of the test that runs."""
    return clock() if _Current.surroundings is None else _Current.surroundings.now()
