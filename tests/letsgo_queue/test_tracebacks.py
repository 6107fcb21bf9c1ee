"""What the log shows where a handler, or a listener, validates a payload, and fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from letsgo_queue import Client, Message, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET


class Card(BaseModel):
    number: int


class Refused(Exception):
    def __init__(self, name: str, *, why: str) -> None:
        super().__init__(f"{name}: {why}")


def validates(payload: dict[str, Any]) -> None:
    Card.model_validate(payload)


def has_a_validation_as_its_cause(payload: dict[str, Any]) -> None:
    try:
        validates(payload)
    except ValidationError as error:
        raise ValueError("no card") from error


def cannot_be_copied(payload: dict[str, Any]) -> None:
    try:
        validates(payload)
    except ValidationError:
        raise Refused("card", why="unreadable")  # noqa: B904  that is the test


def has_a_long_chain(payload: dict[str, Any]) -> None:
    try:
        validates(payload)
    except ValidationError as error:
        last: Exception = error
        for number in range(50):
            try:
                raise ValueError(f"level {number}") from last
            except ValueError as next_one:
                last = next_one
        raise last  # noqa: B904  that is the test


def raises_several(payload: dict[str, Any]) -> None:
    try:
        validates(payload)
    except ValidationError as error:
        raise ExceptionGroup("all", [error, KeyError("another")]) from None


@pytest.mark.parametrize(
    ("fails", "shown"),
    [
        (validates, "1 validation error for Card: int_parsing"),
        (has_a_validation_as_its_cause, "ValueError: no card"),
        (cannot_be_copied, "Refused (TypeError when it was copied)"),
        (raises_several, "KeyError: 'another'"),
        (has_a_long_chain, "ValueError: level 49"),
    ],
)
def test_the_input_of_a_validation_is_not_shown(
    client: Client,
    queue: MemoryTransport,
    caplog: pytest.LogCaptureFixture,
    fails: Callable[[dict[str, Any]], None],
    shown: str,
) -> None:
    worker = Worker(queue)

    @worker.handler("card:new")
    def on_card(message: Message[dict[str, Any]]) -> None:
        fails(message.payload)

    client.enqueue({"type": "card:new", "payload": {"number": SECRET}})

    worker.run(burst=True)

    assert shown in caplog.text
    assert f"in {fails.__name__}" in caplog.text, "the traceback leads to the line"
    assert "1 validation error for Card: int_parsing" in caplog.text
    assert SECRET not in caplog.text


def test_other_exceptions_are_shown_as_they_are(
    client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(queue)

    @worker.handler("card:new")
    def on_card(message: Message[dict[str, Any]]) -> None:
        raise KeyError("sku")

    client.enqueue({"type": "card:new", "payload": {}})

    worker.run(burst=True)

    assert "KeyError: 'sku'" in caplog.text


def test_nor_is_the_input_that_a_listener_refuses(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.add_listener(lambda event: validates({"number": SECRET}))

    client.enqueue({"type": "card:new", "payload": {}})

    assert "1 validation error for Card: int_parsing" in caplog.text
    assert SECRET not in caplog.text
