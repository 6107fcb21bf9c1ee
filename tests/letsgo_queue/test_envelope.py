"""What a body is, unopened: its type, and whether it is sealed."""

from __future__ import annotations

import pytest

from letsgo_queue import MessageInvalid
from letsgo_queue.envelope import is_sealed, type_in, type_of
from tests.letsgo_queue.support import SECRET, printed


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "not JSON"),
        (SECRET, "not JSON"),
        (f'{{"type": "a", "payload": "{SECRET}', "not JSON"),
        (f'["{SECRET}"]', "no string `type`"),
        (f'"{SECRET}"', "no string `type`"),
        (f'{{"payload": "{SECRET}"}}', "no string `type`"),
        (f'{{"type": ["{SECRET}"]}}', "no string `type`"),
    ],
)
def test_says_what_is_wrong_with_a_body(body: str, text: str) -> None:
    with pytest.raises(MessageInvalid, match=text) as refused:
        type_of(body)

    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize(
    ("body", "message_type"),
    [
        ('{"type":"a","payload":1}', "a"),
        ('{"type":"a"}', "a"),
        ('{ "payload": 1, "type": "a" }', "a"),
        (r'{"type":"caf\u00e9","payload":1}', "café"),
        ('{"type":"a","payload":{"type":"b"}}', "a"),
        # Of two types the last one counts, as for whoever parses it.
        ('{"type":"a","payload":1,"type":"b"}', "b"),
        (r'{"type":"a","claimCheck":{},"\u0074ype":"b"}', "b"),
    ],
)
def test_a_body_is_routed_by_the_type_that_a_parser_finds(body: str, message_type: str) -> None:
    assert type_of(body) == message_type


@pytest.mark.parametrize("body", ['{"type":"a\n","payload":1}', '{"type":"","payload"', "[]", ""])
def test_what_has_no_type_is_refused(body: str) -> None:
    with pytest.raises(MessageInvalid):
        type_of(body)


@pytest.mark.parametrize(
    ("body", "message_type"),
    [
        ('{"type":"a","payload":1}', "a"),
        ('{"payload":1,"type":"a"}', "a"),
        ('{"payload":1}', None),
        ('{"type":5}', None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_any_body_can_be_asked_for_its_type(body: str, message_type: str | None) -> None:
    assert type_in(body) == message_type
    assert type_in(body.encode()) == message_type


@pytest.mark.parametrize(
    ("body", "sealed"),
    [
        ('{"type":"a","claimCheck":{"v":1}}', True),
        ('{"claimCheck":5}', True),
        (r'{"type":"a","claim\u0043heck":{}}', True),
        ('{"type":"a","claimCheck":{},"payload":1}', False),
        ('{"type":"a","payload":{"claimCheck":{}}}', False),
        ('{"type":"a","payload":"claimCheck"}', False),
        ("claimCheck", False),
    ],
)
def test_a_sealed_body_has_a_claim_check_in_place_of_its_payload(
    body: str, *, sealed: bool
) -> None:
    assert is_sealed(body) is sealed
    assert is_sealed(body.encode()) is sealed
