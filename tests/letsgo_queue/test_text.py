"""Text for people."""

from __future__ import annotations

import pytest

from letsgo_queue import MessageInvalid
from letsgo_queue.text import MAX_ERROR_SHOWN, MAX_SHOWN, printable, shown, shown_error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("order:new", "order:new"),
        ("Grüße 🎉", "Grüße 🎉"),
        ("a\nERROR forged \x1b[31m", r"a\nERROR forged \x1b[31m"),
        ("\u202eright to left", r"\u202eright to left"),
        ("x" * MAX_SHOWN, "x" * MAX_SHOWN),
        ("x" * 1_000_000, "x" * (MAX_SHOWN - 1) + "…"),
        (4_000, "4000"),
    ],
)
def test_shown(text: object, expected: str) -> None:
    assert shown(text) == expected


def test_what_is_shown_is_never_longer() -> None:
    assert len(shown("\U000e0001" * 1_000)) == MAX_SHOWN  # each escape has ten characters


def test_an_error_is_one_line_that_begins_and_ends_as_it_was_written() -> None:
    kind = f"\x1b[2J\nERROR forged {'x' * 1_000_000}"

    text = str(MessageInvalid(f"message of type {kind!s} is wrong. Give another type."))

    assert text.isprintable()
    assert len(text) == MAX_ERROR_SHOWN
    assert text.startswith(r"message of type \x1b[2J\nERROR forged xxx")
    assert text.endswith("xxx is wrong. Give another type.")


@pytest.mark.parametrize("length", [0, 1, MAX_ERROR_SHOWN, MAX_ERROR_SHOWN + 1])
@pytest.mark.parametrize("character", ["a", "\x1b", "\U000e0001"])
def test_an_error_is_never_longer(length: int, character: str) -> None:
    whole = printable(character * length)
    told = str(MessageInvalid(character * length))
    assert told == (whole if len(whole) <= MAX_ERROR_SHOWN else told[:499] + "…" + whole[-500:])
    assert len(told) == min(len(whole), MAX_ERROR_SHOWN)


def test_what_cannot_be_written_is_named() -> None:
    class Refuses(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert [shown(Refuses()), shown_error(Refuses())] == ["(Refuses)"] * 2
    assert shown(10**5_000) == "(int)"
