"""The queues and the clock of a running test; `letsgo_queue.testing` makes them.

Clients, workers and claim checks ask here for each message, and use the test's queues in place of
their own. So a test leaves nothing behind in their own queues.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from letsgo_queue.testing.surroundings import Surroundings


class _Current:
    surroundings: Surroundings | None = None


def surroundings() -> Surroundings | None:
    """Return the surroundings of the running test; None outside of tests."""
    return _Current.surroundings


def set_surroundings(surroundings: Surroundings | None) -> None:
    """Make everything in this process use these surroundings; None ends that."""
    _Current.surroundings = surroundings


def now(clock: Callable[[], float]) -> float:
    """Return the seconds since 1970, by the running test's clock, else by the given clock."""
    return clock() if _Current.surroundings is None else _Current.surroundings.now()
