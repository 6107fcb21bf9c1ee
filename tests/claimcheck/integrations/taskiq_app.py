"""Tasks, for the tests and for the workers that they start. What they need is in the environment.

The code of the tasks is what anybody would write for taskiq_aio_sqs alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from taskiq import SimpleRetryMiddleware
from taskiq_aio_sqs import SQSBroker

from claimcheck.integrations.taskiq import install
from tests.claimcheck.integrations.steps import note

QUEUE = os.environ["TEST_QUEUE"]

broker = SQSBroker(
    QUEUE,
    region_name=os.environ["AWS_REGION"],
    wait_time_seconds=1,
    max_number_of_messages=10,
    s3_extended_bucket_name=os.environ.get("TEST_BUCKET"),
)
broker.add_middlewares(SimpleRetryMiddleware(default_retry_count=3))
if "TEST_WITHOUT" not in os.environ:
    install(broker)


@broker.task(task_name="take")
async def take(payload: str = "a payload of nobody") -> None:
    note("took", payload)


@broker.task(task_name="flaky")
def flaky(payload: str, marker: str) -> None:
    """Fail twice, on a thread."""
    note("tries", payload)
    with Path(marker).open("a") as file:
        file.write("x")
    if len(Path(marker).read_text()) <= 2:
        raise ConnectionError
    note("succeeds", payload)


@broker.task(task_name="hang")
def hang(payload: str, until: str) -> None:
    note("hangs", payload)
    while not Path(until).exists():
        time.sleep(0.02)
    note("ends", payload)
