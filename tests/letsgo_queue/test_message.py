"""Messages: how they look on the queue, and what is refused before it gets there."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_serializer

from letsgo_queue import LetsGoMessageType, Message, MessageInvalid
from letsgo_queue.message import AnyMessage, encode
from letsgo_queue.whole import MAX_DEPTH
from letsgo_queue.worker.handler import Handler
from tests.letsgo_queue.support import SECRET, incoming, printed


class Order(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    order_id: str = Field(alias="orderId")
    at: datetime


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


class Reading(Message[float]):
    type: str = "reading"


ORDER = Order(orderId="42", at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ({"type": "a", "payload": [2.5, None, True]}, '{"type":"a","payload":[2.5,null,true]}'),
        ({"type": "a", "payload": {"z": 1, "a": 2}}, '{"type":"a","payload":{"z":1,"a":2}}'),
        ({"payload": 1, "type": "a"}, '{"payload":1,"type":"a"}'),
        ({"type": "a", "payload": "Grüße, 世界 🎉"}, '{"type":"a","payload":"Grüße, 世界 🎉"}'),
        ({"type": "a", "payload": 'NaN "\x00\n'}, r'{"type":"a","payload":"NaN \"\u0000\n"}'),
        ({"type": "a"}, '{"type":"a"}'),
        (Message(type="a", payload={"b": 1}), '{"type":"a","payload":{"b":1}}'),
        (
            OrderNew(payload=ORDER),
            '{"type":"order:new","payload":{"orderId":"42","at":"2026-01-02T03:04:05Z"}}',
        ),
        (
            {"type": "a", "payload": {"order": ORDER, "at": ORDER.at}},
            '{"type":"a","payload":{"order":{"orderId":"42","at":"2026-01-02T03:04:05Z"},'
            '"at":"2026-01-02T03:04:05Z"}}',
        ),
    ],
)  # fmt: skip
def test_travels_as_compact_json(message: AnyMessage, body: str) -> None:
    message_type, encoded = encode(message)

    assert encoded == body.encode()
    assert message_type == json.loads(body)["type"]


class Indiscreet(BaseModel):
    """Its serializer quotes what it fails on."""

    text: str = SECRET

    @field_serializer("text")
    def write(self, text: str) -> str:
        raise ValueError(text)


def circular() -> list[Any]:
    ring: list[Any] = [SECRET]
    ring.append(ring)
    return ring


def nested(levels: int) -> list[Any]:
    deep: list[Any] = [SECRET]
    for _ in range(levels):
        deep = [deep]
    return deep


def payload_in(body: bytes) -> Any:
    """The payload, as a worker reads it."""
    return Message[Any].model_validate_json(body).payload


TOO_DEEP = "it refers to itself, or has far too many levels"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({SECRET: object()}, "cannot be written as JSON: payload.* is of type object"),
        ({"lines": [1, {"note": object()}]}, "JSON: payload.lines[1].note is of type object"),
        ({"at": {SECRET, 1, print}}, "payload.at"),
        ([SECRET, b"\xff"], "payload[1] is bytes that is not Unicode"),
        (circular(), TOO_DEEP),
        ([Indiscreet()], "payload[0] is of type Indiscreet, whose serializer fails"),
        (SECRET + "\ud800", "payload is str that is not Unicode"),
        ({SECRET + "\ud800": 1}, "payload has a key that is not text"),
        (nested(100_000), TOO_DEEP),
        (nested(MAX_DEPTH + 20), f"nests over {MAX_DEPTH} levels deep"),
        ({SECRET: float("nan")}, "payload.* is NaN or Infinity"),
        ([SECRET, float("inf")], "payload[1] is NaN or Infinity"),
        ([SECRET, -float("inf")], "payload[1] is NaN or Infinity"),
        (SECRET + "\ufffe", "contains U+FFFE or U+FFFF"),
        ({SECRET + "\uffff": 1}, "contains U+FFFE or U+FFFF"),
    ],
    ids=[
        "object", "place", "set", "bytes", "circular", "serializer", "surrogate", "surrogate-key",
        "abyss", "deep", "nan", "infinity", "minus-infinity", "U+FFFE", "U+FFFF-key",
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrap", [dict, Message], ids=["dict", "Message"])
def test_refuses_what_cannot_travel_and_tells_no_content(
    wrap: Callable[..., AnyMessage], payload: object, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    with pytest.raises(MessageInvalid, match=re.escape(text)) as refused:
        encode(wrap(type="order:new", payload=payload))

    assert "'order:new'" in str(refused.value)
    assert not refused.value.retryable
    assert SECRET not in printed(refused.value) + caplog.text


def test_refuses_nan_in_a_typed_payload() -> None:
    with pytest.raises(MessageInvalid, match="NaN or Infinity"):
        encode(Reading(payload=float("nan")))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [[1, 0, 2], [0, 1], [1, 0], {"a": 0, "b": 1}, {"b": [[0]]}, 0])
def test_refuses_numbers_that_json_does_not_have_wherever_they_are(
    number: float, place: object
) -> None:
    payload = json.loads(json.dumps(place).replace("0", json.dumps(number)))

    with pytest.raises(MessageInvalid, match="NaN or Infinity"):
        encode({"type": "a", "payload": payload})


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", ":NaN,", "[NaN]", ",-Infinity}", "a NaN, an Infinity"]
)
def test_takes_text_that_speaks_of_such_numbers(text: str) -> None:
    _, body = encode({"type": "a", "payload": [text, {text: 1}]})

    assert payload_in(body) == [text, {text: 1}]


@pytest.mark.parametrize("text", ["\uff0c", "\ufffd", "\ufeff", "\U0010fffd"])
def test_takes_characters_next_to_those_that_sqs_refuses(text: str) -> None:
    assert payload_in(encode({"type": "a", "payload": text})[1]) == text


@pytest.mark.parametrize("before", [0, 1, 49, 50, 51, 99, 100, 1_000])
def test_refuses_depth_among_what_is_flat(before: int) -> None:
    flat: list[object] = [[] for _ in range(before)]

    with pytest.raises(MessageInvalid, match="levels deep"):
        encode({"type": "a", "payload": [*flat, nested(MAX_DEPTH + 20), *flat]})


def test_takes_what_is_long_and_not_deep() -> None:
    payload = [nested(20) for _ in range(1_000)]

    assert payload_in(encode({"type": "a", "payload": payload})[1]) == payload


def test_takes_every_depth_that_a_worker_reads() -> None:
    read = 0
    for levels in range(MAX_DEPTH - 10, MAX_DEPTH + 10):
        try:
            _, body = encode({"type": "a", "payload": nested(levels)})
        except MessageInvalid:
            continue
        assert payload_in(body)
        read += 1

    assert read > 5


def test_counts_no_brackets_in_text_as_depth() -> None:
    _, body = encode({"type": "a", "payload": "[" * (MAX_DEPTH + 1)})

    assert payload_in(body) == "[" * (MAX_DEPTH + 1)


def test_warns_of_no_content() -> None:
    """Pydantic's own warning of a value that does not fit its field quotes the value."""
    changed = ORDER.model_copy(update={"at": SECRET})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MessageInvalid) as refused:
            encode(OrderNew.model_construct(payload=changed))

    assert "OrderNew cannot read what it writes: payload.at (datetime" in str(refused.value)
    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize(
    ("message", "given_type"),
    [
        ({}, "NoneType"),
        ({"payload": SECRET}, "NoneType"),
        ({"type": None, "payload": SECRET}, "NoneType"),
        ({"type": 5, "payload": SECRET}, "int"),
        ({"type": "", "payload": SECRET}, "an empty string"),
        (ORDER, "NoneType"),
    ],
)
def test_refuses_a_message_without_a_type(message: AnyMessage, given_type: str) -> None:
    with pytest.raises(
        MessageInvalid, match=f"non-empty string `type`, not {given_type}"
    ) as refused:
        encode(message)

    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize("message", [SECRET, [SECRET], None, 5])
