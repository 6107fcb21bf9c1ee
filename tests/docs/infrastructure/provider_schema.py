"""The schema of Terraform's provider for AWS, as the package of its bindings for Python has it.

That package (cdktf-cdktf-provider-aws, 6.25 of the provider) is the one place in a package registry
where the schema is. Nothing of it runs here: its declarations are read as text.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.infrastructure.support import TOOLS

_META = {"count", "depends_on", "for_each", "lifecycle", "provider"}
_INTERFACE = re.compile(r"export interface (\w+)[^{\n]*\{\n(.*?)\n\}", re.DOTALL)
_ROOT = re.compile(r"export interface (\w+) extends cdktf\.TerraformMetaArguments")
_FIELD = re.compile(r"#(\w+)\}(?:(?!#).)*?\*/\s*readonly \w+(\??): ([^;]+);", re.DOTALL)


@dataclass(frozen=True)
class Field:
    """An argument, or a block.

    Attributes:
        required: Whether it must be there.
        interface: What a block has in it; empty for an argument.
    """

    required: bool
    interface: str


class ProviderSchema:
    """What each resource takes and gives."""

    def __init__(self, declarations: Mapping[str, str]) -> None:
        """Take the declarations of the resources, by the names of their folders."""
        self._declarations = declarations

    def problems(self, kind: str, label: str, body: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with a resource or a data source."""
        interfaces = self._interfaces(kind)
        (config,) = _ROOT.findall(self._declarations[_folder(kind)])
        yield from _problems(f"{kind}.{label}", body, config, interfaces)

    def has(self, kind: str, attribute: str) -> bool:
        """Whether a resource gives this attribute."""
        words = attribute.split("_")
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        return not attribute or f"get {camel}()" in self._declarations[_folder(kind)]

    def _interfaces(self, kind: str) -> Mapping[str, Mapping[str, Field]]:
        found = dict(_INTERFACE.findall(self._declarations[_folder(kind)]))
        return {
            name: {
                field: Field(not mark, next((i for i in found if re.search(rf"\b{i}\b", type)), ""))
                for field, mark, type in _FIELD.findall(text)
            }
            for name, text in found.items()
        }


def find_schema() -> ProviderSchema | None:
    """The schema, if its package is among the tools."""
    packages = TOOLS.parent.glob("lib/python*/site-packages/cdktf_cdktf_provider_aws/_jsii/*.tgz")
    path = next(packages, None)
    return None if path is None else ProviderSchema(_declarations(path))


def _declarations(path: Path) -> Mapping[str, str]:
    with tarfile.open(path) as packed:
        found: dict[str, str] = {}
        for member in packed:
            parts = member.name.split("/")
            if len(parts) == 4 and parts[1] == "lib" and parts[3].endswith(".d.ts"):
                file = packed.extractfile(member)
                assert file is not None
                found[parts[2]] = found.get(parts[2], "") + file.read().decode()
        return found


def _folder(kind: str) -> str:
    short = kind.removeprefix("data.").removeprefix("aws_").replace("_", "-")
    return f"data-aws-{short}" if kind.startswith("data.") else short


def _problems(
    where: str, body: Mapping[str, Any], name: str, interfaces: Mapping[str, Mapping[str, Field]]
) -> Iterator[str]:
    fields = interfaces[name]
    given = body.keys() - _META
    yield from (f"{where}: there is no {each}" for each in sorted(given - fields.keys()))
    lacking = {each for each, field in fields.items() if field.required} - given
    yield from (f"{where}: {each} is missing" for each in sorted(lacking))
    for each in sorted(given & fields.keys()):
        inner, value = fields[each].interface, body[each]
        if inner and isinstance(value, Sequence) and not isinstance(value, str):
            for block in value:
                yield from _problems(f"{where}.{each}", block, inner, interfaces)
