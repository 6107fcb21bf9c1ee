"""`claimcheck.enqueue_many`: each message goes its own way, and none leaves a claim behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

import claimcheck
from claimcheck import (
    BodyTooLarge,
    ClaimCheckMiddleware,
    ClaimStoreUnavailable,
    MessageSealed,
    install,
    unwrap_claim_check,
)
from claimcheck.stores.base import PART_BYTES
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import (
    Client,
    EnqueueManyError,
    Event,
    Message,
    SendFailed,
    SendUncertain,
    Worker,
    default_client,
    set_default_client,
)
from letsgo_queue.transports.base import OutgoingMessage, Sent
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import noise, small_claim_check
from tests.claimcheck.watched import ALWAYS, Watched
from tests.support.servers import AwsServer


def message(size: int, number: int = 0) -> dict[str, Any]:
    return {"type": "order:new", "payload": f"{number} {noise(size, number)}"}


def items_in(aws: AwsServer, table: str) -> int:
    pages = aws.dynamodb().get_paginator("scan").paginate(TableName=table, Select="COUNT")
    return sum(page["Count"] for page in pages)


def test_each_message_goes_its_own_way(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    url = ministack.make_queue(MaximumMessageSize="1048576")
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    sizes = [100, 300_000, 3_000_000, 100, 400_000, 2_500_000, 240_000, 500_000, 100, 2_600_000]
    messages = [message(size, number) for number, size in enumerate(sizes * 2)]

    results = claimcheck.enqueue_many(iter(messages))

    ways = {100: "inline", 240_000: "inline", 300_000: "compressed"}
    ways |= {400_000: "compressed", 500_000: "compressed"}
    assert [result.route for result in results] == [ways.get(n, "stored") for n in sizes * 2]
    stored = [result.stored_size for result in results if result.route == "stored"]
    assert items_in(ministack, table) == sum(-(-size // PART_BYTES) for size in stored)

    worker = Worker()
    handled: Counter[str] = Counter()

    @worker.handler("order:new")
    @unwrap_claim_check
    def on_order(message: Message[str]) -> None:
        handled[message.payload] += 1

    worker.run(burst=True)
    assert handled == Counter(str(each["payload"]) for each in messages)
    assert items_in(ministack, table) == len(stored), "there is more than receipts"
    default_client().close()


def test_the_installed_claim_check_and_asyncio_take_many_too() -> None:
    store = MemoryClaimStore()
    set_default_client(Client(MemoryTransport()))
    install(small_claim_check(store))
    events: list[Event] = []
    default_client().add_listener(events.append)

    results = asyncio.run(claimcheck.aenqueue_many([message(5_000), message(10)]))

    assert [result.route for result in results] == ["stored", "inline"]
    sealed = [event for event in events if isinstance(event, MessageSealed)]
    assert sorted(event.route for event in sealed) == ["inline", "stored"]


def test_a_body_over_max_size_keeps_no_other_back() -> None:
    store = MemoryClaimStore()
    check = small_claim_check(store, max_size=10_000)
    client = Client(MemoryTransport(), middleware=[ClaimCheckMiddleware(check)])

    with pytest.raises(EnqueueManyError) as caught:
        client.enqueue_many([message(5_000), message(20_000), message(5_000, 1)])

    assert {at: type(error) for at, error in caught.value.errors.items()} == {1: BodyTooLarge}
    assert caught.value.sent == 2
    assert len(store._contents) == 2


def test_a_store_that_is_down_ends_the_sending() -> None:
    watched = Watched(MemoryClaimStore())
    watched.fail("write", times=ALWAYS)
    middleware = ClaimCheckMiddleware(small_claim_check(watched.store))
    queue = MemoryTransport()

    with pytest.raises(EnqueueManyError, match="the test says so") as caught:
        Client(queue, middleware=[middleware]).enqueue_many(
            message(5_000 if number == 12 else 10) for number in range(1_000)
        )

    error = caught.value
    assert (error.sent, error.attempted, error.retryable) == (10, 20, True)
    assert isinstance(error.errors[12], ClaimStoreUnavailable)


@pytest.mark.parametrize(
    ("error", "claims"), [(SendFailed("no network", retryable=True), 0), (SendUncertain("?"), 5)]
)
def test_claims_of_what_was_not_sent_are_removed_unless_nobody_knows(
    error: SendFailed | SendUncertain, claims: int
) -> None:
    class Down(MemoryTransport):
        def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
            return [error for _ in messages]

    store = MemoryClaimStore()
    client = Client(Down(), middleware=[ClaimCheckMiddleware(small_claim_check(store))])

    with pytest.raises(EnqueueManyError):
        client.enqueue_many([message(5_000, number) for number in range(5)])
    assert len(store._contents) == claims