def test_refuses_what_is_no_message(message: Any) -> None:
    with pytest.raises(MessageInvalid, match=f"not {type(message).__name__}") as refused:
        encode(message)

    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize("own", list(LetsGoMessageType))
def test_takes_the_types_of_letsgo(own: LetsGoMessageType) -> None:
    assert encode({"type": own, "payload": 1}) == (own, f'{{"type":"{own}","payload":1}}'.encode())
    assert encode({"type": str(own), "payload": 1})[0] == own


@pytest.mark.parametrize("other", ["letsgo:", "letsgo:tenant", "letsgo:contact2", "letsgo:x"])
def test_refuses_other_types_with_the_prefix_of_letsgo(other: str) -> None:
    with pytest.raises(MessageInvalid, match=f"'{other}'.*reserved.*letsgo:contact"):
        encode({"type": other, "payload": SECRET})


@pytest.mark.parametrize("near", ["letsgo", "LetsGo:x", "my:letsgo:x"])
def test_takes_types_that_only_resemble_those_of_letsgo(near: str) -> None:
    assert encode({"type": near, "payload": 1})[0] == near


def take_any(message: Message[Any]) -> None: ...


texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=["\ufffe", "\uffff"]), max_size=20
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
payloads = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
)


@given(payload=payloads, as_model=st.booleans())
def test_a_handler_gets_the_payload_that_was_sent(payload: Any, *, as_model: bool) -> None:
    fields = {"type": "order:new", "payload": payload}
    _, body = encode(Message[Any](**fields) if as_model else fields)

    (message,) = Handler(take_any).arguments(incoming(body.decode()))

    assert isinstance(message, Message)
    assert repr(message.payload) == repr(payload)
    assert json.loads(body) == fields


def test_a_model_writes_itself_as_it_likes() -> None:
    class Sparse(Message[int | None]):
        def model_dump_json(self, **options: Any) -> str:
            return super().model_dump_json(**{**options, "exclude_none": True})

    assert encode(Sparse(type="a", payload=None)) == ("a", b'{"type":"a"}')
