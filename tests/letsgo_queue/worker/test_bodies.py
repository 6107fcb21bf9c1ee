"""Bodies as other clients write them: what is JSON reaches a handler, and nothing else does."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from letsgo_queue import Message, MessageFailed, MessageHandled, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import events_of, failure, outgoing


class Note(BaseModel):
    model_config = ConfigDict(strict=True)

    text: str
    marks: tuple[int, ...] = ()
    more: Any = None


class NoteNew(Message[Note]):
    type: Literal["order:new"] = "order:new"


HANDLED = [None, Message, Message[Any], dict, dict[str, Any]]


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


def depth_of(value: object) -> int:
    levels = 0
    while isinstance(value, list):
        levels += 1
        value = value[0] if value else None
    return levels


def handle(queue: MemoryTransport, body: str, annotation: Any) -> Any:
    """The payload that a handler gets."""
    queue.send(outgoing(body))
    got: list[Any] = []
    worker = Worker(queue)
    events = events_of(worker)

    def on_message(message: Any) -> None:
        got.append(message["payload"] if isinstance(message, dict) else message.payload)

    on_message.__annotations__ = {} if annotation is None else {"message": annotation}
    worker.handler("order:new")(on_message)
    worker.run(burst=True)
    assert [type(event) for event in events] == [MessageHandled], events
    return got[0]


def refuse(queue: MemoryTransport, body: str, annotation: Any = dict) -> str:
    """Why a body reaches no handler."""
    queue.send(outgoing(body))
    worker = Worker(queue)
    events = events_of(worker)

    def on_message(message: Any) -> None:
        pytest.fail("the handler ran")

    on_message.__annotations__ = {"message": annotation}
    worker.default(on_message)
    worker.run(burst=True)
    assert isinstance(events[0], MessageFailed)
    return str(failure(events))


@pytest.mark.parametrize("annotation", [*HANDLED, NoteNew])
@pytest.mark.parametrize("first", [True, False], ids=["type first", "type last"])
class TestJsonThatPydanticDoesNotParse:
    def body(self, payload: str, *, first: bool, annotation: Any) -> str:
        if annotation is NoteNew:
            payload = f'{{"text":"a\\ud800b","more":{payload}}}'
        parts = ['"type":"order:new"', f'"payload":{payload}']
        return "{" + ",".join(parts if first else reversed(parts)) + "}"

    def test_300_levels_reach_the_handler(
        self, queue: MemoryTransport, annotation: Any, *, first: bool
    ) -> None:
        payload = handle(
            queue, self.body(deep(300), first=first, annotation=annotation), annotation
        )

        assert depth_of(payload.more if annotation is NoteNew else payload) == 300

    def test_half_a_surrogate_pair_reaches_the_handler(
        self, queue: MemoryTransport, annotation: Any, *, first: bool
    ) -> None:
        body = self.body('{"\\udfff":"a\\ud800b"}', first=first, annotation=annotation)

        payload = handle(queue, body, annotation)

        found = payload.more if annotation is NoteNew else payload
        assert found == {"\udfff": "a\ud800b"}


@pytest.mark.parametrize("annotation", [None, Message, Message[Any], Message[int | None]])
def test_a_message_without_a_payload_has_none(queue: MemoryTransport, annotation: Any) -> None:
    assert handle(queue, '{"type":"order:new"}', annotation) is None


def test_a_message_without_a_payload_that_is_needed_is_refused(queue: MemoryTransport) -> None:
    assert "payload (model_type)" in refuse(queue, '{"type":"order:new"}', NoteNew)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("annotation", [*HANDLED[1:], NoteNew])
@pytest.mark.parametrize("first", [True, False], ids=["type first", "type last"])
def test_a_number_that_json_lacks_reaches_no_handler(
    queue: MemoryTransport, number: str, annotation: Any, *, first: bool
) -> None:
    parts = ['"type":"order:new"', f'"payload":{{"text":"","more":{number}}}']
    body = "{" + ",".join(parts if first else reversed(parts)) + "}"

    assert "is not JSON" in refuse(queue, body, annotation)


def test_text_that_speaks_of_such_numbers_is_handled_as_any_other(queue: MemoryTransport) -> None:
    text = "NaN, Infinity"
    body = f'{{"type":"order:new","payload":{{"text":"{text}","marks":[1,2]}}}}'

    assert handle(queue, body, NoteNew) == Note(text=text, marks=(1, 2))


@pytest.mark.parametrize("name", ["claim\\u0043heck", "\\u0063laimChec\\u006B", "claimCheck"])
def test_a_ticket_reaches_no_handler_however_its_name_is_written(
    queue: MemoryTransport, name: str
) -> None:
    body = f'{{"type":"order:new","{name}":{{"v":1,"data":"KLUv/Q=="}}}}'

    assert "is a claim check, and nothing opened it" in refuse(queue, body)


@pytest.mark.parametrize("name", ["type", "t\\u0079pe"])
def test_a_second_type_is_refused_however_its_name_is_written(
    queue: MemoryTransport, name: str
) -> None:
    body = f'{{"type":"other","payload":"x","{name}":"order:new"}}'

    assert "routed as 'other' but has another type inside" in refuse(queue, body)
