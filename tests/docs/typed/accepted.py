"""What type checkers accept, and the types that they find. Nothing here is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_type

import boto3
from mypy_boto3_sqs import SQSClient
from pydantic import BaseModel

import claimcheck
import letsgo_queue
from claimcheck import ClaimCheckMiddleware, unwrap_claim_check
from claimcheck.integrations.boto3 import attach
from letsgo_queue import (
    Client,
    Delivery,
    EnqueueResult,
    IncomingMessage,
    Message,
    Middleware,
    OutgoingMessage,
    RetryPolicy,
    SendContext,
    Steps,
    Worker,
    use_middleware,
)
from letsgo_queue.testing import (
    LambdaFixture,
    Outbox,
    SentMessage,
    WorkerFixture,
    make_delivery,
)


class Order(BaseModel):
    order_id: str


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


class Tagged(Message[dict[str, Any]]):
    tags: tuple[str, ...] = ()


order = Order(order_id="42")
message = OrderNew(payload=order)
assert_type(message.type, Literal["order:new"])
assert_type(message.payload, Order)
Message(type="a", payload=1)
Message[Order](type="order:new", payload=order)
Tagged(type="a", payload={"b": 1}, tags=("x",))


def log(message: Message[BaseModel]) -> None:
    """A message of an order is a message of a model."""


log(message)


class Tracing(Middleware):
    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        return replace(message, attributes={**message.attributes, "trace": "abc", "try": 1})

    def handle(self, message: IncomingMessage, /) -> Steps:
        yield


@dataclass
class Logging(Middleware):
    name: str

    def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> EnqueueResult:
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class MyResult(EnqueueResult):
    cost: float


class Pricing(Middleware[MyResult]):
    def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> MyResult:
        return MyResult(message_id=result.message_id, queue=result.queue, cost=0.4e-6)


assert_type(Client().enqueue(message), EnqueueResult)
assert_type(Client("memory://", session=boto3.Session()).enqueue(message), EnqueueResult)
assert_type(Client(middleware=[Tracing(), Logging("a")]).enqueue(message), EnqueueResult)
assert_type(Client(middleware=[Pricing()]).enqueue(message).cost, float)

sealing = Client("memory://", middleware=[ClaimCheckMiddleware()])
assert_type(sealing.enqueue(message), claimcheck.EnqueueResult)
assert_type(sealing.enqueue_many([message, message]), list[claimcheck.EnqueueResult])
assert_type(sealing.enqueue(message).route, Literal["inline", "compressed", "stored"])
assert_type(
    Client(middleware=[Tracing()]).using(ClaimCheckMiddleware()).enqueue(message),
    claimcheck.EnqueueResult,
)
assert_type(letsgo_queue.enqueue(message, delay_seconds=3), EnqueueResult)
assert_type(claimcheck.enqueue({"type": "a", "payload": 1}), claimcheck.EnqueueResult)
sealing.enqueue_many([message], group_id=lambda message: message.payload.order_id)


async def send() -> None:
    assert_type(await sealing.aenqueue(message), claimcheck.EnqueueResult)
    assert_type(await letsgo_queue.aenqueue(message), EnqueueResult)


def set_up(client: Client, middleware: Sequence[Middleware]) -> Worker:
    """Any client and any middleware are a `Client` and a `Middleware`."""
    return Worker(client=client, middleware=middleware)


worker = set_up(sealing, [ClaimCheckMiddleware(), Tracing()])


@worker.handler(OrderNew)
def on_order(message: OrderNew) -> int:
    return len(message.payload.order_id)


@worker.handler("order:old", retry_policy=RetryPolicy())
@unwrap_claim_check
@use_middleware(Tracing(), ClaimCheckMiddleware())
async def on_old(message: Message[Order], delivery: Delivery) -> None:
    delivery.extend(60)


@worker.default
def otherwise(message: dict[str, Any]) -> str:
    return "anything"


@worker.scheduled
def nightly(event: dict[str, Any]) -> None: ...


@worker.scheduled("cron(0 3 * * ? *)", timezone="Europe/Berlin", name="nightly")
async def report(event: Mapping[str, object]) -> int:
    return len(event)


@worker.scheduled(name="hourly")
def hourly(event: dict[str, Any]) -> None: ...


class Handlers:
    def handle(self, message: OrderNew) -> None: ...


worker.handler(OrderNew)(Handlers().handle)
worker.handler(OrderNew)(lambda message: len(message.type))
assert_type(on_order(message), int)
assert_type(attach(boto3.client("sqs")), SQSClient)
attach(boto3.resource("sqs").meta.client)


def test_orders(
    letsgo_outbox: Outbox, letsgo_worker: WorkerFixture, letsgo_lambda: LambdaFixture
) -> None:
    sent = letsgo_outbox.one(OrderNew)
    assert_type(sent, SentMessage[OrderNew])
    assert_type(sent.message.payload.order_id, str)
    assert_type([each.stored_size for each in letsgo_outbox.of(OrderNew)], list[int])
    assert_type(letsgo_outbox.of("a")[0].message, dict[str, Any])
    assert_type([each.message for each in letsgo_outbox], list[dict[str, Any]])
    assert_type(letsgo_outbox.one(), SentMessage[dict[str, Any]])
    work = letsgo_worker(worker, set_up(sealing, []), max_receives=3)
    assert_type(work.drain(raises=False).retried[0].retry_delay, int | None)
    work.advance(work.waiting[0].seconds)
    letsgo_lambda(worker.lambda_handler).drain()
    assert_type(on_order(message), int)
    make_delivery(message, receive_count=2).extend(60)
