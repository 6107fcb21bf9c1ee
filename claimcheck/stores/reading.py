"""Reading from a store that has nothing to gain from beginning early."""

from __future__ import annotations

from collections.abc import Callable

from claimcheck.stores.base import Contents


class LateReading:
    """Contents that are read when somebody waits for them; see `Reading`."""

    def __init__(self, read: Callable[[], Contents | None]) -> None:
        """Keep how to read them."""
        self._read = read

    def result(self) -> Contents | None:
        """Read them; see `Reading.result`."""
        return self._read()

    def cancel(self) -> None:
        """Nothing is under way; see `Reading.cancel`."""
