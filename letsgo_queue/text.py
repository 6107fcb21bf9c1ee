"""Text for people: with numbers in it, or from somebody else."""

from __future__ import annotations

MAX_SHOWN = 200
"""Characters that are shown of a text from outside."""

MAX_ERROR_SHOWN = 1_000
"""Characters that are shown of an error, which may name several of them and says what to do."""


def printable(text: str) -> str:
    r"""The same text; characters that cannot be printed become escapes: `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """A text from outside, for logs, errors and labels: printable, and cut.

    A sender chooses types, ids and the names of attributes. Those must not
    forge a line of a log, command a terminal, or fill a disk.

    Args:
        text: The text.
        most: Characters to show at most.
    """
    whole = text_of(text)
    escaped = printable(whole[: most + 1])
    return escaped if len(escaped) <= most else f"{escaped[: most - 1]}…"


def shown_error(error: object) -> str:
    """The text of an error, for people: printable, and cut in the middle.

    It begins with what was wrong, and ends with what to do.
    """
    text = text_of(error)
    half = MAX_ERROR_SHOWN // 2
    if len(text) <= MAX_ERROR_SHOWN and len(escaped := printable(text)) <= MAX_ERROR_SHOWN:
        return escaped
    return f"{printable(text[:half])[: half - 1]}…{printable(text[-half:])[-half:]}"


def name_of_error(error: BaseException) -> str:
    """The class of an error with its module, as tracebacks have it."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return shown(f"{module}{kind.__qualname__}")


def text_of(thing: object) -> str:
    """`str`, which some things refuse."""
    try:
        return str(thing)
    except Exception:  # noqa: BLE001  somebody else's `__str__`, or an integer of 5,000 digits
        return f"({type(thing).__name__})"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 message`, `1,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
