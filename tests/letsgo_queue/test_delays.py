"""Delays: up to 900 s as SQS has them, beyond by sending the message on until it is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    MessageAttribute,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageInvalid,
    Worker,
)
from letsgo_queue.attributes import DUE_AT
from letsgo_queue.delays import LONGEST_DELAY_SECONDS
from letsgo_queue.message import encode
from letsgo_queue.transports.base import Transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.support import COMPLETE, PLAIN, TRACE, events_of, order, outgoing, running
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture(params=["memory", "sqlite"])
def transport(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Transport]:
    """The embedded queues, whose time only passes when the test says so."""
    transport: Transport = MemoryTransport(clock=clock)
    if request.param == "sqlite":
        transport = SqliteTransport(f"sqlite:///{tmp_path}/queue.db", clock=clock)
    yield transport
    transport.close()


class Handled(list[float]):
    """A worker and the times at which its handler ran, on a clock that the test moves."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.worker = Worker(transport, clock=clock)
        self.worker.handler("order:new")(self._handle)
        self.events = events_of(self.worker)

    def _handle(self, message: dict[str, object]) -> None:
        self.append(self.clock())

    def after(self, seconds: float) -> int:
        """How often the handler has run once so much more time has passed."""
        self.clock.advance(seconds)
        self.worker.run(burst=True)
        return len(self)


@pytest.mark.parametrize(
    ("given", "kept"), [(0, 0), (0.2, 1), (899.1, 900), (900, 900), (900.5, 901), (3600, 3600)]
)
def test_a_handler_gets_the_message_when_it_is_due_and_not_before(
    transport: Transport, clock: Clock, given: float, kept: int
) -> None:
    handled = Handled(transport, clock)
    Client(transport, clock=clock).enqueue(order(), delay_seconds=given)

    steps = [900] * (kept // 900) + [kept % 900]
    for step in steps[:-1]:
        assert handled.after(step - 1) == 0
        clock.advance(1)
        handled.worker.run(burst=True)
    if steps[-1]:
        assert handled.after(steps[-1] - 1) == 0
        clock.advance(1)
    assert handled.after(0) == 1
    assert handled.after(DAY) == 1


def test_a_message_is_sent_on_with_what_is_left(transport: Transport, clock: Clock) -> None:
    handled = Handled(transport, clock)
    Client(transport, clock=clock).enqueue(order(), delay_seconds=LONGEST_DELAY_SECONDS)
    # A worker that was away for most of the time takes it up where it is.
    assert handled.after(LONGEST_DELAY_SECONDS - 1000) == 0
    assert handled.after(899) == 0
    assert handled.after(1) == 0
    assert handled.after(99) == 0
    assert handled.after(1) == 1

    delays = [event.seconds_left for event in handled.events if isinstance(event, MessageDelayed)]
    assert delays == [1000, 100]
    assert isinstance(handled.events[-1], MessageHandled)


def test_what_travels_on_is_what_was_sent(transport: Transport, clock: Clock) -> None:
    deliveries: list[Delivery] = []
    bodies: list[dict[str, object]] = []
    worker = Worker(transport, clock=clock)

    @worker.handler("order:new")
    def handle(message: dict[str, object], delivery: Delivery) -> None:
        bodies.append(message)
        deliveries.append(delivery)

    due_at = MessageAttribute("Number", str(int(clock.now) + 1000))
    message = outgoing(
        encode(order(name="käse"))[1],
        attributes={**COMPLETE, DUE_AT: due_at},
        delay_seconds=900,
        group_id="tenant",
        trace_header=TRACE,
    )
    transport.send(message)
    for _ in range(2):
        clock.advance(900)
        worker.run(burst=True)

    assert bodies == [{"type": "order:new", "payload": {"name": "käse"}}]
    (delivery,) = deliveries
    assert delivery.attributes == PLAIN
    received = delivery._message.received
    assert received.attributes == message.attributes
    assert received.group_id == "tenant"
    assert received.trace_header == TRACE


def test_a_message_that_cannot_be_sent_on_is_not_lost(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    transport = MemoryTransport(clock=clock)
    handled = Handled(transport, clock)
    Client(transport, clock=clock).enqueue(order(), delay_seconds=1000)
    clock.advance(900)
    transport._max_message_bytes = 10
    handled.worker.run(burst=True)
    assert [type(event) for event in handled.events] == [MessageFailed]

    transport._max_message_bytes = 1000
    assert handled.after(30) == 0
    assert handled.after(70) == 1


@pytest.mark.parametrize("value", ["soon", "1e400", "nan", "9999999999"])
def test_a_time_that_cannot_be_meant_is_a_failure_and_not_a_loop(
    transport: Transport, clock: Clock, value: str
) -> None:
    handled = Handled(transport, clock)
    attribute = MessageAttribute("Number", value)
    # No client of ours sends it.
    transport.send(outgoing(encode(order())[1], attributes={DUE_AT: attribute}))

    assert handled.after(0) == 0
    (event,) = handled.events
    assert isinstance(event, MessageFailed)
    assert isinstance(event.error, MessageInvalid)
    assert f"its attribute {DUE_AT} is not a time within 14 days" in str(event.error)


def test_a_long_delay_needs_room_for_one_attribute(transport: Transport) -> None:
    attributes = {f"name{n}": "value" for n in range(10)}
    client = Client(transport)
    client.enqueue(order(), attributes=attributes, delay_seconds=900)
    with pytest.raises(MessageInvalid, match=r"delay_seconds=901: .*one of its 10 attributes"):
        client.enqueue(order(), attributes=attributes, delay_seconds=901)


def test_sqs_holds_a_long_delay_back(aws: AwsServer) -> None:
    url = aws.make_queue()
    client = Client(url)
    client.enqueue(order(), delay_seconds=10 * DAY)
    client.enqueue_many([order(), order()], delay_seconds=901)

    numbers = aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert numbers["ApproximateNumberOfMessagesDelayed"] == "3"
    assert numbers["ApproximateNumberOfMessages"] == "0"


def test_a_message_on_sqs_is_handled_when_it_is_due(aws: AwsServer, clock: Clock) -> None:
    """As on its last two ways: received early, sent on with what is left."""
    url = aws.make_queue()
    client = Client(url)
    worker = Worker(client=client, wait_seconds=1, clock=clock)
    handled: list[Delivery] = []
    events = events_of(worker)

    @worker.handler("order:new")
    def handle(message: dict[str, object], delivery: Delivery) -> None:
        handled.append(delivery)

    def pass_the_delay(event: Event) -> None:
        if isinstance(event, MessageDelayed):
            clock.advance(event.seconds_left)

    worker.add_listener(pass_the_delay)
    due_at = MessageAttribute("Number", str(int(clock.now) + 1))
    sent_at = time.monotonic()
    client.transport().send(
        outgoing(encode(order())[1], attributes={**COMPLETE, DUE_AT: due_at}, trace_header=TRACE)
    )
    with running(worker):
        wait_for(lambda: handled, "the handler")

    assert time.monotonic() - sent_at > 0.9, "SQS did not hold it back for the second that was left"
    assert [type(event) for event in events] == [MessageDelayed, MessageHandled]
    received = handled[0]._message.received
    assert received.attributes == {**COMPLETE, DUE_AT: due_at}
    assert received.trace_header == TRACE
    client.close()
