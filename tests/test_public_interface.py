"""What users may rely on changes only when somebody means it to."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path

from tests.release.interface import PUBLIC, SNAPSHOT, names_of, snapshot
from tests.release.options import PACKAGES
from tests.release.uses import uses

ROOT = Path(__file__).parents[1]

OURS_ALONE = {
    "claimcheck.audit.page",
    "claimcheck.integrations.django.tasks_api",
}
"""Modules with an `__all__` for our own modules."""

_BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_public_interface_is_the_one_that_was_announced() -> None:
    before, now = SNAPSHOT.read_text(), snapshot()
    changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "announced", "now", n=4)
    assert now == before, (
        "The public interface changed. If that is meant, docs/releasing.md says what has to go "
        "with it. Say it in CHANGELOG.md, and renew the snapshot with `make public-interface`.\n"
        + "\n".join(changes)
    )


def test_somebody_uses_each_name_and_option_from_outside() -> None:
    assert [use.what for use in uses() if use.place is None] == [], (
        "No test and no page uses these. Use them, or take them away: `make public-use` has the "
        "whole table."
    )


def test_every_module_that_names_what_it_offers_is_public_or_known_not_to_be() -> None:
    naming = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "\n__all__ = " in path.read_text()
    }
    assert naming - set(PUBLIC) == OURS_ALONE


def test_docs_import_what_is_public_and_nothing_else() -> None:
    private = {
        f"{path.relative_to(ROOT)}: from {module} import {name}"
        for path in documents()
        for module, name in imports_of(path)
        if not is_public(module, name)
    }
    assert private == set()


def documents() -> list[Path]:
    """The documentation, and its examples."""
    docs = ROOT / "docs"
    return [ROOT / "README.md", *docs.rglob("*.md"), *(docs / "examples").rglob("*.py")]


def imports_of(path: Path) -> set[tuple[str, str]]:
    """The modules of ours that the Python of a document imports from, with the names."""
    text = path.read_text()
    return {
        (node.module, alias.name)
        for source in (_BLOCK.findall(text) if path.suffix == ".md" else [text])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES)
        for alias in node.names
        if node.module is not None
    }


def is_public(module: str, name: str) -> bool:
    if f"{module}.{name}" in PUBLIC:
        return True
    return module in PUBLIC and name in names_of(module)
