"""The spans of the claim check: on the way out, around the handler, and in AWS Lambda."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.trace import StatusCode

from claimcheck import ClaimCheckMiddleware, open_store
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Client, Message, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import noise, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import (
    Context,
    delete_handled,
    event_of,
    receive_event,
)
from tests.letsgo_queue.support import PassingTime, order, running
from tests.support.servers import AwsServer
from tests.support.spans import Spans, facts, id_of, links_of, traced
from tests.support.waiting import wait_for

LARGE = noise(6_000)
PROCESS = "process memory://"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as spans:
        yield spans


class Shop:
    """A client and a worker with a claim check."""

    def __init__(self, queue: MemoryTransport, clock: Clock, **options: Any) -> None:
        self.queue = queue
        self.check = small_claim_check(MemoryClaimStore(clock=clock))
        middleware = ClaimCheckMiddleware(self.check, **options)
        self.client = Client(queue, middleware=[middleware])
        self.worker = Worker(client=self.client)
        self.worker.handler("order:new")(self.on_order)
        self.error: Exception | None = None

    def on_order(self, message: Message[Any]) -> None:
        if self.error is not None:
            raise self.error

    def body_on_queue(self) -> str:
        (received,) = self.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        return received.body


@pytest.fixture
def queue(clock: Clock) -> MemoryTransport:
    return MemoryTransport(clock=clock)


@pytest.fixture
def shop(queue: MemoryTransport, clock: Clock) -> Iterator[Shop]:
    shop = Shop(queue, clock)
    yield shop
    shop.client.close()


def test_a_stored_message(spans: Spans, shop: Shop) -> None:
    sent = shop.client.enqueue(order(note=LARGE))
    shop.worker.run(burst=True)
    enqueue, process = spans.one("enqueue memory://"), spans.one(PROCESS)
    assert spans.inside(enqueue) == ["seal", "store", "send memory://"]
    assert facts(enqueue)["letsgo.route"] == "stored"
    assert facts(enqueue)["letsgo.stored_size"] == sent.stored_size
    steps = ["acquire", "open", "handler", "complete", "acknowledge memory://"]
    assert spans.inside(process) == steps
    assert facts(process)["letsgo.route"] == "stored"
    assert links_of(process) == [id_of(enqueue)]
    assert LARGE not in spans.exported()


def test_a_compressed_message(spans: Spans, shop: Shop) -> None:
    shop.client.enqueue(order(note="x" * 6_000))
    shop.worker.run(burst=True)
    assert spans.inside(spans.one("enqueue memory://")) == ["seal", "send memory://"]
    assert spans.inside(spans.one(PROCESS)) == ["open", "handler", "acknowledge memory://"]


def test_a_small_message_has_no_steps_of_the_claim_check(spans: Spans, shop: Shop) -> None:
    shop.client.enqueue(order())
    shop.worker.run(burst=True)
    assert spans.inside(spans.one("enqueue memory://")) == ["send memory://"]
    assert spans.inside(spans.one(PROCESS)) == ["handler", "acknowledge memory://"]


def test_a_failed_message_is_released(spans: Spans, shop: Shop) -> None:
    shop.error = ValueError("x")
    shop.client.enqueue(order(note=LARGE))
    shop.worker.run(burst=True)
    assert spans.inside(spans.one(PROCESS)) == ["acquire", "open", "handler", "release"]


def test_a_duplicate(spans: Spans, shop: Shop) -> None:
    shop.client.enqueue(order(note=LARGE))
    body = shop.body_on_queue()
    shop.worker.run(burst=True)
    spans.forget()
    shop.queue.send(OutgoingMessage(type="order:new", body=body.encode()))
    shop.worker.run(burst=True)
    process = spans.one(PROCESS)
    assert spans.inside(process) == ["acquire", "acknowledge memory://"]
    assert facts(process)["letsgo.outcome"] == "duplicate"
    assert process.status.status_code is StatusCode.UNSET


def test_a_held_message_has_a_span_for_each_try(
    spans: Spans, shop: Shop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_passes = PassingTime(clock, monkeypatch)
    shop.client.enqueue(order(note=LARGE))
    shop.check.open(shop.body_on_queue(), lease_seconds=60)
    with running(shop.worker, visibility_timeout=600):
        (held,) = wait_for(lambda: spans.named(PROCESS), "the message to be held")
        time_passes(61)
        wait_for(lambda: len(spans.named(PROCESS)) == 2, "the message to be handled")
    assert facts(held)["letsgo.outcome"] == "held"
    assert facts(held)["error.type"] == "claimcheck.errors.ClaimInProgress"
    assert held.status.status_code is StatusCode.UNSET
    handled = spans.named(PROCESS)[1]
    assert facts(handled)["letsgo.outcome"] == "handled"
    assert handled.parent is None
    assert links_of(held) == links_of(handled)


def test_a_claim_in_progress_in_lambda_is_held(
    spans: Spans, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.client.enqueue(order(note=LARGE))
    body = shop.body_on_queue()
    shop.check.open(body, lease_seconds=60)
    answer = shop.worker.lambda_handler(event_of(body), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    (process,) = [each for each in spans.all if each.name.startswith("process")]
    assert facts(process)["letsgo.outcome"] == "held"
    assert not [each for each in caplog.records if each.name.startswith("opentelemetry")]


class TestOnAws:
    """With botocore's own instrumentation on, whose spans are inside ours."""

    @pytest.fixture
    def cloud(self, spans: Spans, ministack: AwsServer) -> Iterator[Cloud]:
        table = ministack.make_table_name()
        instrumentor = BotocoreInstrumentor()  # type: ignore[no-untyped-call]  # it has no types
        instrumentor.instrument(tracer_provider=spans.provider)
        cloud = Cloud(ministack, table)
        spans.forget()
        yield cloud
        instrumentor.uninstrument()
        cloud.close()

    def test_a_worker(self, spans: Spans, cloud: Cloud) -> None:
        cloud.client.enqueue(order(note=LARGE))
        cloud.worker.run(burst=True)
        enqueue, process = spans.one(f"enqueue {cloud.name}"), spans.one(f"process {cloud.name}")
        assert spans.inside(enqueue) == ["seal", "store", f"send {cloud.name}"]
        assert spans.inside(spans.one(f"send {cloud.name}")) == ["SQS.SendMessage"]
        assert spans.inside(spans.one("store")) == ["DynamoDB.PutItem"]
        assert links_of(process) == [id_of(enqueue)]
        steps = ["acquire", "open", "handler", "complete", f"acknowledge {cloud.name}"]
        assert spans.inside(process) == steps
        assert sorted(spans.inside(spans.one("acquire"))) == [
            "DynamoDB.GetItem",
            "DynamoDB.UpdateItem",
        ]
        assert "DynamoDB.UpdateItem" in spans.inside(spans.one("complete"))
        (acknowledged,) = spans.inside(spans.one(f"acknowledge {cloud.name}"))
        assert acknowledged.startswith("SQS.DeleteMessage")
        assert facts(process)["messaging.system"] == "aws_sqs"
        assert facts(process)["aws.sqs.queue.url"] == cloud.url

    def test_lambda(self, spans: Spans, cloud: Cloud) -> None:
        for note in (LARGE, "small"):
            cloud.client.enqueue(order(note=note))
        event = receive_event(cloud.aws, cloud.url)
        with spans.tracer.start_as_current_span("invocation") as invocation:
            answer = cloud.worker.lambda_handler(event, Context())
        assert delete_handled(cloud.aws, cloud.url, event, answer) == []
        processed = spans.named(f"process {cloud.name}")
        assert [each.parent for each in processed] == [invocation.get_span_context()] * 2
        enqueued = [id_of(each) for each in spans.named(f"enqueue {cloud.name}")]
        assert sorted(id for each in processed for id in links_of(each)) == sorted(enqueued)
        inside = sorted(spans.inside(each) for each in processed)
        assert inside == [["acquire", "open", "handler", "complete"], ["handler"]]
        assert [facts(each)["letsgo.outcome"] for each in processed] == ["handled"] * 2


class Cloud:
    """A queue and a table on a server, with a client and a worker."""

    def __init__(self, aws: AwsServer, table: str) -> None:
        self.aws = aws
        self.url = aws.make_queue()
        self.name = self.url.rpartition("/")[2]
        ClaimTable(table, region=aws.region).create()
        self.store = open_store(f"dynamodb://{table}")
        self.client = Client(
            self.url, middleware=[ClaimCheckMiddleware(small_claim_check(self.store))]
        )
        self.worker = Worker(client=self.client)
        self.worker.handler("order:new")(lambda message: None)

    def close(self) -> None:
        self.client.close()
        self.store.close()
