"""However a handler fails, its message fails, and the worker goes on with the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from letsgo_queue import Client, MessageFailed, MessageHandled, Retry, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET, events_of


class UnprintableError(Exception):
    """Can be neither shown nor compared."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]  # nor kept in a set


class OwnError(BaseException):
    """Passes by whoever expects an `Exception`."""


def endless() -> Exception:
    """An error that is its own cause's cause."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def recursing() -> Any:
    return recursing()


def raising(error: Callable[[], BaseException]) -> Callable[[], object]:
    def act() -> object:
        raise error()

    return act


WAYS: dict[str, Callable[[], object]] = {
    "ValueError": raising(ValueError),
    "SystemExit": raising(SystemExit),
    "os.exit code": raising(lambda: SystemExit(b"\xff")),
    "KeyboardInterrupt": raising(KeyboardInterrupt),
    "GeneratorExit": raising(GeneratorExit),
    "CancelledError": raising(asyncio.CancelledError),
    "MemoryError": raising(MemoryError),
    "StopIteration": raising(StopIteration),
    "StopAsyncIteration": raising(StopAsyncIteration),
    "RecursionError": recursing,
    "a group": raising(lambda: BaseExceptionGroup("g", [SystemExit(3), ValueError()])),
    "no Exception": raising(OwnError),
    "unprintable": raising(lambda: UnprintableError(SECRET)),
    "its own cause": raising(endless),
    "a megabyte of text": raising(lambda: ValueError("x" * 1_000_000)),
    "no error": raising(lambda: NotImplemented),
    "TypeError of a call": lambda: WAYS("x"),  # type: ignore[operator]  # that is the way
    "a retry at an odd time": raising(lambda: Retry(delay=float("nan"))),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_whatever_a_handler_raises_the_next_message_is_handled(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    """By the same worker, one message at a time: each failure is followed by a success."""
    client, worker = Client(queue), Worker(queue, concurrency=1)
    events = events_of(worker)
    ran: list[tuple[str, str]] = []

    def fail(message: dict[str, Any]) -> None:
        ran.append(("bad", message["payload"]))
        WAYS[message["payload"]]()

    async def fail_later(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        fail(message)

    def succeed(message: dict[str, Any]) -> None:
        ran.append(("good", message["payload"]))

    async def succeed_later(message: dict[str, Any]) -> None:
        succeed(message)

    worker.handler("bad")(fail_later if is_async else fail)
    worker.handler("good")(succeed_later if is_async else succeed)
    for way in WAYS:
        client.enqueue({"type": "bad", "payload": way})
        client.enqueue({"type": "good", "payload": way})

    worker.run(burst=True)

    assert ran == [(kind, way) for way in WAYS for kind in ("bad", "good")]
    outcomes = Counter(type(event) for event in events)
    assert outcomes == {MessageFailed: len(WAYS), MessageHandled: len(WAYS)}
    assert SECRET not in caplog.text


def test_the_text_of_a_handlers_exception_is_in_its_traceback_alone(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the application's own text: the page about logging says how to keep it out."""
    worker = Worker(queue)
    prices: dict[str, int] = {}
    worker.handler("price:ask")(lambda message: prices[message.payload])
    Client(queue).enqueue({"type": "price:ask", "payload": SECRET})

    worker.run(burst=True)

    (failed,) = [record for record in caplog.records if record.exc_info]
    assert failed.exc_info is not None
    assert str(failed.exc_info[1]) == repr(SECRET)
    assert not any(SECRET in message for message in caplog.messages)
