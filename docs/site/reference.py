"""The reference: every public name, as its docstring and its signature say it.

A page of docs/reference/ lists names, `<!-- made: names claimcheck open_store ClaimStore -->`, and
their entries come to stand there; `*` is every name of the module. A name in a docstring, such as
`` `Worker.run` ``, becomes a link to its entry.
"""

from __future__ import annotations

import functools
import importlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from docs.site.declared import PACKAGES, class_of_ours, find, methods
from docs.site.entries import entry

DOCS = Path(__file__).parents[1]

_MARK = re.compile(r"<!-- made: names (.*?) -->", re.DOTALL)
_CODE = re.compile(r"(^ *```.*?^ *```$|^#[^\n]*$)", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?<![\[`])`([A-Za-z_]\w*(?:\.\w+)*)`(?!`)")


def names(page: str, what: str) -> str:
    """The entries of some names of a module.

    Args:
        page: The page, as a path in docs/.
        what: The module, and the names in the order of the page.
    """
    module, *listed = _names_in(what)
    text = "\n\n".join(entry(module, name, public=_public_classes()) for name in listed)
    return _linked(text, page, module)


@functools.cache
def places() -> Mapping[str, str]:
    """The page of every name and of every method, by its full name: `claimcheck.open_store`."""
    found: dict[str, str] = {}
    for page, module, name in _listed():
        full = f"{module}.{name}"
        if full in found:
            raise ValueError(f"{full} is on {found[full]}, and on {page} too")
        found[full] = page
        if (cls := class_of_ours(find(module, name))) is not None:
            for member, _ in methods(cls, public=_public_classes()):
                found[f"{full}.{member}"] = page
    return found


def full_name(name: str, module: str) -> str | None:
    """The full name of a public name that a text of a module means; None if there is no such."""
    package = module.partition(".")[0]
    wheres = (module, package, *(each for each in PACKAGES if each != package))
    for full in (*(f"{where}.{name}" for where in wheres), name):
        if full in places():
            return full
    ends = [full for full in places() if full.endswith(f".{name}")]
    return ends[0] if len(ends) == 1 and name[0].isupper() else None


def modules() -> list[str]:
    """The public modules: those that a page lists names of."""
    return sorted({what.split()[0] for _, what in _marks()})


def _marks() -> Iterator[tuple[str, str]]:
    """Every mark of names, with the page that it is on."""
    for path in sorted((DOCS / "reference").glob("*.md")):
        for what in _MARK.findall(path.read_text(encoding="utf-8")):
            yield path.relative_to(DOCS).as_posix(), what


def _listed() -> Iterator[tuple[str, str, str]]:
    """Every name that a page lists: page, module, name."""
    for page, what in _marks():
        module, *listed = _names_in(what)
        for name in listed:
            yield page, module, name


def _names_in(what: str) -> list[str]:
    """A module, and the names of it that a mark lists."""
    module, *listed = what.split()
    return [module, *(importlib.import_module(module).__all__ if listed == ["*"] else listed)]


@functools.cache
def _public_classes() -> frozenset[type[object]]:
    found = (class_of_ours(find(module, name)) for _, module, name in _listed())
    return frozenset(cls for cls in found if cls is not None)


def _linked(text: str, page: str, module: str) -> str:
    """Make a link of each public name in backticks, but in headings and in blocks of code."""
    folder = posixpath.dirname(page)

    def link(span: re.Match[str]) -> str:
        full = full_name(span[1], module)
        if full is None:
            return span[0]
        return f"[{span[0]}]({posixpath.relpath(places()[full], folder)}#{full})"

    parts = _CODE.split(text)
    return "".join(part if index % 2 else _NAME.sub(link, part) for index, part in enumerate(parts))
