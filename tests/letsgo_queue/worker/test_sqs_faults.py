"""A worker on SQS, over a network that holds single calls and answers late."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client, Delivery, MessageHandled, Worker
from letsgo_queue.transports import sqs_client
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.worker import heartbeat
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    PassingTime,
    events_of,
    order,
    receive,
    running,
)
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

EXTEND = "ChangeMessageVisibilityBatch"
TIMEOUT = 600


@pytest.fixture
def url(ministack: AwsServer, proxy: FaultyServer) -> str:
    """A queue, reached through the proxy."""
    url = ministack.make_queue(VisibilityTimeout=str(TIMEOUT))
    return url.replace(str(ministack.endpoint_url), proxy.url)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Until it is set a call hangs, as over a connection that is half open."""
    over = threading.Event()
    yield over
    over.set()


@pytest.fixture
def hours_pass(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> PassingTime:
    """For the worker only: its queue is an emulator, whose timeouts are long."""
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(sqs_client, "QUICK_READ_TIMEOUT_SECONDS", 0.5)
    return PassingTime(clock, monkeypatch)


class Rig:
    """A worker whose handler is at work until it is told to end."""

    def __init__(self, url: str) -> None:
        self.worker = Worker(url, wait_seconds=1)
        self.events = events_of(self.worker)
        self.delivery: Delivery | None = None
        self.go_on = threading.Event()

        @self.worker.handler("slow")
        def slow(message: dict[str, Any], delivery: Delivery) -> None:
            self.delivery = delivery
            assert self.go_on.wait(DEADLINE_SECONDS)

        @self.worker.handler("quick")
        def quick(message: dict[str, Any]) -> None: ...

    def seconds_invisible(self) -> float:
        assert self.delivery is not None
        return self.delivery._message.seconds_invisible or 0.0


@pytest.mark.parametrize("fault", ["half open", "credentials"])
def test_an_extension_that_fails_is_tried_again_in_time(
    *,
    url: str,
    proxy: FaultyServer,
    over: threading.Event,
    hours_pass: PassingTime,
    fault: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(url)
    if fault == "half open":
        injected = proxy.hold(EXTEND, over, times=1)
    else:
        injected = proxy.refuse(EXTEND, "InvalidClientTokenId", 403, times=3)
    Client(url).enqueue({"type": "slow", "payload": None})
    with running(rig.worker):
        wait_for(lambda: rig.delivery, "the handler")
        hours_pass(TIMEOUT / 2 + 1)
        wait_for(lambda: injected.happened == injected.times, "the fault")
        wait_for(lambda: rig.seconds_invisible() > TIMEOUT / 2, "the extension")
        rig.go_on.set()
        wait_for(lambda: rig.events, "its end")

    assert "could not be kept invisible" in caplog.text
    assert isinstance(rig.events[0], MessageHandled)
    assert rig.events[0].receive_count == 1


def test_one_half_open_connection_leaves_time_at_the_default_timeout(
    *,
    ministack: AwsServer,
    proxy: FaultyServer,
    over: threading.Event,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the 15 seconds that are left then, the call that hangs takes three."""
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
    url = ministack.make_queue().replace(str(ministack.endpoint_url), proxy.url)
    rig = Rig(url)
    held = proxy.hold(EXTEND, over, times=1)
    Client(url).enqueue({"type": "slow", "payload": None})
    with running(rig.worker):
        wait_for(lambda: rig.delivery, "the handler")
        assert rig.seconds_invisible() <= 30
        PassingTime(clock, monkeypatch)(14)
        wait_for(lambda: held.happened, "the extension to hang")
        wait_for(lambda: rig.seconds_invisible() > 20, "the next one")
        rig.go_on.set()
        wait_for(lambda: rig.events, "its end")

    assert isinstance(rig.events[0], MessageHandled)
    assert rig.events[0].receive_count == 1


def test_an_extension_by_the_handler_that_hangs_is_tried_again(
    url: str, proxy: FaultyServer, over: threading.Event, hours_pass: PassingTime
) -> None:
    """Meanwhile the heartbeat leaves its message alone."""
    held = proxy.hold("ChangeMessageVisibility", over, times=1)
    worker = Worker(url, wait_seconds=1)
    events = events_of(worker)
    extended: list[float] = []

    @worker.default
    def handle(message: dict[str, Any], delivery: Delivery) -> None:
        delivery.extend(3600)
        extended.append(delivery._message.seconds_invisible or 0.0)

    Client(url).enqueue(order())
    with running(worker):
        wait_for(lambda: events, "its end")

    assert held.happened
    assert extended[0] > 3000
    assert isinstance(events[0], MessageHandled)


def test_an_acknowledgement_does_not_wait_for_an_extension(
    url: str, proxy: FaultyServer, over: threading.Event, hours_pass: PassingTime
) -> None:
    rig = Rig(url)
    held = proxy.hold(EXTEND, over)
    Client(url).enqueue({"type": "slow", "payload": None})
    with running(rig.worker):
        wait_for(lambda: rig.delivery, "the handler")
        hours_pass(TIMEOUT / 2 + 1)
        wait_for(lambda: held.happened, "the extension to hang")
        rig.go_on.set()
        wait_for(lambda: rig.events, "the acknowledgement")
        assert not over.is_set()
        over.set()

    assert isinstance(rig.events[0], MessageHandled)


def test_an_acknowledgement_that_hangs_is_sent_again(
    url: str, proxy: FaultyServer, over: threading.Event, hours_pass: PassingTime
) -> None:
    rig = Rig(url)
    proxy.hold("DeleteMessageBatch", over, times=1)
    Client(url).enqueue({"type": "quick", "payload": None})
    with running(rig.worker):
        wait_for(lambda: rig.events, "the acknowledgement")
        assert not over.is_set()

    assert proxy.operations.count("DeleteMessageBatch") > 1
    assert receive(SqsTransport(url), visibility_timeout=0) == []


def test_a_worker_ends_though_its_calls_hang(
    url: str, proxy: FaultyServer, over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letsgo_queue.worker.loop.ENDING_SECONDS", 1)
    rig = Rig(url)
    held = proxy.hold("DeleteMessageBatch", over)
    Client(url).enqueue({"type": "quick", "payload": None})
    rig.worker._options = replace(rig.worker._options, drain_timeout=0)
    with running(rig.worker):
        wait_for(lambda: held.happened, "the acknowledgement to hang")

    assert not over.is_set()


def test_an_answer_that_comes_late_brings_messages_for_less_time(
    url: str, proxy: FaultyServer, over: threading.Event, hours_pass: PassingTime
) -> None:
    """SQS counts their visibility timeout from the moment that it gave them out."""
    transport = SqsTransport(url)
    assert receive(transport) == [], "from here on it knows the server's clock"
    Client(url).enqueue(order())
    held = proxy.hold("ReceiveMessage", over, times=1)
    received: list[float | None] = []

    def ask() -> None:
        (message,) = receive(transport, wait_seconds=20)
        received.append(message.invisible_until)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: held.happened, "the request")
    hours_pass(200)  # not by the server's clock, which dates the answer
    over.set()
    asking.join()

    seconds = (received[0] or 0) - time.monotonic()
    assert TIMEOUT - 300 < seconds < TIMEOUT - 190
    transport.close()
