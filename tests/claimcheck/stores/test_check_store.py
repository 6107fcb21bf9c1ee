"""A value that is no store is refused at the place that gives it."""

from __future__ import annotations

from typing import Any

import pytest

from claimcheck import ClaimCheck, SettingsInvalid, open_store
from claimcheck.stores import check_store


def test_a_store_is_given_back() -> None:
    store = open_store("memory://")
    assert check_store(store) is store


@pytest.mark.parametrize("given", ["memory://", object(), None])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(SettingsInvalid, match="give a store"):
        check_store(given)
    with pytest.raises(SettingsInvalid, match="give a store"):
        ClaimCheck(given)
