"""Handlers: which functions can be one, and what they are called with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, PlainValidator, field_validator
from typing_extensions import TypedDict

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Message,
    MessageAttribute,
    MessageHandled,
    MessageInvalid,
    Middleware,
    SettingsInvalid,
    Steps,
    Worker,
)
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import (
    SECRET,
    events_of,
    failure,
    order,
    outgoing,
    printed,
    receive_one,
)

if TYPE_CHECKING:
    from decimal import Decimal

ORDER_42 = order(order_id="42")


def nothing(message: dict[str, Any]) -> None:
    """A handler that is content."""


class Order(BaseModel):
    order_id: str
    lines: list[dict[str, int]] = []


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


class PlainOrder(BaseModel):
    payload: Order


class TypedOrder(TypedDict):
    type: str
    payload: dict[str, Any]


@dataclass
class OrderRecord:
    type: str
    payload: Order


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (OrderNew, OrderNew(payload=Order(order_id="42"))),
        (PlainOrder, PlainOrder(payload=Order(order_id="42"))),
        (dict, ORDER_42),
        (dict[str, Any], ORDER_42),
        (Message, Message[Any](type="order:new", payload={"order_id": "42"})),
        (Message[Order], Message[Order](type="order:new", payload=Order(order_id="42"))),
        (None, Message[Any](type="order:new", payload={"order_id": "42"})),
        (TypedOrder, ORDER_42),
        (OrderRecord, OrderRecord(type="order:new", payload=Order(order_id="42"))),
        (Annotated[dict[str, Any], Field(min_length=2)], ORDER_42),
        ("OrderNew", OrderNew(payload=Order(order_id="42"))),
    ],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_gets_the_message_as_it_is_annotated(
    client: Client, worker: Worker, annotation: Any, expected: object, *, is_async: bool
) -> None:
    got: list[object] = []

    def on_order(message: object) -> None:
        got.append(message)

    async def on_order_async(message: object) -> None:
        await asyncio.sleep(0)
        got.append(message)

    handler = on_order_async if is_async else on_order
    handler.__annotations__ = {} if annotation is None else {"message": annotation}
    worker.handler("order:new")(handler)
    client.enqueue(ORDER_42)

    worker.run(burst=True)

    assert got == [expected]
    assert type(got[0]) is type(expected)


def test_gets_the_delivery_if_it_asks(client: Client, queue: MemoryTransport, clock: Clock) -> None:
    got: list[Delivery] = []
    worker = Worker(queue)

    @worker.handler("order:new")
    def on_order(message: OrderNew, delivery: Delivery) -> None:
        got.append(delivery)

    result = client.enqueue(ORDER_42, attributes={"tenant": "t-1"})
    worker.run(burst=True)

    (delivery,) = got
    assert delivery.message_id == result.message_id
    assert delivery.type == "order:new"
    assert delivery.receive_count == 1
    assert delivery.sent_at == datetime.fromtimestamp(clock.now, UTC)
    assert delivery.attributes == {"tenant": MessageAttribute("String", "t-1")}
    assert delivery.queue == "memory://"


class Shop:
    """Handlers that are no plain functions."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def method(self, message: OrderNew) -> None:
        self.got.append("method")

    def __call__(self, message: OrderNew) -> None:
        self.got.append("object")

    async def with_text(self, text: str, message: OrderNew, delivery: Delivery) -> None:
        self.got.append(text)


