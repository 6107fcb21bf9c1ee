"""Killed at each step of a message's life: nothing is lost, and nothing but receipts is left.

`make faults` kills at every step on every backend. Here is every step on DynamoDB; `make long` adds
those of a plain stored message on SQLite, and what SQLite and S3 do in their own way: S3 once with
contents there and once with records.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.backends import Backend, BackendName
from tests.faults.steps import STEPS, Step, observe
from tests.support.calls import Call

OF_CONTENTS = {Call.WRITE_PART, Call.REMOVE_PART}
OF_RECORDS = {Call.ACQUIRE, Call.HAND_OVER, Call.EXTEND, Call.COMPLETE, Call.RELEASE}


def cells() -> Iterator[tuple[BackendName, Step]]:
    for step in STEPS:
        if step.on_sqlite or (step.purge == "after" and not step.once):
            yield "sqlite", step
        yield "ministack", step
        if step.once or not step.is_on("s3"):
            continue
        if step.in_s3 or step.kill.call in OF_CONTENTS:
            yield "bucket", step
        if step.kill.call in OF_RECORDS:
            yield "s3", step


@pytest.mark.parametrize(
    ("backend", "step"),
    [
        pytest.param(
            *(name, step),
            id=f"{name}: {step.name}",
            marks=[] if name == "ministack" else pytest.mark.long,
        )
        for name, step in cells()
    ],
    indirect=["backend"],
)
def test_killed(backend: Backend, step: Step, tmp_path: Path) -> None:
    observation = observe(step, backend, tmp_path)

    assert observation.problems(step.expected(backend.name)) == []
