"""The settings, as the classes that read them declare them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from claimcheck import ClaimCheckSettings
from docs.site.docstrings import Docstring
from letsgo_queue import QueueSettings

_VARIABLE = re.compile(r"`([A-Z][A-Z_]+)`: ")
CLASSES: dict[str, type[BaseModel]] = {
    "letsgo_queue": QueueSettings,
    "claimcheck": ClaimCheckSettings,
}


def settings(_page: str, package: str) -> str:
    """The settings of a package, each with what it is.

    Args:
        package: `letsgo_queue` or `claimcheck`.
    """
    return "\n\n".join(_entries(CLASSES[package]))


def _entries(model: type[BaseModel]) -> Iterator[str]:
    said = Docstring.of(model.__doc__).entries["Attributes"]
    for name, field in model.model_fields.items():
        found = _VARIABLE.match(said[name])
        if found is None:
            raise LookupError(f"{model.__name__}.{name} does not begin with its variable")
        words = " ".join(said[name][found.end() :].split())
        default = _shown(field.get_default(call_default_factory=True))
        yield f"`{found[1]}`\n:   {words[0].upper()}{words[1:]} {default}In code: `{name}`."


def _shown(default: object) -> str:
    if default is None or default in ({}, ()):
        return ""
    return f"Default: `{str(default).lower() if isinstance(default, bool) else default}`. "
