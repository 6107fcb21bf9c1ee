"""Records by compare-and-swap: what a store has was written by somebody, and may be anything."""

from __future__ import annotations

import pytest

from claimcheck import ClaimCorrupted
from claimcheck.stores.base import Record
from claimcheck.stores.swapping import _Kept


def test_a_record_that_is_nested_too_deeply_is_damaged() -> None:
    with pytest.raises(ClaimCorrupted):
        _Kept.read(b"[" * 100_000)


@pytest.mark.parametrize("moment", [10**400, float("nan"), float("inf"), -(2.0**60), "1", None])
def test_a_lease_that_ends_at_no_time_is_damaged(moment: object) -> None:
    with pytest.raises(ClaimCorrupted):
        Record.read("leased", moment, now=0)
