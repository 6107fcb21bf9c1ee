"""Makes the claim checks of a test with a sandbox: as in production, but with claims in memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from letsgo_queue.settings import url_in_environment

if TYPE_CHECKING:
    from letsgo_queue.testing.surroundings import Surroundings

_IN_MEMORY = {"store": "memory://", "stores": {}, "read_stores": ()}


def claim_check_in(test: Surroundings, given: ClaimCheck | None, queue: str | None) -> ClaimCheck:
    """Return the claim check for a queue's messages, which keeps claims in the test's memory.

    Args:
        test: The surroundings of the test.
        given: The claim check that the code made; None for the one of the environment.
        queue: URL of the queue; None if a message does not say.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    return test.kept((ClaimCheck, given, queue), partial(_make, test, given, queue))


def _make(test: Surroundings, given: ClaimCheck | None, queue: str | None) -> ClaimCheck:
    from claimcheck.stores.memory import MemoryClaimStore

    if given is None:
        settings = ClaimCheckSettings.from_environment().model_copy(update=_IN_MEMORY)
        given = claim_check_for(queue or url_in_environment() or "", settings)
    store = test.kept(MemoryClaimStore, lambda: MemoryClaimStore(clock=test.now))
    return given.kept_in(store)
