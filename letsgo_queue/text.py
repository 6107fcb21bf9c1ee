"""Text for people: with numbers in it, or from somebody else."""

from __future__ import annotations

MAX_SHOWN = 200
"""Characters that are shown of a text from outside."""


def printable(text: str) -> str:
    r"""The same text; characters that cannot be printed become escapes: `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """What is shown of a text from outside, in logs, errors and labels: printable, and cut.

    A sender chooses types, ids and the names of attributes. Those must not
    forge a line of a log, command a terminal, or fill a disk.

    Args:
        text: The text.
        most: Characters to show at most.
    """
    whole = str(text)
    escaped = printable(whole[: most + 1])
    return escaped if len(escaped) <= most else f"{escaped[: most - 1]}…"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 message`, `1,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
