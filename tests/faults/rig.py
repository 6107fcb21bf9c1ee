"""A queue, a table and a worker, all reached through a proxy that fails, and looked at past it."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from claimcheck import ClaimCheck, ClaimCheckMiddleware, EnqueueResult
from claimcheck.errors import ClaimCheckError
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import Client, Delivery, LetsGoQueueError, Message, Worker
from letsgo_queue.transports.sqs import SqsTransport
from tests.faults.proxy import FaultyProxy
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

OUR_ERRORS = (ClaimCheckError, LetsGoQueueError)

TYPE = "work"
THREADS = 8
VISIBILITY_SECONDS = 2
DEADLINE_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a handler."""

    digest: str
    receive_count: int


@dataclass(slots=True)
class Sent:
    """What became of the messages of a burst, by their digests."""

    acknowledged: dict[str, EnqueueResult] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)


class Rig:
    """A queue and a table on a server, and both ends of a queue behind the proxy."""

    def __init__(
        self,
        server: AwsServer,
        proxy: FaultyProxy,
        *,
        visibility_seconds: int = VISIBILITY_SECONDS,
        attempts: int = 2,
        **options: Any,
    ) -> None:
        """Make them.

        Args:
            server: Where they are made.
            proxy: What stands before it.
            visibility_seconds: The queue's visibility timeout.
            attempts: Attempts of one call to SQS, botocore's retries included.
            options: Those of the claim check.
        """
        assert server.endpoint_url is not None
        self.proxy = proxy
        self.table = server.make_table_name()
        ClaimTable(self.table, region=server.region, endpoint_url=server.endpoint_url).create()
        self.queue = server.make_queue(VisibilityTimeout=str(visibility_seconds))
        self.direct_sqs = server.sqs()
        self._dynamodb = server.dynamodb()
        self.transport = SqsTransport(
            self.queue.replace(server.endpoint_url, proxy.url),
            client=_sqs_client(proxy.url, server.region, attempts),
        )
        self.store = DynamoDBClaimStore(self.table, region=server.region, endpoint_url=proxy.url)
        self.claim_check = ClaimCheck(self.store, threshold=1000, inline_limit=2000, **options)
        self.middleware = ClaimCheckMiddleware(self.claim_check)
        self.client = Client(self.transport, middleware=[self.middleware])
        self.runs: list[Run] = []
        # Asked for once and kept, so that no fault below hides behind it.
        self.transport.max_message_bytes()

    def close(self) -> None:
        self.store.close()
        self.transport.close()

    def enqueue(self, count: int, *, size: int = 5000) -> Sent:
        """Enqueue `count` messages, several at once."""
        sent = Sent()

        def one(seed: int) -> None:
            payload = make_payload(size, seed)
            try:
                result = self.client.enqueue({"type": TYPE, "payload": payload})
            except OUR_ERRORS as error:
                sent.refused[digest_of(payload)] = error
            else:
                assert isinstance(result, EnqueueResult)
                sent.acknowledged[digest_of(payload)] = result

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, range(count)))
        return sent

    @contextmanager
    def working(self, handle: Callable[[str, Delivery], None] | None = None) -> Iterator[Worker]:
        """Run a worker while the block runs; what its handler gets is in `runs`."""
        worker = Worker(
            self.transport, middleware=[self.middleware], concurrency=THREADS, wait_seconds=1
        )

        @worker.handler(TYPE)
        def on_work(message: Message[str], delivery: Delivery) -> None:
            self.runs.append(Run(digest_of(message.payload), delivery.receive_count))
            if handle is not None:
                handle(message.payload, delivery)

        thread = threading.Thread(target=worker.run, name="worker")
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()

    def handled(self) -> Counter[str]:
        """How often each message was handled."""
        return Counter(run.digest for run in self.runs)

    def on_queue(self) -> int:
        """Messages on the queue, visible or not."""
        answer = self.direct_sqs.get_queue_attributes(
            QueueUrl=self.queue,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )
        return sum(map(int, answer["Attributes"].values()))

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the table, by key, without their data."""
        found: dict[str, dict[str, Any]] = {}
        for page in self._dynamodb.get_paginator("scan").paginate(
            TableName=self.table, ConsistentRead=True
        ):
            found |= {str(item["id"]["S"]): dict(item) for item in page["Items"]}
        return found

    def claims(self) -> set[str]:
        """The claims that have a row."""
        return {key.partition("/")[0] for key in self.rows()}


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS:.0f} s until {what}"
        time.sleep(0.05)


def wait_for(seconds: float) -> None:
    """Let so much time pass: for an outage, whose length is what the test is about."""
    time.sleep(seconds)


def make_payload(size: int, seed: int) -> str:
    """Text that compresses to half its size, and no further."""
    return random.Random(seed).randbytes(size // 2).hex()


def digest_of(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()


def _sqs_client(url: str, region: str, attempts: int) -> SQSClient:
    return boto3.session.Session().client(
        "sqs",
        region_name=region,
        endpoint_url=url,
        config=Config(
            connect_timeout=1,
            read_timeout=5,
            max_pool_connections=2 * THREADS,
            retries={"mode": "standard", "total_max_attempts": attempts},
        ),
    )
