"""A short fuzz run; `make fuzz` is the long one."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz import run_batch


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_nothing_but_results_and_errors_of_our_own(seed: int) -> None:
    assert run_batch(seed, 1_000) > 900
