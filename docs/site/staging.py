"""The pages of the site, made from those in docs/.

The pages are written to be read on GitHub and in an editor too. So a link may lead to a folder or
to a file outside of docs/, and a block of Python names its file in a comment. Here they become what
a site needs, with the parts that are made from the code.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs.site.made import make

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LEFT_OUT = ("site", "node_modules", "dist", "__pycache__")
"""Folders of docs/ that are no part of the site."""

ELSEWHERE = {
    "../README.md": "index.md",
    "../CHANGELOG.md": "reference/changelog.md",
    "../SECURITY.md": "reference/security-policy.md",
}
"""Where the site has what a file outside of docs/ says."""

_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_PICTURE = re.compile(r"^!\[[^\]]*\]\(([^)\s]*pictures/[^)\s]+\.svg)\)$", re.MULTILINE)
_PALETTE = re.compile(r"^ *<style class=\"palette\">.*?</style>\n", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"^```(?:python|py)\n# ([\w/]+\.py)\n")


def stage(folder: Path) -> None:
    """Write all that the site is built from into a folder.

    Args:
        folder: The folder. What is in it is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for page in folder.rglob("*.md"):
        name = page.relative_to(folder).as_posix()
        page.write_text(page_of(name, page.read_text(encoding="utf-8")), encoding="utf-8")


def page_of(name: str, markdown: str) -> str:
    """One page as the site has it.

    Args:
        name: Its path in docs/, with `/`.
        markdown: The page as it is written.
    """
    pictured = _PICTURE.sub(lambda link: _picture(DOCS / name, link[1]), make(name, markdown))
    parts = _FENCE.split(pictured)
    for index, part in enumerate(parts):
        parts[index] = (
            _FILE_NAME.sub(r'```python title="\1"\n', part)
            if index % 2
            else _LINK.sub(lambda link: _on_the_site(link, name), part)
        )
    return "".join(parts)


def pages_in_nav() -> Iterator[str]:
    """The pages that zensical.toml lists, in order, as paths in docs/."""
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    entries = list(project["nav"])
    while entries:
        entry = entries.pop(0)
        if isinstance(entry, str):
            yield entry
        else:
            (inside,) = entry.values()
            entries[:0] = inside if isinstance(inside, list) else [inside]


def _picture(page: Path, name: str) -> str:
    """A picture inside the page: it then has the colours of the scheme that the reader chose."""
    text = (page.parent / name).read_text(encoding="utf-8")
    return f'<div class="picture">\n{_PALETTE.sub("", text).strip()}\n</div>'


def _on_the_site(link: re.Match[str], page: str) -> str:
    text, target = link.groups()
    name, sharp, anchor = target.partition("#")
    if not name or ":" in name:
        return link[0]
    folder = posixpath.dirname(page)
    path = posixpath.normpath(posixpath.join(folder, name))
    if path.startswith("../"):
        if path not in ELSEWHERE:
            return text  # a source file, which the site does not have
        path, sharp, anchor = ELSEWHERE[path], "", ""
    elif (DOCS / path).is_dir():
        path = f"{path}/README.md"
        if not (DOCS / path).exists():
            return text
    return f"[{text}]({posixpath.relpath(path, folder or '.')}{sharp}{anchor})"
