"""A store that is opened when it is first used.

Small messages need no store, and loading that of DynamoDB takes a Lambda a good part of its start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from claimcheck.stores.base import ClaimStore


class LazyClaimStore:
    """Stands for a store, and opens it when something is asked of it."""

    def __init__(self, open_store: Callable[[], ClaimStore]) -> None:
        """Keep how to open the store.

        Args:
            open_store: Called once.
        """
        self._open_store = open_store
        self._opening = threading.Lock()
        self._opened: ClaimStore | None = None

    def __getattr__(self, name: str) -> object:
        """What the store has under that name."""
        return getattr(self._store(), name)

    def _store(self) -> ClaimStore:
        with self._opening:
            if self._opened is None:
                self._opened = self._open_store()
            return self._opened