@pytest.mark.parametrize(
    ("handler_of", "expected"),
    [
        (lambda shop: shop.method, "method"),
        (lambda shop: shop, "object"),
        (lambda shop: partial(shop.with_text, "partial"), "partial"),
    ],
)
def test_handler_may_be_a_method_an_object_or_a_partial(
    client: Client, worker: Worker, handler_of: Callable[[Shop], Any], expected: str
) -> None:
    shop = Shop()
    worker.handler("order:new")(handler_of(shop))
    client.enqueue(ORDER_42)

    worker.run(burst=True)

    assert shop.got == [expected]


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda: None, "takes ()"),
        (lambda message, delivery, more: None, "takes (message, delivery, more)"),
        (lambda *messages: None, "takes (*messages)"),
        (lambda message, *, database: None, "takes (message, *, database)"),
        (lambda delivery: None, "takes (delivery)"),
        (lambda delivery, message: None, "takes (delivery, message)"),
        (lambda order, message: None, "takes (order, message)"),
    ],
)
def test_refuses_a_handler_that_cannot_be_called(
    worker: Worker, function: Callable[..., None], takes: str
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        worker.handler("order:new")(function)

    assert f"<lambda> {takes}: a handler takes (message) or (message, delivery)." in str(
        refused.value
    )


def test_refuses_a_delivery_in_place_of_the_message(worker: Worker) -> None:
    def on_order(it: Delivery) -> None: ...

    with pytest.raises(SettingsInvalid, match=r"on_order takes \(it: Delivery\): a handler takes"):
        worker.handler("order:new")(on_order)


def generator(message: object) -> Iterator[None]:
    yield


async def async_generator(message: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [generator, async_generator])
def test_refuses_a_generator(worker: Worker, function: Any) -> None:
    with pytest.raises(SettingsInvalid, match="is a generator: calling it would run nothing"):
        worker.handler("order:new")(function)


class NotForPydantic:
    """What pydantic cannot validate."""


class Unfinished(Message["NeverDefined"]):  # type: ignore[name-defined]
    """Its payload is of a type that is nowhere."""


def unknown_annotation(message: dict[str, Decimal]) -> None: ...
def unusable_annotation(message: Message[NotForPydantic]) -> None: ...
def unfinished_annotation(message: Unfinished) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (unknown_annotation, "name 'Decimal' is not defined"),
        (unusable_annotation, "Unable to generate pydantic-core schema"),
        (unfinished_annotation, "name 'NeverDefined' is not defined"),
    ],
)
def test_refuses_annotations_that_cannot_be_used_before_it_takes_a_message(
    client: Client,
    queue: MemoryTransport,
    worker: Worker,
    function: Callable[..., None],
    text: str,
) -> None:
    worker.handler("order:new")(function)
    client.enqueue(ORDER_42)

    with pytest.raises(SettingsInvalid, match=text) as refused:
        worker.run(burst=True)

    assert function.__name__ in str(refused.value)
    assert "https:" not in str(refused.value)
    assert receive_one(queue).receive_count == 1


class Picky(BaseModel):
    colour: Literal["red"]

    @field_validator("colour", mode="before")
    @classmethod
    def check(cls, colour: str) -> str:
        raise ValueError(f"I do not like {colour}")


@pytest.mark.parametrize(
    ("annotation", "payload", "problem"),
    [
        (OrderNew, {"order_id": [SECRET]}, "payload.order_id (string_type)"),
        (OrderNew, SECRET, "payload (model_type)"),
        (OrderNew, {"order_id": SECRET, "lines": [{SECRET: SECRET}]}, "payload.lines.0.* (int_"),
        (Message[Picky], {"colour": SECRET}, "payload.colour (value_error)"),
        (Message[dict[str, int]], {SECRET: SECRET}, "payload.* (int_parsing)"),
        (
            list[int],
            SECRET,
            "fit the handler tests.letsgo_queue.worker.test_handler.test_failed_validation",
        ),
    ],
)
def test_failed_validation_names_fields_but_no_content(
    *,
    client: Client,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
    annotation: Any,
    payload: object,
    problem: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    events = events_of(worker)

    def on_order(message: object) -> None:
        pytest.fail("the handler ran")

    on_order.__annotations__ = {"message": annotation}
    worker.handler("order:new")(on_order)
    result = client.enqueue({"type": "order:new", "payload": payload})

    worker.run(burst=True)

    error = failure(events)
    assert isinstance(error, MessageInvalid)
    assert problem in str(error)
    assert f"message {result.message_id} of type 'order:new'" in str(error)
    assert problem in caplog.text
    assert SECRET not in printed(error) + caplog.text


@pytest.mark.parametrize("annotation", [OrderNew, dict, Message, PlainOrder])
def test_sealed_message_without_the_decorator_says_to_add_it(
    queue: MemoryTransport, worker: Worker, annotation: Any
) -> None:
    """Even where the handler takes any dict."""
    events = events_of(worker)

    def on_order(message: object) -> None:
        pytest.fail("the handler ran")

    on_order.__annotations__ = {"message": annotation}
    worker.handler("order:new")(on_order)
    queue.send(outgoing('{"type":"order:new","claimCheck":{"v":1,"id":"' + SECRET + '"}}'))

    worker.run(burst=True)

    error = failure(events)
    assert "is a claim check, and nothing opened it" in str(error)
    assert "@claimcheck.unwrap_claim_check" in str(error)
    assert SECRET not in printed(error)


class Opens(Middleware):
    """Gives the handler another body than that on the queue."""

    def __init__(self, body: str) -> None:
        self.body = body

    def handle(self, message: IncomingMessage, /) -> Steps:
        message.open(self.body)
        yield


def test_message_that_only_looks_sealed_once_opened_is_handled(
    client: Client, queue: MemoryTransport
) -> None:
    got: list[object] = []
    body = '{"type":"order:new","claimCheck":"my own field"}'
    worker = Worker(queue, middleware=[Opens(body)])

    @worker.default
    def on_any(message: dict[str, Any]) -> None:
        got.append(message)

    client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert got == [{"type": "order:new", "claimCheck": "my own field"}]


def test_payload_that_mentions_claim_checks_is_handled(client: Client, worker: Worker) -> None:
    events = events_of(worker)
    worker.handler("order:new")(nothing)
    client.enqueue(order(claimCheck=1))

    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled]


