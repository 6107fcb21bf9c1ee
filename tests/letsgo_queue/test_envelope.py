"""What a body is, without opening it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from letsgo_queue.envelope import (
    holds_sealed,
    is_sealed,
    mentions_claim_check,
    sealed_fields,
    type_in,
    type_of,
    unwrap,
    unwrap_sealed,
)
from letsgo_queue.errors import MessageInvalid
from tests.claimcheck.support import any_json
from tests.letsgo_queue.support import SECRET, printed
from tests.support.envelopes import ENVELOPES, Envelope, from_eventbridge, from_pipe, from_sns

TICKET = {"v": 1, "encoding": "zstd", "data": "KLUv/Q=="}
SEALED = json.dumps({"type": "order:new", "claimCheck": TICKET})

ESCAPED = SEALED.replace('"claimCheck"', '"claim\\u0043heck"')


class Order(BaseModel, extra="allow"):
    type: str
    payload: Any = None


class Named(BaseModel):
    name: str


@dataclass
class Ticket:
    type: str
    claimCheck: Any  # noqa: N815  as it travels
    payload: Any = None


class Body:
    def __init__(self, body: object, **others: object) -> None:
        self.body = body
        vars(self).update(others)


class Broken:
    @property
    def body(self) -> str:
        raise OSError("no connection")


class Unsized:
    """As numpy's arrays without a dimension: it has all methods of a collection, and is none."""

    def __len__(self) -> int:
        raise TypeError("len() of unsized object")

    def __iter__(self) -> Iterator[object]:
        raise TypeError("iteration over a 0-d array")

    def __contains__(self, item: object) -> bool:
        return False


class Half(BaseModel):
    """A model without what pydantic's own `__init__` makes."""

    name: str = ""

    def __init__(self) -> None: ...


class BrokenList(list[object]):
    def __iter__(self) -> Iterator[object]:
        raise OSError("no connection")


