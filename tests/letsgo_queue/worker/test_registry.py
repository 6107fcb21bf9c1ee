"""The registry: which handler gets which messages."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import BaseModel

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    HandlerMissing,
    LetsGoMessageType,
    Message,
    SettingsInvalid,
    Worker,
)
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET, events_of, failure, receive_one

if TYPE_CHECKING:
    Later = Message[Any]


class Order(BaseModel):
    order_id: str


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


class OrderOld(Message[Order]):
    type: Literal["order:old"]


class OrderAny(Message[Order]):
    type: Literal["order:new", "order:old"]


class Kind(StrEnum):
    NEW = "order:new"


class OrderOfEnum(Message[Order]):
    type: Literal[Kind.NEW] = Kind.NEW


class OrderByDefault(Message[Order]):
    type: str = "order:new"


class Contact(Message[dict[str, str]]):
    type: Literal[LetsGoMessageType.CONTACT] = LetsGoMessageType.CONTACT


class Plain(BaseModel):
    """No `Message`, but it has a type."""

    type: Literal["order:new"]
    payload: Order


def nothing(message: dict[str, Any]) -> None:
    """A handler that is content."""


@pytest.mark.parametrize(
    ("model", "message_type"),
    [
        (OrderNew, "order:new"),
        (OrderOld, "order:old"),
        (OrderOfEnum, "order:new"),
        (OrderByDefault, "order:new"),
        (Contact, "letsgo:contact"),
        (Plain, "order:new"),
    ],
)
def test_a_model_says_which_messages(
    client: Client, worker: Worker, model: type[BaseModel], message_type: str
) -> None:
    got: list[object] = []

    @worker.handler(model)
    def on_order(message) -> None:  # type: ignore[no-untyped-def]
        got.append(message)

    client.enqueue({"type": message_type, "payload": {"order_id": "42"}})
    worker.run(burst=True)

    assert [type(message) for message in got] == [model]


def test_the_annotation_wins_over_the_model(client: Client, worker: Worker) -> None:
    got: list[object] = []

    @worker.handler(OrderNew)
    def on_order(message: dict[str, Any], delivery: Delivery) -> None:
        got.append(message)

    client.enqueue(OrderNew(payload=Order(order_id="42")))
    worker.run(burst=True)

    assert got == [{"type": "order:new", "payload": {"order_id": "42"}}]


@pytest.mark.parametrize("model", [Message, Message[Order], OrderAny, Order])
def test_refuses_a_model_without_a_type_of_its_own(worker: Worker, model: type[BaseModel]) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        worker.handler(model)(nothing)

    assert str(refused.value) == (
        f"{model.__name__} has no type of its own, so it does not say which messages: write "
        '`type: Literal["order:new"] = "order:new"` in the class, or name the type: '
        '@worker.handler("order:new").'
    )


def takes_new(message: OrderNew) -> None: ...
def takes_old(message: OrderOld, delivery: Delivery) -> None: ...
def takes_any(message: OrderAny) -> None: ...
def takes_plain(message: Plain) -> None: ...
def takes_by_default(message: OrderByDefault) -> None: ...
def takes_untyped(message: Message[Order]) -> None: ...
def takes_a_list(message: list[int]) -> None: ...


@pytest.mark.parametrize(
    ("messages", "function", "both"),
    [
        ("order:old", takes_new, ("'order:old'", "OrderNew, which has the type 'order:new'")),
        ("order:new", takes_old, ("'order:new'", "OrderOld, which has the type 'order:old'")),
        (OrderNew, takes_old, ("'order:new'", "OrderOld, which has the type 'order:old'")),
        (OrderOld, takes_plain, ("'order:old'", "Plain, which has the type 'order:new'")),
        ("order:old", takes_by_default, ("'order:old'", "has the type 'order:new'")),
        ("else", takes_any, ("'else'", "OrderAny, which has the type 'order:new' or 'order:old'")),
    ],
)
def test_refuses_a_model_of_another_type(
    worker: Worker, messages: Any, function: Any, both: tuple[str, str]
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        worker.handler(messages)(function)

    assert f"{function.__name__} is for messages of type {both[0]}, but" in str(refused.value)
    assert both[1] in str(refused.value)


@pytest.mark.parametrize(
    ("messages", "function"),
    [
        ("order:new", takes_new),
        ("order:new", takes_any),
        ("order:new", takes_plain),
        (Kind.NEW, takes_new),
        (OrderNew, takes_new),
        (OrderNew, takes_any),
        (OrderNew, takes_untyped),
        (OrderOfEnum, takes_new),
        (OrderNew, takes_a_list),
    ],
)
def test_takes_a_model_that_may_have_the_type(worker: Worker, messages: Any, function: Any) -> None:
    assert worker.handler(messages)(function) is function


def test_a_model_that_is_defined_later_is_checked_when_the_worker_starts(worker: Worker) -> None:
    def on_order(message: Later) -> None: ...

    worker.handler("order:new")(on_order)
    globals()["Later"] = OrderOld
    try:
        with pytest.raises(SettingsInvalid, match="OrderOld, which has the type 'order:old'"):
            worker.run(burst=True)
    finally:
        del globals()["Later"]


def test_default_takes_the_types_without_a_handler(client: Client, worker: Worker) -> None:
    got: list[tuple[str, str]] = []

    @worker.handler("order:new")
    def on_order(message: Message[Any]) -> None:
        got.append(("order", message.type))

    @worker.default
    def on_other(message: Message[Any]) -> None:
        got.append(("default", message.type))

    client.enqueue({"type": "order:new", "payload": 1})
    client.enqueue({"type": "else", "payload": 1})
    worker.run(burst=True)

    assert sorted(got) == [("default", "else"), ("order", "order:new")]


def test_type_has_one_handler(worker: Worker) -> None:
    worker.handler("order:new")(nothing)
    worker.default(nothing)

    with pytest.raises(SettingsInvalid, match=r"'order:new' has the handler .*nothing already"):
        worker.handler("order:new")(nothing)
    with pytest.raises(SettingsInvalid, match=r"default handler is .*nothing already"):
        worker.default(nothing)


def test_refuses_a_handler_without_a_type(worker: Worker) -> None:
    decorator: Any = worker.handler

    for given in (nothing, dict, None, ""):
        with pytest.raises(
            SettingsInvalid, match=r"say which messages: @worker.handler\(OrderNew\)"
        ):
            decorator(given)


def test_unknown_type_is_logged_and_left_on_the_queue(
    client: Client,
    queue: MemoryTransport,
    worker: Worker,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    events = events_of(worker)
    worker.handler("order:new")(nothing)
    result = client.enqueue({"type": "order:gone", "payload": SECRET})

    worker.run(burst=True)

    assert isinstance(failure(events), HandlerMissing)
    assert f"message {result.message_id} has type 'order:gone'" in caplog.text
    assert "(it has: 'order:new')" in caplog.text
    assert "@worker.default" in caplog.text
    assert SECRET not in caplog.text
    clock.advance(30)
    assert receive_one(queue).receive_count == 2
