"""Words for people: counted things, and text that came from elsewhere."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` with characters that are not printable as escapes, such as `\x1b`."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 message`, `1,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
