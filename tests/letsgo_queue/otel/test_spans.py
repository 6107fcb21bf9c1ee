"""The spans of a message, as OpenTelemetry's SDK gets them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    EnqueueManyError,
    Message,
    MessageInvalid,
    MessageTooLarge,
    Reject,
    Retry,
    Worker,
)
from letsgo_queue.otel import instrument
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET, PassingTime, order, running
from tests.support.spans import Spans, facts, id_of, links_of, trace_of, traced
from tests.support.waiting import wait_for

HOUR = 3_600
ENQUEUE, SEND = "enqueue memory://", "send memory://"
PROCESS, ACKNOWLEDGE = "process memory://", "acknowledge memory://"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as spans:
        yield spans


def tried(spans: Spans, client: Client, handler: Any) -> ReadableSpan:
    """Send a message to a handler, and give the span of its only try."""
    worker = Worker(client=client)
    worker.handler("order:new")(handler)
    client.enqueue(order(note=SECRET))
    worker.run(burst=True)
    return spans.one(PROCESS)


def test_a_message_from_enqueue_to_acknowledgement(spans: Spans, client: Client) -> None:
    with spans.tracer.start_as_current_span("POST /orders") as request:
        pass
    worker = Worker(client=client)

    @worker.handler("order:new")
    def on_order(message: Message[dict[str, int]]) -> None:
        with spans.tracer.start_as_current_span("SELECT"):
            pass

    with spans.tracer.start_as_current_span("POST /orders") as request:
        sent = client.enqueue(order(order_id=42))
    worker.run(burst=True)

    enqueue, send = spans.one(ENQUEUE), spans.one(SEND)
    assert enqueue.kind is SpanKind.PRODUCER
    assert enqueue.parent == request.get_span_context()
    assert spans.inside(enqueue) == [SEND]
    assert send.kind is SpanKind.CLIENT
    assert facts(enqueue) == {
        "messaging.system": "letsgo_memory",
        "messaging.destination.name": "memory://",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "create",
        "messaging.message.id": sent.message_id,
        "messaging.message.body.size": len(b'{"type":"order:new","payload":{"order_id":42}}'),
        "messaging.message.envelope.size": 118,
        "letsgo.message.type": "order:new",
        "letsgo.route": "inline",
        "letsgo.stored_size": 0,
    }
    process = spans.one(PROCESS)
    assert process.kind is SpanKind.CONSUMER
    assert process.parent is None
    assert links_of(process) == [id_of(enqueue)]
    assert spans.inside(process) == ["handler", ACKNOWLEDGE]
    assert spans.inside(spans.one("handler")) == ["SELECT"]
    assert facts(process) == {
        "messaging.system": "letsgo_memory",
        "messaging.destination.name": "memory://",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": sent.message_id,
        "letsgo.message.type": "order:new",
        "letsgo.receive_count": 1,
        "letsgo.route": "inline",
        "letsgo.outcome": "handled",
    }
    name = facts(spans.one("handler"))["code.function.name"]
    assert str(name).endswith("on_order")
    assert enqueue.instrumentation_scope is not None
    assert str(enqueue.instrumentation_scope.schema_url).startswith("https://opentelemetry.io/")


def test_an_async_handler_and_its_threads_are_inside_too(spans: Spans, client: Client) -> None:
    def query() -> None:
        with spans.tracer.start_as_current_span("SELECT"):
            pass

    async def on_order(message: Message[Any]) -> None:
        await asyncio.to_thread(query)

    process = tried(spans, client, on_order)
    assert spans.inside(process) == ["handler", ACKNOWLEDGE]
    assert spans.inside(spans.one("handler")) == ["SELECT"]


def test_an_awaited_enqueue_is_inside_its_caller(spans: Spans, client: Client) -> None:
    async def request() -> None:
        with spans.tracer.start_as_current_span("POST /orders"):
            await client.aenqueue(order())

    asyncio.run(request())
    assert spans.inside(spans.one("POST /orders")) == [ENQUEUE]


def test_what_a_handler_enqueues_is_inside_it(spans: Spans, client: Client) -> None:
    def on_order(message: Message[Any]) -> None:
        client.enqueue({"type": "mail:send", "payload": None}, queue="memory://", delay_seconds=900)

    tried(spans, client, on_order)
    assert spans.inside(spans.one("handler")) == [ENQUEUE]


def test_a_batch_has_links_to_its_messages(spans: Spans, client: Client) -> None:
    worker = Worker(client=client)
    worker.handler("order:new")(lambda message: None)
    client.enqueue_many([order(order_id=number) for number in range(3)])
    worker.run(burst=True)

    enqueued = {id_of(each) for each in spans.named(ENQUEUE)}
    assert len(enqueued) == 3
    send = spans.one(SEND)
    assert set(links_of(send)) == enqueued
    assert facts(send)["messaging.batch.message_count"] == 3
    assert {id for each in spans.named(PROCESS) for id in links_of(each)} == enqueued
    processed = {id_of(each) for each in spans.named(PROCESS)}
    acknowledged = [
        id
        for each in spans.named(ACKNOWLEDGE)
        for id in (links_of(each) or [each.parent.span_id if each.parent else 0])
    ]
    assert sorted(acknowledged) == sorted(processed)


def fail(message: Message[Any]) -> None:
    raise ValueError(SECRET)


async def fail_async(message: Message[Any]) -> None:
    fail(message)


@pytest.mark.parametrize("handler", [fail, fail_async])
def test_a_failure_says_where_and_not_what(spans: Spans, client: Client, handler: Any) -> None:
    process = tried(spans, client, handler)
    for span in (process, spans.one("handler")):
        assert span.status.status_code is StatusCode.ERROR
        assert facts(span)["error.type"] == "ValueError"
        assert "test_spans.py" in (span.status.description or "")
        assert "in fail" in (span.status.description or "")
    assert facts(process)["letsgo.outcome"] == "failed"
    assert SECRET not in spans.exported()


def test_an_error_of_ours_says_what_to_do(spans: Spans, client: Client) -> None:
    worker = Worker(client=client)
    worker.handler("mail:send")(fail)
    client.enqueue(order(note=SECRET))
    worker.run(burst=True)
    process = spans.one(PROCESS)
    assert facts(process)["error.type"] == "letsgo_queue.errors.HandlerMissing"
    assert "order:new" in (process.status.description or "")
    assert spans.named("handler") == []
    assert SECRET not in spans.exported()


def test_a_retry_that_was_asked_for_is_no_error(spans: Spans, client: Client) -> None:
    def later(message: Message[Any]) -> None:
        raise Retry(delay=HOUR)

    process = tried(spans, client, later)
    assert facts(process)["letsgo.outcome"] == "retried"
    assert process.status.status_code is StatusCode.UNSET


def test_a_rejected_message(spans: Spans, client: Client) -> None:
    def refuse(message: Message[Any]) -> None:
        raise Reject("there is no such customer")

    process = tried(spans, client, refuse)
    assert facts(process)["letsgo.outcome"] == "rejected"
    assert process.status.status_code is StatusCode.ERROR


def test_each_delivery_has_a_span_of_its_own(
    spans: Spans, client: Client, time_passes: PassingTime
) -> None:
    worker = Worker(client=client)

    @worker.handler("order:new")
    def on_order(message: Message[Any], delivery: Delivery) -> None:
        if delivery.receive_count == 1:
            raise Retry(delay=60)

    client.enqueue(order())
    worker.run(burst=True)
    time_passes(61)
    worker.run(burst=True)
    first, second = spans.named(PROCESS)
    assert [facts(each)["letsgo.receive_count"] for each in (first, second)] == [1, 2]
    assert links_of(first) == links_of(second) == [id_of(spans.one(ENQUEUE))]
    assert first.context != second.context
    assert second.parent is None


def test_a_long_delay_keeps_the_link(
    spans: Spans, queue: MemoryTransport, clock: Clock, time_passes: PassingTime
) -> None:
    client = Client(queue, clock=clock)
    worker = Worker(client=client, clock=clock)
    worker.handler("order:new")(lambda message: None)
    client.enqueue(order(), delay_seconds=1_000)
    time_passes(901)
    worker.run(burst=True)
    time_passes(100)
    worker.run(burst=True)
    sent_on, handled = spans.named(PROCESS)
    assert facts(sent_on)["letsgo.outcome"] == "delayed"
    assert facts(handled)["letsgo.outcome"] == "handled"
    assert links_of(handled) == [id_of(spans.one(ENQUEUE))]


def test_a_message_that_is_given_back(spans: Spans, client: Client) -> None:
    worker = Worker(client=client)
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("order:new")
    def on_order(message: Message[Any]) -> None:
        begun.set()
        go_on.wait(20)

    client.enqueue(order())
    with running(worker, drain_timeout=0.1):
        assert begun.wait(20)
        worker.stop()
        process = wait_for(lambda: spans.named(PROCESS), "the message to be given back")[0]
        go_on.set()
    assert facts(process)["letsgo.outcome"] == "given_back"


@pytest.mark.parametrize(
    ("message", "error"),
    [(order(note="x" * 2_000_000), MessageTooLarge), (order(), MessageInvalid)],
    ids=["too large", "a refused option"],
)
def test_what_is_not_sent(
    spans: Spans, client: Client, message: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.enqueue(message, delay_seconds=0 if error is MessageTooLarge else -1)
    enqueue = spans.one(ENQUEUE)
    assert enqueue.status.status_code is StatusCode.ERROR
    assert facts(enqueue)["error.type"] == f"letsgo_queue.errors.{error.__name__}"


def test_one_of_many_that_is_not_sent(spans: Spans, client: Client) -> None:
    with pytest.raises(EnqueueManyError):
        client.enqueue_many([order(), order(note="x" * 2_000_000)])
    statuses = [each.status.status_code for each in spans.named(ENQUEUE)]
    assert sorted(statuses, key=lambda each: each.value) == [StatusCode.UNSET, StatusCode.ERROR]


def test_a_span_inside_another_trace(client: Client) -> None:
    """With `continue_trace` the handler belongs to the trace of the sender."""
    with traced(continue_trace=True) as spans:
        process = tried(spans, client, lambda message: None)
        enqueue = spans.one(ENQUEUE)
        assert process.parent is not None
        assert process.parent.span_id == id_of(enqueue)
        assert trace_of(process) == trace_of(enqueue)
        assert links_of(process) == []


class TestNotSampled:
    """A trace that nobody records costs little, and is not recorded further down."""

    def test_nothing_is_recorded_and_nothing_travels(self, client: Client) -> None:
        with traced(ParentBased(ALWAYS_OFF)) as unsampled:
            worker = Worker(client=client)
            seen: list[bool] = []

            @worker.handler("order:new")
            def on_order(message: Message[Any], delivery: Delivery) -> None:
                seen.append("traceparent" in delivery.attributes)
                with unsampled.tracer.start_as_current_span("SELECT") as span:
                    seen.append(span.is_recording())

            client.enqueue(order())
            client.enqueue_many([order(), order()])
            worker.run(burst=True)
            assert seen == [False, False] * 3
            assert unsampled.all == []

    def test_the_decision_of_the_sender_holds(self, client: Client) -> None:
        with traced(ParentBased(ALWAYS_OFF), continue_trace=True):
            client.enqueue(order())
        with traced(continue_trace=True) as spans:
            worker = Worker(client=client)
            handled: list[object] = []
            worker.handler("order:new")(handled.append)
            worker.run(burst=True)
            assert len(handled) == 1
            assert spans.all == []


def test_turning_it_off_and_on(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with traced() as spans:
        caplog.set_level(logging.CRITICAL)  # OpenTelemetry says that it is on already
        instrument(tracer_provider=Spans().provider)
        client.enqueue(order())
        assert len(spans.all) == 2
    client.enqueue(order())
    assert len(spans.all) == 2
    with traced() as again:
        client.enqueue(order())
        assert len(again.all) == 2


def test_nothing_is_loaded_when_it_is_off() -> None:
    script = """
import sys, claimcheck, letsgo_queue
client = letsgo_queue.Client("memory://", middleware=[claimcheck.ClaimCheckMiddleware()])
worker = letsgo_queue.Worker(client=client)
worker.handler("order:new")(lambda message: None)
client.enqueue({"type": "order:new", "payload": "x" * 300_000})
worker.run(burst=True)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_a_queue_that_is_found_late_is_named(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = MemoryTransport()
    client = Client()
    monkeypatch.setattr(client, "_transport_of", lambda url: transport)
    monkeypatch.setattr(client, "_url_of", lambda queue: None)
    client.enqueue(order())
    assert facts(spans.one(ENQUEUE))["messaging.destination.name"] == "memory://"
