"""Killed at each step of a message's life: nothing is lost, and nothing is left for good.

`make faults` runs every step on every backend. Here SQS and DynamoDB have those at which they
differ from SQLite, and one each of before the send, during the handler and after the purge.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.backends import AwsBackend, SqliteBackend
from tests.faults.steps import STEPS, Step, observe
from tests.faults.wire import Call, Kill
from tests.support.servers import AwsServer

ALIKE = [Kill(moment="before", call=call) for call in (Call.SEND, Call.HANDLE, Call.ACKNOWLEDGE)]


def cases(steps: list[Step]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("step", steps, ids=[step.when for step in steps])


@cases([step for step in STEPS if step.sqlite is not None])
def test_on_sqlite(step: Step, tmp_path: Path) -> None:
    assert step.sqlite is not None
    assert observe(step, SqliteBackend(tmp_path), tmp_path).problems(step.sqlite) == []


@cases([step for step in STEPS if step.sqlite != step.ministack or step.kill in ALIKE])
def test_on_sqs_and_dynamodb(step: Step, ministack: AwsServer, tmp_path: Path) -> None:
    assert observe(step, AwsBackend(ministack), tmp_path).problems(step.ministack) == []
