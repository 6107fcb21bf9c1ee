"""Text for people: with numbers in it, or from somebody else."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The same text; characters that cannot be printed become escapes: `\x1b`."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 message`, `1,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