@pytest.mark.parametrize(("annotation"), [Message[Any], dict, OrderRecord])
def test_refuses_another_type_inside_than_it_was_routed_by(
    client: Client, queue: MemoryTransport, annotation: Any
) -> None:
    body = '{"type":"order:paid","payload":{"order_id":"42"}}'
    worker = Worker(queue, middleware=[Opens(body)])
    events = events_of(worker)

    def on_order(message: object) -> None:
        pytest.fail("the handler ran")

    on_order.__annotations__ = {"message": annotation}
    worker.handler("order:new")(on_order)
    client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert "routed as 'order:new' but has another type inside" in str(failure(events))


@pytest.mark.parametrize(
    "handler",
    [
        lambda message, retries=3: None,
        lambda message, *args, **kwargs: None,
        lambda message, *, retries=3: None,
        lambda anything: None,
        lambda anything, context: None,
    ],
)
def test_takes_what_can_be_called(
    client: Client, worker: Worker, handler: Callable[..., None]
) -> None:
    events = events_of(worker)
    worker.handler("order:new")(handler)
    client.enqueue(ORDER_42)

    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_may_return_anything(client: Client, worker: Worker, *, is_async: bool) -> None:
    events = events_of(worker)

    def on_order(message: OrderNew) -> int:
        return len(message.payload.lines)

    async def on_order_async(message: OrderNew) -> dict[str, bool]:
        return {"ok": False}

    worker.handler(OrderNew)(on_order_async if is_async else on_order)
    client.enqueue(ORDER_42)
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageHandled]


def test_a_parameter_with_a_default_is_the_functions_own(queue: MemoryTransport) -> None:
    Client(queue).enqueue(order())
    worker = Worker(queue)
    got: list[object] = []

    @worker.handler("order:new")
    def handle(message: dict[str, Any], retries: int = 3) -> None:
        got.append(retries)

    worker.run(burst=True)
    assert got == [3]


def test_the_problems_of_a_message_are_told_in_short(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    Client(queue).enqueue({"type": "order:new", "payload": [SECRET] * 5_000})
    worker = Worker(queue)

    @worker.handler("order:new")
    def handle(message: Message[list[int]]) -> None: ...

    worker.run(burst=True)
    assert "payload.9 (int_parsing); and 4,990 more" in caplog.text
    assert SECRET not in caplog.text
    assert len(caplog.text) < 2_000


class Odd(BaseModel):
    type: str
    payload: Annotated[object, PlainValidator(int)]
    hook: Callable[[], None] | None = None


def test_a_model_without_a_json_schema_tells_no_more(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    Client(queue).enqueue({"type": "order:new", "payload": SECRET})
    worker = Worker(queue)

    @worker.handler("order:new")
    def handle(message: Odd) -> None: ...

    worker.run(burst=True)
    assert "does not fit the handler" in caplog.text
    assert SECRET not in caplog.text
