"""Middleware that is none, or does not do its part: the error says what to give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from letsgo_queue import (
    Client,
    EnqueueManyError,
    EnqueueResult,
    IncomingMessage,
    MessageFailed,
    MessageHandled,
    Middleware,
    OutgoingMessage,
    SendContext,
    SettingsInvalid,
    Steps,
    Worker,
    use_middleware,
)
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import bodies, events_of, outgoing

MESSAGE: Mapping[str, Any] = {"type": "a"}


@dataclass
class NoMiddleware:
    """Has a hook, and another base class."""

    calls: int = 0

    def before_send(self, message: OutgoingMessage, _: SendContext) -> OutgoingMessage:
        return message


class Forgets(Middleware):
    """Whose hooks return nothing."""

    def before_send(self, message: OutgoingMessage, context: SendContext) -> Any:
        pass


class ForgetsTheResult(Middleware):
    """Whose last hook returns nothing."""

    def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> Any:
        pass


@pytest.mark.parametrize(
    ("middleware", "text"),
    [
        (NoMiddleware(), "middleware NoMiddleware: its class must inherit from letsgo_queue.Middl"),
        (Forgets, "middleware Forgets is a class: give an instance of it"),
        (None, "middleware NoneType: its class must inherit"),
    ],
)
@pytest.mark.parametrize(
    "add",
    [
        lambda given: Client(middleware=[given]),
        lambda given: Client().add_middleware(given),
        lambda given: Client().using(given),
        lambda given: Worker(middleware=[given]),
        use_middleware,
    ],
    ids=["in the client", "add_middleware", "using", "in the worker", "use_middleware"],
)
def test_what_is_no_middleware_is_refused_where_it_is_given(
    add: Callable[[Any], object], middleware: object, text: str
) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        add(middleware)


@pytest.mark.parametrize("given", [Middleware(), 5, None])
def test_a_list_is_expected(given: Any) -> None:
    for make in (Client, Worker):
        with pytest.raises(SettingsInvalid, match="give a list of middleware"):
            make(middleware=given)


def test_a_decorator_without_middleware_is_refused() -> None:
    def handle(message: object) -> None: ...

    with pytest.raises(SettingsInvalid, match="middleware function: its class must inherit"):
        use_middleware(handle)  # type: ignore[arg-type]  # that is the mistake


def test_before_send_must_return_the_message(queue: MemoryTransport) -> None:
    client = Client(queue, middleware=[Forgets()])

    with pytest.raises(SettingsInvalid, match=r"Forgets\.before_send returned NoneType: have"):
        client.enqueue(MESSAGE)
    with pytest.raises(EnqueueManyError, match="before_send returned NoneType"):
        client.enqueue_many([MESSAGE])

    assert bodies(queue) == []


def test_after_send_must_return_the_result(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    result = Client(queue, middleware=[ForgetsTheResult()]).enqueue(MESSAGE)

    assert isinstance(result, EnqueueResult)
    assert "ForgetsTheResult.after_send returned NoneType" in caplog.text


class DoesNotKnow(Middleware):
    """Whose questions about a message raise."""

    def blocks(self, message: IncomingMessage, /) -> bool:
        raise ZeroDivisionError

    def gives_type(self, message: IncomingMessage, /) -> bool:
        raise ZeroDivisionError

    def handle(self, message: IncomingMessage, /) -> Steps:
        yield


@pytest.mark.parametrize("is_async", [False, True])
def test_a_middleware_that_cannot_say_keeps_no_message_and_ends_no_worker(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    worker = Worker(queue, middleware=[DoesNotKnow()])
    handled: list[object] = []

    async def handle(message: object) -> None:
        handled.append(message)

    worker.handler("a")(handle if is_async else handled.append)
    events = events_of(worker)
    queue.send(outgoing("[]"))
    Client(queue).enqueue(MESSAGE)

    worker.run(burst=True)

    assert {type(event) for event in events} == {MessageFailed, MessageHandled}
    assert len(handled) == 1
    for said in ("waits for something", "gives it a type"):
        assert f"DoesNotKnow does not say whether it {said}" in caplog.text
