"""Actors, for the tests and for the workers that they start. What they need is in the environment.

The code of the actors is what anybody would write for dramatiq_sqs alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import dramatiq
from dramatiq_sqs import SQSBroker

from claimcheck.integrations.dramatiq import install
from tests.claimcheck.integrations.steps import note

broker = install(
    SQSBroker(
        namespace=os.environ["TEST_NAMESPACE"],
        dead_letter=True,
        visibility_timeout=int(os.environ["TEST_VISIBILITY_TIMEOUT"]),
        region_name=os.environ["AWS_REGION"],
    )
)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="tasks")
def take(payload: str) -> None:
    note("took", payload)


@dramatiq.actor(queue_name="tasks", min_backoff=1_000, max_backoff=1_000, max_retries=3)
def flaky(payload: str, marker: str) -> None:
    """Fail twice."""
    note("tries", payload)
    with Path(marker).open("a") as file:
        file.write("x")
    if len(Path(marker).read_text()) <= 2:
        raise ConnectionError
    note("succeeds", payload)


@dramatiq.actor(queue_name="tasks", max_retries=0)
def refuse(payload: str, unless: str) -> None:
    """Fail until there is a file."""
    note("refuses", payload)
    if not Path(unless).exists():
        raise ValueError
    note("relents", payload)


@dramatiq.actor(queue_name="tasks", max_retries=0, time_limit=200)
def outlast(payload: str, unless: str) -> None:
    """Run for longer than it may, until there is a file."""
    note("begins", payload)
    while not Path(unless).exists():
        time.sleep(0.01)
    note("relents", payload)


@dramatiq.actor(queue_name="tasks")
def grow(by: str, payload: str) -> str:
    note("grows", payload)
    return payload + by


@dramatiq.actor(queue_name="killed")
def hang(payload: str, until: str) -> None:
    note("hangs", payload)
    while not Path(until).exists():
        time.sleep(0.02)
    note("ends", payload)
