"""The ways of sending take the same options, and do the same with them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import claimcheck
import letsgo_queue
from letsgo_queue import Client, EnqueueManyOptions, set_default_client
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import order, receive


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport("memory://async-options?fifo=true")


@pytest.fixture(params=["the functions", "those of claimcheck", "a client"])
def sender(request: pytest.FixtureRequest, transport: MemoryTransport) -> Iterator[object]:
    client = Client(transport)
    set_default_client(client)
    yield {
        "the functions": letsgo_queue,
        "those of claimcheck": claimcheck,
        "a client": client,
    }[request.param]
    set_default_client(None)


def facts_of(transport: MemoryTransport) -> list[tuple[str | None, list[str]]]:
    """What the queue has: the group of each message, and its attributes."""
    return [
        (message.group_id, sorted(message.attributes))
        for _ in range(3)
        for message in receive(transport)
    ]


def test_one_message_with_asyncio(sender: Any, transport: MemoryTransport) -> None:
    async def send() -> list[object]:
        results = [
            await sender.aenqueue(
                order(),
                group_id="a",
                deduplication_id="once",
                attributes={"tenant": "acme"},
            )
            for _ in range(2)
        ]
        return [result.message_id for result in results]

    first, second = asyncio.run(send())

    assert first == second  # SQS answers a duplicate with the first one's id
    assert facts_of(transport) == [("a", ["tenant"])]


def test_one_message_to_another_queue(sender: Any, transport: MemoryTransport) -> None:
    async def send() -> object:
        result = await sender.aenqueue(order(), queue="memory://elsewhere", delay_seconds=5)
        queue: object = result.queue
        return queue

    assert asyncio.run(send()) == "memory://elsewhere"
    assert facts_of(transport) == []


def test_many_messages_with_asyncio(sender: Any, transport: MemoryTransport) -> None:
    counted: list[tuple[int, int]] = []
    messages = [order() for _ in range(3)]

    async def send() -> list[object]:
        return list(
            await sender.aenqueue_many(
                messages,
                group_id=lambda message: "all",
                deduplication_id=lambda message: "same",
                attributes={"tenant": "acme"},
                progress=lambda sent, failed: counted.append((sent, failed)),
                keep_results=False,
            )
        )

    assert asyncio.run(send()) == []
    assert counted[-1] == (3, 0)
    assert facts_of(transport) == [("all", ["tenant"])]


def test_many_messages_to_another_queue(sender: Any, transport: MemoryTransport) -> None:
    async def send() -> set[object]:
        results = await sender.aenqueue_many([order()], queue="memory://many", delay_seconds=5)
        return {result.queue for result in results}

    assert asyncio.run(send()) == {"memory://many"}
    (result,) = sender.enqueue_many([order()], queue="memory://more")
    assert result.queue == "memory://more"
    assert facts_of(transport) == []


def test_the_options_can_be_kept_with_their_types(transport: MemoryTransport) -> None:
    options: EnqueueManyOptions[Mapping[str, Any]] = {"group_id": "a", "keep_results": False}

    Client(transport).enqueue_many([order()], **options)

    assert facts_of(transport) == [("a", [])]
