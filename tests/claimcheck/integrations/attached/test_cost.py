"""What an attached client costs where it has nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest

from claimcheck import ClaimCheck
from claimcheck.integrations.boto3 import attach
from letsgo_queue import events
from tests.claimcheck.integrations.attached.messages import SMALL
from tests.claimcheck.integrations.attached.refusals import always_answer
from tests.conftest import REGION

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MOST_CALLS = 22
"""Calls of Python functions for a small message, botocore's own around ours included: 2 us of CPU,
and 5 to 10 where the processor's caches are cold. They are counted since times are noise."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[SQSClient]:
    """A client whose server always has the same answer; nobody listens, not even the size audit."""
    monkeypatch.setattr(events._process, "listeners", ())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    client = boto3.client("sqs", region_name=REGION)
    always_answer(client, "SendMessage", {"MessageId": "m"})
    yield client
    client.close()


def calls_of(client: SQSClient) -> int:
    """How many Python functions a send of a small message calls."""
    count = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    for send_for_good in (False, True):  # the first makes what the others find
        before = sys.getprofile()
        sys.setprofile(note if send_for_good else before)
        try:
            client.send_message(QueueUrl="https://sqs/1/queue", MessageBody=SMALL)
        finally:
            sys.setprofile(before)
    return count


def test_a_small_message_costs_a_few_calls(client: SQSClient, check: ClaimCheck) -> None:
    before = calls_of(client)
    assert 0 < calls_of(attach(client, check)) - before <= MOST_CALLS
