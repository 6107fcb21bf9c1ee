"""Message attributes: what SQS takes, and how much of a message's size they use."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Any, cast

import pytest

from letsgo_queue import MessageAttribute, MessageInvalid
from letsgo_queue.attributes import attributes_size, check_attributes
from tests.letsgo_queue.support import SECRET, printed


class Priority(IntEnum):
    HIGH = 9


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ("text", MessageAttribute("String", "text")),
        ("tab\t line\n Grüße 🎉", MessageAttribute("String", "tab\t line\n Grüße 🎉")),
        (0, MessageAttribute("Number", "0")),
        (-12, MessageAttribute("Number", "-12")),
        (2.5, MessageAttribute("Number", "2.5")),
        (Decimal("1.10"), MessageAttribute("Number", "1.10")),
        (Priority.HIGH, MessageAttribute("Number", "9")),
        (10**38 - 1, MessageAttribute("Number", "9" * 38)),
        (10**126, MessageAttribute("Number", "1" + "0" * 126)),
        (-1e-128, MessageAttribute("Number", "-1e-128")),
        (b"\x00\xff", MessageAttribute("Binary", b"\x00\xff")),
        (MessageAttribute("Number", "1e3"), MessageAttribute("Number", "1e3")),
        (MessageAttribute("Number.a.b", "1"), MessageAttribute("Number.a.b", "1")),
        (MessageAttribute("Binary.gif", b"G"), MessageAttribute("Binary.gif", b"G")),
    ],
)
def test_takes_text_numbers_and_bytes(value: Any, attribute: MessageAttribute) -> None:
    assert check_attributes({"name": value}) == {"name": attribute}


@pytest.mark.parametrize("nothing", [None, {}])
def test_takes_none_at_all(nothing: Any) -> None:
    assert check_attributes(nothing) == {}


def test_takes_ten_and_refuses_eleven() -> None:
    ten = {f"a{number}": number for number in range(10)}

    assert len(check_attributes(ten)) == 10
    with pytest.raises(MessageInvalid, match="11 attributes: SQS takes at most 10"):
        check_attributes({**ten, "one-more": 1})


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x.y.z", "awsome", "amazonas.x", "n" * 256])
def test_takes_names_that_sqs_takes(name: str) -> None:
    assert list(check_attributes({name: 1})) == [name]


@pytest.mark.parametrize(
    "name",
    ["", ".a", "a.", "a..b", "a b", "ü", "a\n", "AWS.x", "aws.x", "Amazon.x", "AMAZON.", "n" * 257],
)
def test_refuses_names_that_sqs_refuses(name: str) -> None:
    with pytest.raises(MessageInvalid, match=r"attribute name .* up to 256 characters"):
        check_attributes({name: 1})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "no booleans; give 0, 1 or text"),
        (float("nan"), "not a finite number"),
        (float("inf"), "not a finite number"),
        (Decimal("NaN"), "not a finite number"),
        (MessageAttribute("Number", SECRET), "not a finite number"),
        (MessageAttribute("Number", "1_000"), "not a finite number"),
        (10**38 + 1, "up to 38 digits, from 10.-128 to 10.126"),
        (10**127, "up to 38 digits"),
        (1e200, "up to 38 digits"),
        (1e-129, "up to 38 digits"),
        (Decimal("1." + "3" * 38), "up to 38 digits"),
        (None, "NoneType is not text"),
        ([SECRET], "list is not text, a number or bytes"),
        ("", "is empty: SQS refuses that"),
        (b"", "is empty: SQS refuses that"),
        (MessageAttribute("Binary", b""), "is empty: SQS refuses that"),
        (SECRET + "\x00", r"refuses: U\+0000"),
        (SECRET + "\x1f\x0b\x1f", r"refuses: U\+000B, U\+001F\."),
        (SECRET + "\ufffe\uffff\ud800", r"refuses: U\+D800, U\+FFFE, U\+FFFF"),
        (MessageAttribute("String", SECRET + "\x01"), r"refuses: U\+0001"),
        (MessageAttribute("String", SECRET.encode()), "'String' that is given as bytes"),
        (MessageAttribute("Number", SECRET.encode()), "'Number' that is given as bytes"),
        (MessageAttribute("Binary", SECRET), "'Binary' that is given as str"),
        (MessageAttribute("Text", SECRET), "the data type 'Text': SQS has String, Number and"),
        (MessageAttribute("string", SECRET), "the data type 'string'"),
        (MessageAttribute("Text.html", SECRET), "the data type 'Text.html'"),
        (MessageAttribute(cast("Any", 5), SECRET), "the data type 5: SQS has"),
        (MessageAttribute("Binary.gif", SECRET), "'Binary' that is given as str"),
        (MessageAttribute("Number.int", SECRET), "not a finite number"),
        (MessageAttribute("String.", SECRET), "the label of its data type is empty"),
        (MessageAttribute("String.a\x00", SECRET), "the label of its data type"),
        (MessageAttribute("String." + "a" * 250, SECRET), "longer than 256 characters"),
        pytest.param(10**5000, "SQS takes numbers of up to 38 digits", id="a very long number"),
    ],
)
def test_refuses_values_that_sqs_refuses(value: Any, text: str) -> None:
    with pytest.raises(MessageInvalid, match=text) as refused:
        check_attributes({"colour": value})

    assert "'colour'" in str(refused.value)
    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({}, 0),
        ({"n": "v"}, 1 + len("String") + 1),
        ({"n": "€🎉"}, 1 + len("String") + 3 + 4),
        ({"number": 1234}, 6 + len("Number") + 4),
        ({"bin": b"\xff\xfe"}, 3 + len("Binary") + 2),
        ({"a": "b", "c": b"d"}, 8 + 8),
        ({"n": MessageAttribute("String.größe", "v")}, 1 + len("String.größe".encode()) + 1),
    ],
)
def test_counts_name_type_and_value_in_bytes(attributes: dict[str, Any], size: int) -> None:
    assert attributes_size(check_attributes(attributes)) == size
