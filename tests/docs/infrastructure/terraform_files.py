"""Reads Terraform's files, without Terraform: blocks, expressions, and what these refer to."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

Body: TypeAlias = dict[str, Any]

_MARKS = {"__is_block__", "__comments__", "__inline_comments__"}
_ENCODED = re.compile(r"\$\{jsonencode\((.*)\)\}", re.DOTALL)
_REFERENCE = re.compile(r"\b(?:(data)\.)?(aws_\w+)\.(\w+)(?:\[[^]]*\])?(?:\.(\w+))?")


@dataclass(frozen=True)
class Reference:
    """A part of an expression that names a resource.

    Attributes:
        kind: Its type; with `data.` in front for a data source.
        name: Its name.
        attribute: Which of its attributes; empty for all.
    """

    kind: str
    name: str
    attribute: str


@dataclass(frozen=True)
class Module:
    """All files of a folder.

    Attributes:
        resources: The bodies of resources by type and name; `data.` in front for data sources.
        variables: The bodies of variables.
        calls: The arguments of modules.
        outputs: The names of outputs.
        values: The local values.
        text: The files, without comments.
    """

    resources: Mapping[tuple[str, str], Body]
    variables: Mapping[str, Body]
    calls: Mapping[str, Body]
    outputs: Sequence[str]
    values: Body
    text: str

    def references(self) -> Iterator[Reference]:
        """What expressions name."""
        for data, kind, name, attribute in _REFERENCE.findall(self.text):
            yield Reference(f"data.{kind}" if data else kind, name, attribute)


@functools.cache
def read_module(folder: Path) -> Module:
    """Read a folder's files."""
    return parse("\n".join(path.read_text() for path in sorted(folder.glob("*.tf"))))


def parse(text: str) -> Module:
    """Read the text of a module."""
    found = cast("dict[str, list[Body]]", _cleaned(_loads(text)))
    resources = {
        (prefix + kind, name): body
        for block, prefix in (("resource", ""), ("data", "data."))
        for each in found.get(block, [])
        for kind, named in each.items()
        for name, body in named.items()
    }
    values = {key: value for each in found.get("locals", []) for key, value in each.items()}
    return Module(
        resources,
        {name: body for each in found.get("variable", []) for name, body in each.items()},
        {name: body for each in found.get("module", []) for name, body in each.items()},
        [name for each in found.get("output", []) for name in each],
        values,
        re.sub(r"(?m)(^|\s)#.*$", "", text),
    )


def encoded(expression: str) -> Any:
    """What a `jsonencode(...)` encodes."""
    match = _ENCODED.fullmatch(expression)
    assert match, expression
    return _cleaned(_loads(f"value = {match[1]}\n"))["value"]


def _loads(text: str) -> dict[str, Any]:
    import hcl2  # which takes half a second

    return hcl2.loads(text)


def _cleaned(value: Any) -> Any:
    """Without marks of the parser, and without the quotes around literal text."""
    if isinstance(value, dict):
        return {_plain(key): _cleaned(each) for key, each in value.items() if key not in _MARKS}
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    return text[1:-1] if text.startswith('"') and text.endswith('"') else text
