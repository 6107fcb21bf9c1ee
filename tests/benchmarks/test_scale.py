"""The library under AWS's limits: nothing is lost, and no handler runs twice."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3.session
import pytest

from claimcheck import ClaimCheck, ClaimCheckMiddleware, ClaimStoreError, open_store
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import Client, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.benchmarks.scale.limits import Limits
from tests.benchmarks.scale.throttle import Throttle
from tests.support.servers import AwsServer

MESSAGES = int(os.environ.get("SCALE_MESSAGES", "30"))
"""`make scale` sends more."""

SENDERS = 8
STORED_BYTES = 300_000


@pytest.fixture
def table(ministack: AwsServer) -> str:
    name = ministack.make_table_name()
    ClaimTable(name, region=ministack.region, endpoint_url=ministack.endpoint_url).create()
    return name


@pytest.fixture(params=["dynamodb", pytest.param("bucket", marks=pytest.mark.long), "s3"])
def throttled(
    request: pytest.FixtureRequest, ministack: AwsServer, table: str
) -> Iterator[tuple[ClaimCheck, Throttle]]:
    """A claim check whose store refuses what is over the limits of AWS.

    Those of a new table are AWS's own: these messages write 8,800 units, and it takes 4,000 a
    second. A bucket takes a hundredth of what AWS's takes, or still less where it has fewer
    requests.
    """
    bucket = "" if request.param == "dynamodb" else ministack.make_bucket()
    url = {
        "dynamodb": f"dynamodb://{table}",
        "bucket": f"dynamodb://{table}?bucket={bucket}",
        "s3": f"s3://{bucket}",
    }[request.param]
    session = boto3.session.Session()
    share = {"dynamodb": 1, "bucket": 0.004, "s3": 0.01}[request.param]
    throttle = Throttle(session, Limits.of(partitions=4, prefixes=1, share=share), first_gap=1 / 60)
    store = open_store(url, region=ministack.region, session=session)
    yield ClaimCheck(store, inline_limit=1_000, threshold=500), throttle
    store.close()


def test_a_store_that_throttles_loses_nothing(throttled: tuple[ClaimCheck, Throttle]) -> None:
    claim_check, throttle = throttled
    queue = MemoryTransport()
    middleware = ClaimCheckMiddleware(claim_check)
    client = Client(queue, middleware=[middleware])
    worker = Worker(client=client, concurrency=SENDERS)
    handled = Counter[int]()
    lock = threading.Lock()

    @worker.handler("report:new")
    def on_report(message: dict[str, str]) -> None:
        with lock:
            handled[int(message["payload"][:3])] += 1

    def send(number: int) -> None:
        noise = random.Random(number).randbytes(STORED_BYTES).hex()
        while True:
            try:
                result = client.enqueue({"type": "report:new", "payload": f"{number:03}{noise}"})
            except ClaimStoreError as error:
                assert error.retryable  # noqa: PT017  whoever sends tries again
            else:
                assert result.route == "stored"
                return

    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(send, range(MESSAGES)))
    # A burst leaves a message on the queue that was refused for half a minute.
    while len(handled) < MESSAGES:
        worker.run(burst=True)
        time.sleep(0.1)  # no loop of bursts on an empty queue

    assert throttle.refused > 0
    assert handled == dict.fromkeys(range(MESSAGES), 1)
