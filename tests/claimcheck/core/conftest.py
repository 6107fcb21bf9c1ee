"""Fixtures of the claim's life."""

from __future__ import annotations

import pytest

from claimcheck import ClaimCheck
from tests.claimcheck.core.lives import BODY
from tests.claimcheck.places import Place
from tests.claimcheck.support import small_claim_check


@pytest.fixture
def check(place: Place) -> ClaimCheck:
    return small_claim_check(place.store)


@pytest.fixture
def several_parts(place: Place) -> None:
    """Skips where contents are one part, which is there or is not."""
    if place.store.part_bytes is None:
        pytest.skip("contents of any size are one object")


@pytest.fixture
def sealed(check: ClaimCheck) -> str:
    """A stored message, as it is on the queue."""
    return check.seal(BODY).body.decode()
