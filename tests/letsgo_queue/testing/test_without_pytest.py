"""The test kit without its fixtures, as other test runners use it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from letsgo_queue import Worker, enqueue
from letsgo_queue.testing import (
    DeliveryInTest,
    Drained,
    LambdaContext,
    LambdaInTest,
    NotDrained,
    Sandbox,
    SentMessage,
    WorkerInTest,
    make_delivery,
)

ORDER = {"type": "order:new", "payload": "small"}


def test_a_function_is_invoked_with_what_was_sent() -> None:
    seen: list[int] = []

    def function(event: dict[str, Any], context: LambdaContext) -> None:
        assert context.function_version == "$LATEST"
        assert context.client_context is None
        assert context.log_group_name == "/aws/lambda/letsgo-test"
        assert context.log_stream_name == f"[$LATEST]{context.aws_request_id}"
        seen.append(len(event["Records"]))

    with Sandbox() as sandbox:
        invoked = sandbox.lambda_function(function, queue="memory://orders", batch_size=2)
        assert isinstance(invoked, LambdaInTest)
        for _ in range(3):
            enqueue(ORDER, queue="memory://orders")

        drained = invoked.drain()

        assert isinstance(drained, Drained)
        assert len(drained.handled) == 3
        sent = sandbox.outbox.one
        with pytest.raises(AssertionError):
            sent("order:new")  # there are three
        sandbox.outbox.clear()
        enqueue(ORDER, queue="memory://orders")
        assert isinstance(sent("order:new"), SentMessage)
    assert seen == [2, 1]


def test_a_worker_that_feeds_itself_ends_in_an_error_with_asyncio_too() -> None:
    worker = Worker()

    @worker.handler("order:new")
    def on_order(message: dict[str, str]) -> None:
        enqueue(ORDER)

    with Sandbox() as sandbox:
        in_test = sandbox.worker(worker)
        assert isinstance(in_test, WorkerInTest)
        enqueue(ORDER)
        with pytest.raises(NotDrained):
            asyncio.run(in_test.adrain(limit=5))


def test_a_delivery_notes_how_it_was_extended() -> None:
    delivery = make_delivery(ORDER)
    assert isinstance(delivery, DeliveryInTest)
    delivery.extend(90)
    assert delivery.extensions == [90]
