"""What the metrics of a worker say of claims: routes, sizes, duplicates, waits for leases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Client, Message, Worker
from letsgo_queue.metrics import PrometheusListener
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import incoming
from tests.claimcheck.support import noise, small_claim_check
from tests.letsgo_queue.support import running
from tests.support.waiting import wait_for

LARGE = noise(6_000)


class Shop:
    """A client and a worker whose events are counted."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        listener = PrometheusListener(self.registry)
        self.queue = MemoryTransport(clock=clock)
        self.check = small_claim_check(MemoryClaimStore(clock=clock))
        self.client = Client(self.queue, middleware=[ClaimCheckMiddleware(self.check)])
        self.client.add_listener(listener)
        self.worker = Worker(self.queue, client=self.client, concurrency=1)
        self.worker.add_listener(listener)
        self.worker.handler("order:new")(self.on_order)
        self.handled: list[str] = []

    def on_order(self, message: Message[str]) -> None:
        self.handled.append(message.payload)

    def body_on_queue(self) -> str:
        (received,) = self.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        return received.body

    def sample(self, name: str, **labels: str) -> float:
        labels["queue"] = "memory://"
        return self.registry.get_sample_value(f"letsgo_queue_{name}", labels) or 0.0


@pytest.fixture
def shop(clock: Clock) -> Iterator[Shop]:
    shop = Shop(clock)
    yield shop
    shop.client.close()


def test_routes_and_sizes(shop: Shop) -> None:
    for payload in ("small", "x" * 6_000, LARGE):
        shop.client.enqueue({"type": "order:new", "payload": payload})
    shop.worker.run(burst=True)

    for route in ("inline", "compressed", "stored"):
        assert shop.sample("sent_total", type="order:new", route=route) == 1
        assert shop.sample("received_total", type="order:new", route=route) == 1
    assert shop.sample("stored_bytes_total", type="order:new") > 3_000
    opened = shop.sample("body_bytes_sum", type="order:new")
    assert opened == shop.sample("sent_body_bytes_sum", type="order:new") > 12_000


def test_a_duplicate_is_no_handled_message(shop: Shop) -> None:
    shop.client.enqueue({"type": "order:new", "payload": LARGE})
    body = shop.body_on_queue()
    shop.worker.run(burst=True)
    shop.queue.send(OutgoingMessage(type="order:new", body=body.encode()))
    shop.worker.run(burst=True)

    assert shop.handled == [LARGE]
    assert shop.sample("deliveries_total", type="order:new", outcome="handled") == 1
    assert shop.sample("deliveries_total", type="order:new", outcome="duplicate") == 1
    assert shop.sample("deliveries_total", type="order:new", outcome="skipped") == 0


def test_waiting_for_the_lease_of_another_delivery(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "FIRST_PAUSE_SECONDS", 0.001)
    shop.client.enqueue({"type": "order:new", "payload": LARGE})
    with shop.check.open(shop.body_on_queue(), lease_seconds=3_600), running(shop.worker):
        wait_for(lambda: shop.sample("held_total", error="ClaimInProgress"), "the message to wait")

    assert shop.sample("held_seconds_total", error="ClaimInProgress") > 0
    assert shop.sample("errors_total", call="open", error="ClaimInProgress") == 0
