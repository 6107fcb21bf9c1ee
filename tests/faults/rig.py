"""A queue, a store and both ends of the queue, all reached through a proxy that fails.

Time passes when a test says so. A worker runs until the queue has nothing visible; then `later`
makes every message visible that a worker still had in hand, and moves the server's clock on, past
the end of every lease. So no test waits for a timeout, and none depends on one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from claimcheck import ClaimCheck, ClaimCheckMiddleware, ClaimStore
from claimcheck.core.cost import Place
from claimcheck.core.life import Purge
from claimcheck.middleware import EnqueueResult
from claimcheck.stores import dynamodb_items, s3_contents, s3_objects
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from letsgo_queue import Client, Delivery, Message, RetryPolicy, Worker
from letsgo_queue.errors import LetsGoError, LetsGoQueueError
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.worker import incoming, loop, processing, receipts
from tests.claimcheck.support import noise
from tests.faults.stores import Rows, make_store, open_place, rows_in
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TYPE = "work"
THREADS = 8
ATTEMPTS = 2
"""Attempts of one call to SQS, DynamoDB or S3, botocore's retry included."""

READ_TIMEOUT_SECONDS = 3
PAUSE_SECONDS = 0.05
"""Before what failed is tried again."""

PART_BYTES = 70_000
TWO_PARTS = 200_000
"""Characters of a payload whose claim has two parts here. In S3 it travels in two pieces."""

ONE_PART = 100_000
"""Characters of a payload whose claim has one part."""

VISIBILITY_SECONDS = 600
RETRY_SECONDS = 900
LATER_SECONDS = 3600.0
MOST_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a handler.

    Attributes:
        digest: What it got.
        receive_count: How often the message had been received.
    """

    digest: str
    receive_count: int


@dataclass(slots=True)
class Sent:
    """What became of messages that were enqueued, by their digests."""

    acknowledged: dict[str, EnqueueResult] = field(default_factory=dict)
    refused: dict[str, LetsGoError] = field(default_factory=dict)


@contextmanager
def impatient(store_retries: int = ATTEMPTS - 1) -> Iterator[None]:
    """Have clients give up soon, and workers try again soon.

    So faults reach our code and not only botocore's. Nothing but the number of tries depends on it.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (dynamodb_items, s3_objects):
            patch.setattr(module, "CONNECT_TIMEOUT_SECONDS", READ_TIMEOUT_SECONDS)
            patch.setattr(module, "READ_TIMEOUT_SECONDS", READ_TIMEOUT_SECONDS)
            patch.setattr(module, "MAX_RETRIES", store_retries)
        patch.setattr(DynamoDBClaimStore, "part_bytes", PART_BYTES)
        patch.setattr(s3_contents, "LARGEST_PUT", PART_BYTES)
        patch.setattr(s3_contents, "PIECE_BYTES", PART_BYTES)
        for module in (incoming, processing, receipts):
            patch.setattr(module, "FIRST_PAUSE_SECONDS", PAUSE_SECONDS)
        patch.setattr(incoming, "LONGEST_PAUSE_SECONDS", 1.0)
        patch.setattr(loop, "MAX_PAUSE_SECONDS", 1.0)
        yield