class Query:
    """A collection that asks a database when it is read."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        self.asked += 1
        return 1

    def __iter__(self) -> Iterator[object]:
        self.asked += 1
        return iter([SEALED])

    def __contains__(self, item: object) -> bool:
        self.asked += 1
        return False


class Counted:
    asked = 0

    @property
    def body(self) -> None:
        Counted.asked += 1


SHAPES = [
    pytest.param(SEALED, True, id="sealed"),
    pytest.param('{"claimCheck":{}}', True, id="no type"),
    pytest.param('{"claimCheck":1,"type":2}', True, id="malformed"),
    pytest.param(json.dumps(json.loads(SEALED), indent=2), True, id="with spaces"),
    pytest.param(ESCAPED, True, id="an escape in the name"),
    pytest.param(SEALED.replace('"claimCheck"', '"\\u0063laimChec\\u006B"'), True, id="escapes"),
    pytest.param('{"type":"order:new","payload":{}}', False, id="a small message"),
    pytest.param('{"type":"x","payload":1,"claimCheck":{}}', False, id="with a payload"),
    pytest.param('{"type":"x","claimCheck":{},"more":1}', False, id="with another field"),
    pytest.param('{"type":"x","payload":"claimCheck"}', False, id="in the payload"),
    pytest.param('{"type":"x","payload":{"claimCheck":{}}}', False, id="deeper"),
    pytest.param('["claimCheck"]', False, id="a list"),
    pytest.param('"claimCheck"', False, id="text in JSON"),
    pytest.param('{"type":"x","claimCheck":', False, id="no JSON"),
    pytest.param('{"type":"\\ud800","claimCheck":{}}', True, id="half a surrogate pair"),
    pytest.param('{"type":"x","claimCheck":{"v":NaN}}', True, id="a number that JSON lacks"),
    pytest.param('{"type":"x","claimCheck":' + "[" * 300 + "]" * 300 + "}", True, id="deep"),
    pytest.param("claimCheck", False, id="plain text"),
    pytest.param("", False, id="nothing"),
]


class TestSealed:
    @pytest.mark.parametrize(("body", "sealed"), SHAPES)
    @pytest.mark.parametrize("encode", [str, str.encode], ids=["text", "bytes"])
    def test_is_what_has_a_claim_check_and_no_more_than_a_type(
        self, body: str, sealed: bool, encode: Callable[[str], str | bytes]
    ) -> None:
        assert is_sealed(encode(body)) is sealed
        assert (sealed_fields(encode(body)) is not None) is sealed

    @pytest.mark.parametrize("letter", sorted({*"claimCheck"}))
    @pytest.mark.parametrize("escape", [r"\u00{:02x}", r"\u00{:02X}"], ids=["lower", "upper"])
    def test_may_have_any_letter_of_the_name_escaped(self, letter: str, escape: str) -> None:
        name = "claimCheck".replace(letter, escape.format(ord(letter)), 1)

        assert is_sealed(f'{{"{name}":{{}}}}')

    def test_its_fields_are_as_they_came(self) -> None:
        assert sealed_fields(SEALED) == {"type": "order:new", "claimCheck": TICKET}
        assert sealed_fields('{"claimCheck":"?"}') == {"claimCheck": "?"}

    @pytest.mark.parametrize("body", ['{"type":"x","payload":"é\\u00e9 claim"}', "text", b"\xff"])
    def test_what_does_not_mention_one_is_not_parsed(self, body: str | bytes) -> None:
        assert not mentions_claim_check(body)

    @given(st.text() | st.binary())
    def test_any_body_is_one_or_is_not(self, body: str | bytes) -> None:
        assert is_sealed(body) in {True, False}


class TestEnvelopes:
    """A sealed message inside something that is no message: whoever gets it must not pass it on."""

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(SEALED, id="itself"),
            pytest.param(SEALED.encode(), id="as bytes"),
            pytest.param(json.loads(SEALED), id="parsed"),
            pytest.param({"Type": "Notification", "Message": SEALED}, id="SNS"),
            pytest.param(json.dumps({"Type": "Notification", "Message": SEALED}), id="SNS, text"),
            pytest.param({"Records": [{"Sns": {"Message": SEALED}}]}, id="an SNS event"),
            pytest.param({"detail-type": "order", "detail": json.loads(SEALED)}, id="EventBridge"),
            pytest.param(
                json.dumps({"detail-type": "order", "detail": json.loads(SEALED)}),
                id="EventBridge, text",
            ),
            pytest.param({"Messages": [{"Body": SEALED}]}, id="an answer of boto3"),
            pytest.param([[SEALED]], id="lists"),
            pytest.param((SEALED,), id="a tuple"),
            pytest.param({"a": frozenset([SEALED])}, id="a set"),
            pytest.param(deque([SEALED]), id="a deque"),
            pytest.param({"a": SEALED}.values(), id="the values of a dict"),
            pytest.param(bytearray(SEALED.encode()), id="a bytearray"),
            pytest.param(Order.model_validate_json(SEALED), id="a model's extras"),
            pytest.param([Named(name=SEALED)], id="a model's field"),
            pytest.param(Ticket(**json.loads(SEALED)), id="a data class"),
            pytest.param(Body(SEALED), id="an object's body"),
            pytest.param(Body({"Message": SEALED}, type="x"), id="the body of an object of a type"),
            pytest.param([0] * 100_000 + [SEALED], id="far down in a list"),
            pytest.param([*map(Body, [None] * 9_999), SEALED], id="the last of most records"),
            pytest.param(MappingProxyType({"detail": SEALED}), id="a view of a dict"),
            pytest.param(
                [Unsized(), Half(), Broken(), BrokenList(), SEALED], id="behind what cannot be read"
            ),
            pytest.param(ESCAPED, id="an escape in the name"),
            pytest.param({"Message": ESCAPED}, id="SNS, an escape in the name"),
            pytest.param(
                json.dumps({"Message": SEALED}).replace("claimCheck", "claim\\u0043heck").encode(),
                id="SNS, text, an escape in the name",
            ),
            pytest.param(
                json.dumps({"Message": json.dumps({"Message": ESCAPED})}), id="in each other"
            ),
        ],
    )
    def test_are_seen_through(self, value: object) -> None:
        assert holds_sealed(value)

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(None, id="nothing"),
            pytest.param(7, id="a number"),
            pytest.param("text that says claimCheck", id="text"),
            pytest.param({"detail": {"claimCheck": {}, "more": 1}}, id="another shape"),
            pytest.param({"type": "mail:new", "payload": SEALED}, id="quoted in a payload"),
            pytest.param(
                json.dumps({"type": "mail:new", "payload": {"body": SEALED}}),
                id="quoted deeper in a payload",
            ),
            pytest.param({"a": {"b": {"c": {"d": {"e": {"f": SEALED}}}}}}, id="too deep"),
            pytest.param(
                json.dumps({"type": "dead", "body": SEALED}), id="quoted in another field"
            ),
            pytest.param(Order(type="x", payload=SEALED), id="quoted in a model's payload"),
            pytest.param(Body("x", type="mail:new", payload=SEALED), id="quoted in an object's"),
            pytest.param(
                Order.model_validate({"type": "x", "payload": 1, "claimCheck": {}}),
                id="a field of that name",
            ),
            pytest.param(Body(None), id="no body"),
            pytest.param(Broken(), id="an object whose body cannot be read"),
            pytest.param(range(10**9), id="a great many numbers"),
            pytest.param(Unsized(), id="a collection that cannot be read"),
            pytest.param(Half(), id="a model whose own __init__ leaves out pydantic's"),
            pytest.param(BrokenList(), id="a list that cannot be read"),
        ],
    )
    def test_are_nothing_else(self, value: object) -> None:
        assert not holds_sealed(value)

    def test_that_never_end_are_not_followed(self) -> None:
        endless: list[object] = []
        endless += [endless] * 1_000

        assert not holds_sealed(endless)

    def test_a_collection_of_another_kind_is_not_read(self) -> None:
        query = Query()

        assert not holds_sealed({"orders": query})
        assert query.asked == 0

    @pytest.mark.parametrize("make", [list, tuple, deque, lambda each: dict(enumerate(each))])
    def test_of_a_large_collection_as_many_are_looked_at_as_a_batch_may_have(
        self, make: Callable[[list[Counted]], object]
    ) -> None:
        Counted.asked = 0

        assert not holds_sealed(make([Counted()] * 50_000))
        assert Counted.asked == 10_000

    def test_an_iterator_is_not_used_up(self) -> None:
        iterator = iter([SEALED])

        assert not holds_sealed(Body(iterator))
        assert [*iterator] == [SEALED]


TYPES = [
    ('{"type":"order:new","payload":{}}', "order:new"),
    ('{"type":"größe","payload":{}}', "größe"),
    ('{"type":"a\\"b\\\\","payload":{}}', 'a"b\\'),
    ('{"type":"x"}', "x"),
    ('{ "type" : "x" , "payload": {}}', "x"),
    ('{"payload":{},"type":"last"}', "last"),
    ('{"type":"x' + "y" * 100_000 + '","payload":1}', "x" + "y" * 100_000),
    ('{"type":1,"payload":{}}', None),
    ('{"type":null}', None),
    ('{"payload":{}}', None),
    ('{"type":"\\ud800","payload":{}}', None),
    ('{"payload":"\\ud800","type":"x"}', "x"),
    ('{"payload":' + "[" * 300 + "]" * 300 + ',"type":"x"}', "x"),
    ('{"type":"first","payload":1,"type":"refused by its handler"}', "first"),
    ('{"t\\u0079pe":"x","payload":1}', "x"),
    ('{"\\u0074\\u0079\\u0070\\u0065":"x","payload":1}', "x"),
    ('{"type":"unfinished', None),
    ('["type"]', None),
    ("text", None),
    ("", None),
]


class TestTypeIn:
    @pytest.mark.parametrize(("body", "found"), TYPES)
    def test_finds_the_type_of_a_letsgo_message(self, body: str, found: str | None) -> None:
        assert type_in(body) == found
        assert type_in(body.encode()) == found

    def test_of_bytes_that_are_no_text_there_is_none(self) -> None:
        assert type_in(b'{"type":"\xff","payload":{}}') is None

    def test_of_text_that_is_no_unicode_there_is_none(self) -> None:
        assert type_in('{"payload":"\ud800","type":"x"}') is None


class TestTypeOf:
    @pytest.mark.parametrize(("body", "found"), [each for each in TYPES if each[1]])
    def test_is_the_same_for_a_message(self, body: str, found: str) -> None:
        assert type_of(body) == found

    def test_is_that_of_a_sealed_message_too(self) -> None:
        assert type_of(SEALED) == "order:new"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (SECRET, "is not JSON"),
            ("", "is not JSON"),
            ('{"type":"x"', "is not JSON"),
            ('{"type":"\\ud800"}', "has no string `type`"),
            ('{"payload":NaN,"type":"x"}', "is not JSON"),
            ('{"payload":-Infinity,"type":"x"}', "is not JSON"),
            ('{"payload":' + "[" * 100_000, "is not JSON"),
            (f'["{SECRET}"]', "has no string `type`"),
            ('{"payload":1}', "has no string `type`"),
            ('{"type":1}', "has no string `type`"),
        ],
    )
    def test_of_anything_else_says_what_a_message_is(self, body: str, said: str) -> None:
        with pytest.raises(MessageInvalid, match=said) as refused:
            type_of(body)
        assert '{"type": ..., "payload": ...}' in str(refused.value)
        assert SECRET not in printed(refused.value)


EACH_ENVELOPE = pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=[*ENVELOPES])
SMALL = '{"type":"order:new","payload":{"lines":[1]}}'


class TestUnwrap:
    @EACH_ENVELOPE
    @pytest.mark.parametrize("body", [SMALL, SEALED, '{"claimCheck":{}}'])
    def test_finds_the_message_in_an_envelope(self, envelope: Envelope, body: str) -> None:
        wrap, take_out = envelope

        wrapped = unwrap(wrap(body))

        assert wrapped is not None
        assert json.loads(wrapped.body) == json.loads(body)
        assert take_out(wrapped.around(SMALL)) == SMALL
        assert mentions_claim_check(wrap(body)) == ("claimCheck" in body)
        assert (unwrap_sealed(wrap(body)) is None) == (body == SMALL)

    def test_the_message_is_put_where_it_was(self) -> None:
        """An envelope may have the fields of another."""
        for body in (
            from_sns(SEALED, body="x", **{"detail-type": "x", "source": "x", "detail": 1}),
            from_pipe(SEALED, Message="x", **{"detail-type": "x", "source": "x", "detail": 1}),
            from_eventbridge(SEALED, Message="x", body="x"),
        ):
            wrapped = unwrap(body)
            assert wrapped is not None
            again = unwrap(wrapped.around(SMALL))
            assert again is not None
            assert again.body == SMALL

    @pytest.mark.parametrize("body", ["", SMALL, SEALED, "[]", '"Message"', from_sns("no message")])
    def test_of_anything_else_there_is_none(self, body: str) -> None:
        assert unwrap(body) is None

    @given(any_json(), st.sampled_from(["sns", "eventbridge", "pipe"]))
    def test_takes_whatever_is_inside(self, inside: object, name: str) -> None:
        body = ENVELOPES[name][0](json.dumps(inside))
        wrapped = unwrap(body)
        if wrapped is not None:
            assert unwrap(wrapped.around(SMALL)) is not None

    @given(any_json())
    def test_takes_whatever_is_in_the_fields(self, value: object) -> None:
        for wrap in (from_sns, from_eventbridge, from_pipe):
            fields = json.loads(wrap(SMALL))
            for name in fields:
                body = json.dumps({**fields, name: value})
                if (wrapped := unwrap(body)) is not None:
                    wrapped.around(SMALL)
