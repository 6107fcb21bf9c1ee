"""Writes text for people: numbers, and text from outside."""

from __future__ import annotations

MAX_SHOWN = 200
"""The most characters that are shown of a text from outside."""

MAX_ERROR_SHOWN = 1_000
"""The same for an error, which may name several such texts, and says what to do."""


def printable(text: str) -> str:
    r"""Return the text with unprintable characters escaped: `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """Make a text from outside printable, and cut it, for logs, errors and labels.

    A sender chooses types, ids and the names of attributes. They must not forge a line of a log,
    control a terminal, or fill a disk.

    Args:
        text: The text.
        most: Characters to show at most.
    """
    whole = text_of(text)
    escaped = printable(whole[: most + 1])
    return escaped if len(escaped) <= most else f"{escaped[: most - 1]}…"


def shown_error(error: object) -> str:
    """Return the text of an error for people: printable, and cut in the middle.

    So its beginning, which says what was wrong, and its end, which says what to do, stay.
    """
    text = text_of(error)
    half = MAX_ERROR_SHOWN // 2
    if len(text) <= MAX_ERROR_SHOWN and len(escaped := printable(text)) <= MAX_ERROR_SHOWN:
        return escaped
    return f"{printable(text[:half])[: half - 1]}…{printable(text[-half:])[-half:]}"


def name_of_error(error: BaseException) -> str:
    """Return the class of an error with its module, as tracebacks name it."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return shown(f"{module}{kind.__qualname__}")


def text_of(thing: object) -> str:
    """Return `str(thing)`, or the name of its type if that raises an error."""
    try:
        return str(thing)
    except Exception:  # noqa: BLE001  somebody else's `__str__`, or an integer of 5,000 digits
        return f"({type(thing).__name__})"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 message`, `1,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
