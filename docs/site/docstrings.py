"""Reads our docstrings, which are in Google's style, and writes them as Markdown."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$", re.MULTILINE)
_ENTRY = re.compile(r"^(\*{0,2}[\w.]+): ?", re.MULTILINE)
_CODE = re.compile(r"(?:^ {4}.*\n?(?:\n(?= {4}))*)+", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """What a docstring says.

    Attributes:
        prose: The text before the first section, as Markdown.
        entries: The sections that have names: `Args`, `Attributes` and `Raises`, with what each
            says of a name.
        returns: What `Returns` or `Yields` says.
    """

    prose: str = ""
    entries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    returns: str = ""

    @classmethod
    def of(cls, text: str | None) -> Docstring:
        """Read a docstring, as Python has it."""
        prose, *rest = _SECTION.split(inspect.cleandoc(text or ""))
        sections = dict(zip(rest[::2], map(_dedented, rest[1::2]), strict=True))
        return cls(
            prose=_markdown(prose),
            entries={
                name: _entries(sections.get(name, "")) for name in ("Args", "Attributes", "Raises")
            },
            returns=_markdown(sections.get("Returns", sections.get("Yields", ""))),
        )


def _dedented(text: str) -> str:
    return textwrap.dedent(text.strip("\n"))


def _entries(text: str) -> dict[str, str]:
    _, *rest = _ENTRY.split(text)
    return {
        name.lstrip("*"): _markdown(_flowing(words))
        for name, words in zip(rest[::2], rest[1::2], strict=True)
    }


def _flowing(text: str) -> str:
    """A description whose first line stands behind its name, and the others below it."""
    first, _, others = text.partition("\n")
    return f"{first}\n{textwrap.dedent(others)}"


def _markdown(text: str) -> str:
    """Mark what is indented as code."""
    return _CODE.sub(_fenced, text.strip("\n")).strip()


def _fenced(code: re.Match[str]) -> str:
    lines = textwrap.dedent(code[0]).strip("\n")
    try:
        ast.parse(lines)
    except SyntaxError:
        language = "text"
    else:
        language = "python"
    return f"```{language}\n{lines}\n```\n"
