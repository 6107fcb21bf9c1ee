"""What the tests of integrations share: a claim check whose store is in memory."""

from __future__ import annotations

import pytest

from claimcheck import ClaimCheck
from claimcheck.stores.memory import MemoryClaimStore


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return ClaimCheck(store)
