"""A deployment in simulated time: senders, a queue, workers, and a store that throttles.

It makes the requests that the library makes, in its order, with its retries and pauses. Their
numbers are the library's own constants; those of botocore's standard retries are written here.
`tests/benchmarks/test_scale.py` shows the library itself under the same limits.

A message is sent when `enqueue` returns. A sender whose `enqueue` raised waits and calls it again,
as long as it takes.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from claimcheck.core.cost import (
    READ_UNIT_BYTES,
    WRITE_UNIT_BYTES,
    Place,
    part_items,
)
from claimcheck.errors import ClaimStoreUnavailable
from claimcheck.stores import dynamodb, s3_objects
from letsgo_queue.worker import receipts
from letsgo_queue.worker.incoming import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from letsgo_queue.worker.retries import doubled
from tests.benchmarks.scale.limits import IN_FLIGHT, Limits
from tests.benchmarks.scale.loop import Loop, Process

TRIES = 1 + s3_objects.MAX_RETRIES
AT_ONCE = 1 + dynamodb.DEFAULT_PARALLELISM

RETRY_TOKENS = 500
TOKENS_PER_RETRY = 5
LONGEST_BACKOFF = 20.0
"""botocore's standard retries: a pause of up to 1, 2, 4, 8 s, at random; a client has tokens for a
hundred retries at once, and gets them back as requests succeed:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"""

DYNAMODB_SECONDS = 0.008
S3_SECONDS = 0.030
SQS_SECONDS = 0.010
HANDLER_SECONDS = 0.5
MESSAGES_PER_PROCESS = 10
"""A second, of each sender and of each worker: each process has clients of its own."""

Kind: TypeAlias = Literal["contents", "record"]
Verb: TypeAlias = Literal["put", "read", "delete"]


@dataclass(slots=True)
class Client:
    """The retries of one process: see `RETRY_TOKENS`."""

    tokens: int = RETRY_TOKENS

    def may_retry(self) -> bool:
        """Take the tokens of a retry, if they are there."""
        if self.tokens < TOKENS_PER_RETRY:
            return False
        self.tokens -= TOKENS_PER_RETRY
        return True

    def succeeded(self, *, retried: bool) -> None:
        """Give tokens back."""
        self.tokens = min(RETRY_TOKENS, self.tokens + (TOKENS_PER_RETRY if retried else 1))


@dataclass(slots=True)
class Seen:
    """What happened.

    Attributes:
        requests: Requests to the store, with those that were refused.
        refused: Requests that were over a limit.
        enqueue_failed: Calls of `enqueue` that raised, after all retries.
        handled: Messages whose handler ran.
        seconds: How long each took, from its first `enqueue` to the end of its handler.
        held: How often a worker held a message, because the store refused.
        no_receipt: Messages whose receipt could not be written.
        left: Contents that were left to expire.
        last_handled: When the last handler ended.
    """

    requests: int = 0
    refused: int = 0
    enqueue_failed: int = 0
    handled: int = 0
    seconds: list[float] = field(default_factory=list)
    held: int = 0
    no_receipt: int = 0
    left: int = 0
    last_handled: float = 0.0


class Deployment:
    """One store, and as many processes as the rate needs.

    Attributes:
        seen: What happened.
    """

    def __init__(self, place: Place, stored: int, rate: float, limits: Limits, seed: int) -> None:
        """Build it.

        Args:
            place: Where claims are kept.
            stored: Bytes of the contents of each message.
            rate: Messages a second.
            limits: What AWS lets through.
            seed: Makes each run the same.
        """
        self.seen = Seen()
        self._place = place
        self._parts = [0.0]
        if place == "dynamodb":
            self._parts = [math.ceil(item / WRITE_UNIT_BYTES) for item in part_items(stored)]
        self._rate = rate
        self._limits = limits
        self._loop = Loop()
        self._random = random.Random(seed)
        processes = math.ceil(rate / MESSAGES_PER_PROCESS)
        self._senders = [Client() for _ in range(processes)]
        self._workers = [Client() for _ in range(processes)]
        self._there = set[str]()
        self._in_flight = 0
        self._backlog: list[tuple[int, float]] = []

    def run(self, seconds: float, *, at_most: float) -> Seen:
        """Send for so long, and go on until all is handled, or at most for so long."""
        for number in range(round(self._rate * seconds)):
            self._loop.start(self._send(number), after=self._random.random() * seconds)
        self._loop.run(until=at_most)
        return self.seen

    # The sender

    def _send(self, number: int) -> Process:
        begun = self._loop.now
        client = self._senders[number % len(self._senders)]
        tries = 0
        while not (yield from self._write_contents(client, number)):
            self.seen.enqueue_failed += 1
            yield from self._remove_contents(client, number)  # quietly: some of it may be there
            yield self._random.random() * min(2.0**tries, LONGEST_PAUSE_SECONDS)
            tries += 1
        yield SQS_SECONDS
        self._receive(number, begun)
        return True

    # The worker

    def _receive(self, number: int, begun: float) -> None:
        """Hand a message to a worker, or leave it on the queue where too many are in flight."""
        if self._in_flight >= IN_FLIGHT:
            self._backlog.append((number, begun))
            return
        self._in_flight += 1
        self._loop.start(self._handle(number, begun), after=SQS_SECONDS)

    def _handle(self, number: int, begun: float) -> Process:
        client = self._workers[number % len(self._workers)]
        received, tries = self._loop.now, 0
        while not (yield from self._open(client, number)):
            pause = min(FIRST_PAUSE_SECONDS * 2.0**tries, LONGEST_PAUSE_SECONDS)
            tries += 1
            self.seen.held += 1
            if self._loop.now + pause - received > ClaimStoreUnavailable.patience:
                received, tries = self._loop.now, 0  # given back, and received again
            yield pause
        yield HANDLER_SECONDS
        self.seen.handled += 1
        self.seen.seconds.append(self._loop.now - begun)
        self.seen.last_handled = self._loop.now
        if (yield from self._complete(client, number)):
            # Off the critical path in S3; before the acknowledgement in DynamoDB.
            removed = yield from self._remove_contents(client, number)
            self.seen.left += not removed
        else:
            self.seen.no_receipt += 1
        self._in_flight -= 1
        if self._backlog:
            self._receive(*self._backlog.pop())
        return True

    def _open(self, client: Client, number: int) -> Process:
        """Acquire the record, while the contents are read beside it."""
        record = self._put_record(client, number)
        return (yield from self._loop.together([record, self._read_contents(client, number)]))

    def _complete(self, client: Client, number: int) -> Process:
        """Write the receipt, and try again as a worker does. The heartbeat goes on."""
        latest, tries = self._loop.now + receipts.PATIENCE_SECONDS, 0
        while not (yield from self._write_record(client, number)):
            pause = doubled(receipts.FIRST_PAUSE_SECONDS, tries, receipts.LONGEST_PAUSE_SECONDS)
            pause *= self._random.uniform(1, 1.5)
            tries += 1
            if self._loop.now + pause > latest:
                return False
            yield pause
        return True

    # The store

    def _write_contents(self, client: Client, number: int) -> Process:
        return (yield from self._each_part(client, number, "put"))

    def _read_contents(self, client: Client, number: int) -> Process:
        return (yield from self._each_part(client, number, "read"))

    def _remove_contents(self, client: Client, number: int) -> Process:
        return (yield from self._each_part(client, number, "delete"))

    def _each_part(self, client: Client, number: int, what: Verb) -> Process:
        """Ask for every part, a few at once; whether all were let through."""
        all_passed = True
        for at in range(0, len(self._parts), AT_ONCE):
            requests = [
                self._request(client, "contents", what, f"{number}/{part}", self._parts[part])
                for part in range(at, min(at + AT_ONCE, len(self._parts)))
            ]
            all_passed = (yield from self._loop.together(requests)) and all_passed
        return all_passed

    def _put_record(self, client: Client, number: int) -> Process:
        return (yield from self._request(client, "record", "put", f"{number}@", 1))

    def _write_record(self, client: Client, number: int) -> Process:
        """Complete the record, which in S3 reads it first."""
        if self._place == "s3" and not (
            yield from self._request(client, "record", "read", f"{number}@", 1)
        ):
            return False
        return (yield from self._put_record(client, number))

    def _request(
        self, client: Client, kind: Kind, what: Verb, key: str, kilobytes: float
    ) -> Process:
        """Make a request, and make it again as botocore does."""
        in_table = self._place == "dynamodb" or (self._place == "bucket" and kind == "record")
        amount = 1.0
        if in_table:
            spread = self._limits.table_reads if what == "read" else self._limits.table_writes
            if what == "read":
                amount = math.ceil(kilobytes * WRITE_UNIT_BYTES / READ_UNIT_BYTES) / 2
            elif what == "put" or key in self._there:  # to delete nothing is one unit
                amount = kilobytes
        else:
            spread = self._limits.bucket_reads if what == "read" else self._limits.bucket_writes
        for attempt in range(TRIES):
            yield DYNAMODB_SECONDS if in_table else S3_SECONDS
            self.seen.requests += 1
            if spread.admits(key, amount, self._loop.now):
                client.succeeded(retried=attempt > 0)
                self._note(kind, what, key)
                return True
            self.seen.refused += 1
            if attempt == TRIES - 1 or not client.may_retry():
                return False
            yield self._random.random() * min(2.0**attempt, LONGEST_BACKOFF)
        return False

    def _note(self, kind: Kind, what: Verb, key: str) -> None:
        if kind == "contents" and what == "put":
            self._there.add(key)
        elif what == "delete":
            self._there.discard(key)
