"""Text for people."""

from __future__ import annotations

import pytest

from letsgo_queue.text import MAX_SHOWN, shown


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