class Rig:
    """A queue and a store on a server, and both ends of the queue behind the proxy.

    Attributes:
        runs: Every run of the handler.
        succeeded: How often a run for each message came to its end, by digest.
        handle: What the handler does; it may raise.
    """

    def __init__(
        self,
        server: AwsServer,
        proxy: FaultyServer,
        *,
        place: Place = "dynamodb",
        concurrency: int = THREADS,
        purge: Purge = "after",
        once: bool = False,
    ) -> None:
        """Make queue and store.

        Args:
            server: Where they are made.
            proxy: What stands before it.
            place: Where the store keeps claims.
            concurrency: Messages that a worker handles at once.
            purge: When contents are removed.
            once: Whether messages without a claim get a record too.
        """
        self.proxy = proxy
        self._server = server
        self.store_url = make_store(server, place)
        self.queue = server.make_queue(VisibilityTimeout=str(VISIBILITY_SECONDS))
        self.runs: list[Run] = []
        self.succeeded: Counter[str] = Counter()
        self.handle: Callable[[str, Delivery], None] = lambda _payload, _delivery: None
        self._sqs: SQSClient = server.lasting("sqs")
        self._concurrency = concurrency
        self._options: Mapping[str, Any] = {"purge": purge, "once": once}
        self._transport = SqsTransport(
            f"{proxy.url}/{self.queue.split('/', 3)[3]}",
            client=_sqs_client(server.session, proxy.url),
        )
        self._store = self._open_store()
        self.client = Client(
            self._transport, middleware=[ClaimCheckMiddleware(_claim_check(self._store))]
        )

    @property
    def transport(self) -> SqsTransport:
        return self._transport

    def claim_check(self) -> ClaimCheck:
        """The sender's."""
        return _claim_check(self._store)

    def close(self) -> None:
        self._store.close()
        self._transport.close()

    def enqueue(self, count: int, *, size: int = 5000) -> Sent:
        """Enqueue `count` messages, several at once."""
        sent = Sent()

        def one(seed: int) -> None:
            payload = noise(size, seed)
            try:
                result = self.client.enqueue({"type": TYPE, "payload": payload})
            except LetsGoError as error:
                sent.refused[digest_of(payload)] = error
            else:
                sent.acknowledged[digest_of(payload)] = result

        with ThreadPoolExecutor(min(THREADS, count)) as pool:
            list(pool.map(one, range(count)))
        return sent

    def work(self) -> None:
        """Have a fresh worker run until nothing is visible on the queue."""
        store = self._open_store()
        worker = Worker(
            self._transport,
            middleware=[ClaimCheckMiddleware(_claim_check(store), **self._options)],
            concurrency=self._concurrency,
            # What failed comes again when the lease has ended, whether it was released or not.
            retry_policy=RetryPolicy(base=RETRY_SECONDS, cap=RETRY_SECONDS, jitter=0),
        )

        @worker.handler(TYPE)
        def on_work(message: Message[str], incoming: Delivery) -> None:
            digest = digest_of(message.payload)
            self.runs.append(Run(digest, incoming.receive_count))
            self.handle(message.payload, incoming)
            self.succeeded[digest] += 1

        # A queue that refuses the first request ends the worker; the next round has another.
        with suppress(LetsGoQueueError):
            worker.run(burst=True)
        store.close()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Have a worker run beside the block, until nothing is visible and none is in hand."""
        with ThreadPoolExecutor(1, "rig") as thread:
            running = thread.submit(self.work)
            try:
                yield
            finally:
                running.result()

    def later(self) -> None:
        """Have time pass: every visibility timeout and every lease ends."""
        self.proxy.ahead += LATER_SECONDS
        for receipt in self.proxy.receipts:
            with suppress(ClientError):  # the message was acknowledged
                self._sqs.change_message_visibility(
                    QueueUrl=self.queue, ReceiptHandle=receipt, VisibilityTimeout=0
                )

    def work_off(self) -> None:
        """Have workers run until the queue is empty."""
        for _ in range(MOST_ROUNDS):
            self.work()
            if self.on_queue() == 0:
                return
            self.later()
        raise AssertionError(f"{self.on_queue()} messages are left on the queue")

    def on_queue(self) -> int:
        """Messages on the queue, visible or not."""
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self.queue,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )
        return sum(map(int, answer["Attributes"].values()))

    def rows(self) -> Rows:
        """What is in the store."""
        return rows_in(self._server, self.store_url)

    def _open_store(self) -> ClaimStore:
        return open_place(
            self.store_url,
            region=self._server.region,
            endpoint_url=self.proxy.url,
            session=self._server.session,
        )


def digest_of(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()


def _claim_check(store: ClaimStore) -> ClaimCheck:
    return ClaimCheck(store, threshold=1000, inline_limit=2000)


def _sqs_client(session: boto3.session.Session, url: str) -> SQSClient:
    return session.client(
        "sqs",
        endpoint_url=url,
        config=Config(
            connect_timeout=READ_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            max_pool_connections=2 * THREADS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        ),
    )
