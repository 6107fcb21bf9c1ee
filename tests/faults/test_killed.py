"""Killed at each step of a message's life: nothing is lost, and nothing but receipts is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.backends import Backend
from tests.faults.steps import STEPS, Step, observe


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_killed(step: Step, any_backend: Backend, tmp_path: Path) -> None:
    if any_backend.name == "moto" and step.message != "after":
        pytest.skip("a third server for the other lives only in `make faults`: it takes long")
    observation = observe(step, any_backend, tmp_path)

    assert observation.problems(step.expected(any_backend.name)) == []
