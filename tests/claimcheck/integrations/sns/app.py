"""A worker on a queue of a topic, for the tests that start it. The environment says which queue."""

from __future__ import annotations

import os
import time
from pathlib import Path

from claimcheck import unwrap_claim_check
from letsgo_queue import Message, RetryPolicy, Worker
from tests.claimcheck.integrations.steps import note

NAME = os.environ["TEST_NAME"]
FOLDER = Path(os.environ["TEST_FOLDER"])

worker = Worker(retry_policy=RetryPolicy(base=1))


@worker.handler("order:new")
@unwrap_claim_check
def take(message: Message[str]) -> None:
    note(f"{NAME} took", message.payload)


@worker.handler("order:flaky")
@unwrap_claim_check
def fail_once(message: Message[str]) -> None:
    """Fail at first, on one of the queues."""
    failed = FOLDER / f"{NAME} failed"
    if NAME == "wrapped" and not failed.exists():
        failed.touch()
        note(f"{NAME} failed", message.payload)
        raise ConnectionError
    note(f"{NAME} took", message.payload)


@worker.handler("order:slow")
@unwrap_claim_check
def wait(message: Message[str]) -> None:
    """Wait for a file."""
    note(f"{NAME} waits", message.payload)
    while not (FOLDER / "go on").exists():
        time.sleep(0.02)
    note(f"{NAME} took", message.payload)
