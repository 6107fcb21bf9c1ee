"""Context variables: a handler has those of whoever runs the worker, in a copy of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from letsgo_queue import Client, Middleware, Steps, Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import serving

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
request: ContextVar[str] = ContextVar("request", default="none")

Run = Callable[[Worker, int], None]
"""Sends so many messages to a worker, and has it handle them."""


@pytest.fixture(autouse=True)
def whoever_runs_it() -> Iterator[None]:
    token = tenant.set("acme")
    yield
    tenant.reset(token)


def run(worker: Worker, count: int) -> None:
    Client(worker._transport()).enqueue_many([{"type": "any"}] * count)
    worker.run(burst=True)


def serve(worker: Worker, count: int) -> None:
    with serving(worker) as url:
        Client(url).enqueue_many([{"type": "any"}] * count)


def on_lambda(worker: Worker, count: int) -> None:
    arn = "arn:aws:sqs:eu-west-1:123456789012:orders"
    records = [
        {
            "messageId": f"m{number}",
            "receiptHandle": "r",
            "body": '{"type":"any"}',
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "0"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
        }
        for number in range(count)
    ]
    assert worker.lambda_handler({"Records": records}, None) == {"batchItemFailures": []}


class Tags(Middleware):
    """Notes what it finds, and sets a variable for the handler."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.found.append(request.get())
        request.set(message.message_id)
        yield


@pytest.mark.parametrize("start", [run, on_lambda, serve])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_handler_has_them_and_leaves_none_to_the_next(
    queue: MemoryTransport, start: Run, is_async: bool
) -> None:
    tags = Tags()
    worker = Worker(queue, concurrency=1, middleware=[tags])
    found: list[tuple[str, bool]] = []

    def note(message_id: str) -> None:
        found.append((tenant.get(), request.get() == message_id))
        tenant.set("somebody else")

    def handle(message: dict[str, Any], delivery: Any) -> None:
        note(delivery.message_id)

    async def handle_async(message: dict[str, Any], delivery: Any) -> None:
        note(delivery.message_id)

    worker.default(handle_async if is_async else handle)
    start(worker, 3)

    assert found == [("acme", True)] * 3
    assert tags.found == ["none"] * 3
    assert tenant.get() == "acme"
