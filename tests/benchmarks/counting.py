"""Both ends of a queue behind the proxy that counts, for one message at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimStore,
    EnqueueResult,
    Purge,
    open_store,
    unwrap_record,
)
from claimcheck.core.cost import Place
from claimcheck.stores.base import Lease
from letsgo_queue import Client
from letsgo_queue.transports.sqs import SqsTransport
from tests.benchmarks.emulator import Emulator
from tests.benchmarks.payloads import PayloadFile
from tests.benchmarks.peers.base import Message
from tests.benchmarks.traffic import Traffic

ONE_MESSAGE = {"sqs SendMessage": 1, "sqs ReceiveMessage": 1, "sqs DeleteMessage": 1}

RETURNED = "the handler got the message that was sent"


@dataclass(slots=True)
class Ends:
    """Both ends of a queue.

    Attributes:
        emulator: Where it is.
        queue_limit: Bytes that it takes.
        place: Where claims are kept.
    """

    emulator: Emulator
    queue_limit: int
    place: Place = "dynamodb"
    transport: SqsTransport = field(init=False)
    client: Client[EnqueueResult] = field(init=False)
    claim_check: ClaimCheck = field(init=False)

    def __post_init__(self) -> None:
        place = self.emulator.place(self.emulator.make_queue(self.queue_limit), "AWS-like")
        self.transport = SqsTransport(place.queue_url)
        self.claim_check = ClaimCheck(self.open_store())
        self.client = Client(self.transport, middleware=[ClaimCheckMiddleware(self.claim_check)])
        # Asked once for each queue, not for each message.
        self.transport.max_message_bytes()

    def open_store(self) -> ClaimStore:
        """A store that has not heard from AWS."""
        table, bucket = self.emulator.table, self.emulator.bucket
        urls: Mapping[Place, str] = {
            "dynamodb": f"dynamodb://{table}",
            "bucket": f"dynamodb://{table}?bucket={bucket}",
            "s3": f"s3://{bucket}",
        }
        return open_store(urls[self.place], region=self.emulator.server.region)

    def learn_the_time(self) -> None:
        """Have the store ask for the time, as it does once."""
        self.claim_check.store.acquire("another", Lease("x", 1))

    def send(self, payload: PayloadFile) -> tuple[EnqueueResult, Traffic]:
        """Send a message; the result, the traffic."""
        self.emulator.proxy.start(metered=True)
        result = self.client.enqueue(json.loads(payload.path.read_text()))
        return result, self.emulator.proxy.stop()

    def round(
        self, payload: PayloadFile, *, purge: Purge = "after", once: bool = False
    ) -> tuple[EnqueueResult, str, Traffic]:
        """Send, receive and delete a message; the result, the body on the queue, the traffic."""
        message: Message = json.loads(payload.path.read_text())

        @unwrap_record(claim_check=self.claim_check, purge=purge, once=once)
        def on_record(record: Mapping[str, Any]) -> str:
            assert json.loads(record["body"]) == message, RETURNED
            return RETURNED

        self.emulator.proxy.start(metered=True)
        result = self.client.enqueue(message)
        [received] = self.transport.receive(max_messages=10, wait_seconds=1, visibility_timeout=30)
        assert on_record({"messageId": received.message_id, "body": received.body}) == RETURNED
        self.transport.delete(received)
        if self.place != "dynamodb":
            self.claim_check.store.close()  # which waits for removals
        return result, received.body, self.emulator.proxy.stop()

    def close(self) -> None:
        self.claim_check.store.close()
        self.transport.close()
