"""The base of all tests of a store: its fixtures, and the methods that a subclass may add."""

from __future__ import annotations

from typing import Any, cast

import pytest

from claimcheck.stores.base import ClaimStore, Record, State
from claimcheck.testing.clock import Clock

CLOCK_FIXTURE = "store_clock"

_SLACK_SECONDS = 20.0
"""How many seconds a lease may differ in a store whose clock goes on."""


class StoreTests:
    """Tests of a store. A subclass provides the store as the fixture `store`."""

    _slack_seconds = 0.0

    def lose_part(self, store: Any, claim_id: str, number: int) -> None:
        """Remove one part behind the store's back. Tests that need it are skipped without it."""
        pytest.skip("needs `lose_part`, which removes a part behind the store's back")

    @pytest.fixture
    def set_clock(self, request: pytest.FixtureRequest) -> Clock:
        """The clock that the store goes by. Tests that need one are skipped without it."""
        clock = clock_of(request)
        if clock is None:
            pytest.skip(f"needs a `{CLOCK_FIXTURE}` fixture: the clock that the store goes by")
        return clock

    @pytest.fixture(autouse=True)
    def _use_clock(self, request: pytest.FixtureRequest) -> None:
        self._slack_seconds = _SLACK_SECONDS if clock_of(request) is None else 0.0

    def held(self, seconds: float, state: State = "leased") -> Record:
        """A record whose lease ends in so many seconds, approximately if no test sets the clock."""
        left = pytest.approx(seconds, rel=0, abs=self._slack_seconds)
        return Record(state, cast("float", left))

    def skip_in_one_part(self, store: ClaimStore) -> None:
        """Skip a test of several parts if the store keeps contents of any size in one part."""
        if store.part_bytes is None:
            pytest.skip("contents are in one part")


def clock_of(request: pytest.FixtureRequest) -> Clock | None:
    """Return the clock that a test sets; None if the store's clock goes on by itself."""
    try:
        clock: Clock = request.getfixturevalue(CLOCK_FIXTURE)
    except pytest.FixtureLookupError as error:
        if error.argname != CLOCK_FIXTURE:
            raise
        return None
    return clock
