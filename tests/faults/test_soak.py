"""The soak run in short: forty messages, and processes killed at random moments.

`make soak` has contents in DynamoDB too, and records in S3.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.backends import AwsBackend, Backend, SqliteBackend
from tests.faults.soak import OPTIONS, Plan, soak
from tests.support.servers import AwsServer

SHORT = Plan(messages=40, kill_every=(0.4, 1.2), kills_producer=True)


def test_on_sqlite(tmp_path: Path) -> None:
    check(SqliteBackend(tmp_path, **OPTIONS), tmp_path)


@pytest.mark.long
def test_on_sqs(ministack: AwsServer, tmp_path: Path) -> None:
    check(AwsBackend(ministack, "bucket", **OPTIONS), tmp_path)


def check(backend: Backend, folder: Path) -> None:
    outcome = soak(SHORT, backend, folder)

    assert outcome.problems() == [], outcome.report()
    assert outcome.handled == outcome.enqueued == SHORT.messages
    assert outcome.routes.keys() == {"inline", "compressed", "stored"}
    assert outcome.kills > 0
