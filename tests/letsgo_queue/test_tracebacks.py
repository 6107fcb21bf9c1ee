"""What the log shows where a handler, or a listener, validates a payload, and fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from letsgo_queue import Client, Message, Worker
from letsgo_queue.tracebacks import for_log
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


class Several(ExceptionGroup[Exception]):
    def derive(self, excs: Any) -> Any:
        raise KeyError("no others")


def test_a_group_that_cannot_be_copied_is_logged_all_the_same(
    client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(queue)

    @worker.handler("card:new")
    def on_card(message: Message[dict[str, Any]]) -> None:
        try:
            validates(message.payload)
        except ValidationError as error:
            raise Several("all", [error]) from None

    client.enqueue({"type": "card:new", "payload": {"number": SECRET}})

    worker.run(burst=True)

    assert "of type card:new failed in delivery 1: Several" in caplog.text
    assert "Several (KeyError when it was copied)" in caplog.text
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


@pytest.mark.parametrize("is_async", [False, True])
def test_the_traceback_begins_in_the_handler(
    client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    worker = Worker(queue)

    def on_card(message: Message[dict[str, Any]]) -> None:
        client.enqueue({"type": "", "payload": {}})

    async def on_card_async(message: Message[dict[str, Any]]) -> None:
        await asyncio.sleep(0)
        on_card(message)

    worker.handler("card:new")(on_card_async if is_async else on_card)
    client.enqueue({"type": "card:new", "payload": {}})

    worker.run(burst=True)

    lines = [each.rpartition(", in ")[2] for each in caplog.text.splitlines() if '  File "' in each]
    first, *others = lines
    assert first == ("on_card_async" if is_async else "on_card")
    assert "enqueue" in others, "what the handler calls is all there"


@pytest.mark.parametrize(
    ("modules", "first"),
    [
        (["letsgo_queue.worker.processing", "contextlib", "shop", "claimcheck.enqueue"], "shop"),
        (["asyncio.tasks", "letsgo_queue.worker.event_loop", "__main__", "asyncio"], "__main__"),
        (["letsgo_queue.worker.loop", "claimcheck.core.life"], "letsgo_queue.worker.loop"),
        (["claimcheck.stores.s3", "botocore.client", "urllib3"], "claimcheck.stores.s3"),
    ],
)
def test_what_began_in_the_library_keeps_all_its_lines(modules: list[str], first: str) -> None:
    line, call = "1 / 0", None
    for name in reversed(modules):
        module: dict[str, Any] = {"__name__": name, "call": call}
        exec(f"def run(): {line}", module)
        line, call = "call()", module["run"]
    assert call is not None
    with pytest.raises(ZeroDivisionError) as raised:
        call()
    error = raised.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without the line of this test

    _, _, shown = for_log(error)

    assert shown is not None
    assert shown.tb_frame.f_globals["__name__"] == first


def test_nor_is_the_input_that_a_listener_refuses(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.add_listener(lambda event: validates({"number": SECRET}))

    client.enqueue({"type": "card:new", "payload": {}})

    assert "1 validation error for Card: int_parsing" in caplog.text
    assert SECRET not in caplog.text
