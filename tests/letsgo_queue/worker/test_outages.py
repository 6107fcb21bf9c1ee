"""A store that does not answer holds the messages that need it, and no others."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from letsgo_queue import Delivery, IncomingMessage, Middleware, Steps, Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import loop
from tests.letsgo_queue.support import DEADLINE_SECONDS, events_of, outgoing, receive, running
from tests.support.waiting import wait_for

LARGE, SMALL = 10, 100


class Store(Middleware):
    """Opens and settles sealed messages, and does not answer before it is told to."""

    def __init__(self) -> None:
        self.opens = threading.Event()
        self.settles = threading.Event()
        self.asked = 0

    def opened_bytes(self, message: IncomingMessage, /) -> int:
        return 1

    def handle(self, message: IncomingMessage, /) -> Steps:
        if not message.sealed:
            yield
            return
        self.asked += 1
        assert self.opens.wait(2 * DEADLINE_SECONDS)
        message.open(json.dumps({"type": message.type, "payload": "large"}))
        yield
        assert self.settles.wait(2 * DEADLINE_SECONDS)


class Rig:
    """A worker of as many slots as there are large messages, and what its handlers do."""

    def __init__(self, queue: MemoryTransport, kind: str, concurrency: int) -> None:
        self.store = Store()
        self.worker = Worker(
            queue, middleware=[self.store], concurrency=concurrency, wait_seconds=0, prefetch=0
        )
        self.events = events_of(self.worker)
        self.ended: list[str] = []
        self.counts: set[int] = set()
        self.at_work = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        if kind == "sync":
            self.worker.default(self.handle)
        else:
            self.worker.default(self.handle_async)

    def handle(self, message: dict[str, Any], delivery: Delivery) -> None:
        self._begin(delivery)
        self._end(message)

    async def handle_async(self, message: dict[str, Any], delivery: Delivery) -> None:
        self._begin(delivery)
        await asyncio.sleep(0)
        self._end(message)

    def has_ended(self, large: int, small: int) -> bool:
        return (self.ended.count("large"), self.ended.count("small")) == (large, small)

    def _begin(self, delivery: Delivery) -> None:
        with self._lock:
            self.counts.add(delivery.receive_count)
            self.at_work += 1
            self.most_at_once = max(self.most_at_once, self.at_work)

    def _end(self, message: dict[str, Any]) -> None:
        with self._lock:
            self.at_work -= 1
            self.ended.append(message["payload"])


def send(queue: MemoryTransport, large: int = 0, small: int = 0) -> None:
    messages = [{"type": "any", "claimCheck": {}}] * large
    messages += [{"type": "any", "payload": "small"}] * small
    for message in messages:
        queue.send(outgoing(json.dumps(message)))


@pytest.fixture(params=["sync", "async"])
def rig(
    queue: MemoryTransport, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    monkeypatch.setattr(loop, "STUCK_SECONDS", 0.05)
    rig = Rig(queue, request.param, concurrency=LARGE)
    yield rig
    rig.store.opens.set()
    rig.store.settles.set()


def test_while_large_ones_cannot_be_opened_small_ones_run(queue: MemoryTransport, rig: Rig) -> None:
    send(queue, large=LARGE)
    with running(rig.worker):
        wait_for(lambda: rig.store.asked == LARGE, "the large ones")
        send(queue, small=SMALL)
        wait_for(lambda: rig.has_ended(0, SMALL), "the small ones")
        rig.store.opens.set()
        rig.store.settles.set()
        wait_for(lambda: len(rig.events) == LARGE + SMALL, "the large ones to be handled")

    assert rig.counts == {1}


def test_while_large_ones_cannot_be_settled_small_ones_run(
    queue: MemoryTransport, rig: Rig
) -> None:
    rig.store.opens.set()
    send(queue, large=LARGE)
    with running(rig.worker):
        wait_for(lambda: rig.has_ended(LARGE, 0), "the handlers of the large ones")
        send(queue, small=SMALL)
        wait_for(lambda: rig.has_ended(LARGE, SMALL), "the small ones")
        rig.store.settles.set()
        wait_for(lambda: len(rig.events) == LARGE + SMALL, "the large ones to be settled")

    assert rig.counts == {1}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_more_handlers_run_at_once(queue: MemoryTransport, kind: str) -> None:
    rig = Rig(queue, kind, concurrency=2)
    rig.store.opens.set()
    rig.store.settles.set()
    send(queue, large=50, small=50)
    send(queue, large=50, small=50)
    rig.worker.run(burst=True)

    assert rig.has_ended(100, 100)
    assert rig.most_at_once <= 2


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_more_are_received_than_are_begun_where_the_store_answers(
    queue: MemoryTransport, kind: str
) -> None:
    """Other workers have time for them."""
    rig = Rig(queue, kind, concurrency=1)
    rig.store.opens.set()
    rig.store.settles.set()
    left: list[int] = []
    rig._begin = lambda _delivery: left.append(  # type: ignore[method-assign,assignment]  # for this test
        len(receive(queue, visibility_timeout=0))
    )
    rig.at_work = 4
    send(queue, large=4)
    rig.worker.run(burst=True)

    assert left == [3, 2, 1, 0]
