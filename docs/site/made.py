"""The parts of pages that are made from the code, so that they cannot say something else.

A page says `<!-- made: settings -->` on a line of its own where such a part belongs. Readers of the
repository do not see the part, so a quotation that begins with "In the repository" tells them where
to look; the site leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from claimcheck.cli.guide import guide_text
from docs.site.commands import commands
from docs.site.reference import names
from docs.site.settings import settings

ROOT = Path(__file__).parents[2]
_IN_REPOSITORY = re.compile(r"^> In the repository .*?(?:\n\n|\Z)", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"^<!-- made: (\S+)(.*?) -->$", re.MULTILINE | re.DOTALL)


def make(name: str, markdown: str) -> str:
    """A page, with all its parts made.

    Args:
        name: Its path in docs/.
        markdown: The page as it is written.
    """
    text = _IN_REPOSITORY.sub("", markdown)
    return _MARK.sub(lambda mark: MAKERS[mark[1]](name, mark[2].strip()), text)


def include(_page: str, what: str) -> str:
    """A page at top level without its heading, on a page of a folder of docs/.

    Args:
        what: Its name.
    """
    text = (ROOT / what).read_text(encoding="utf-8")
    return text.partition("\n")[2].strip().replace("](docs/", "](../")


def guide(_page: str, _what: str) -> str:
    """What `claimcheck guide` prints, without its heading."""
    return guide_text().partition("\n")[2].strip()


def files(page: str, what: str) -> str:
    """The files beside a page, each as a block of code.

    Args:
        page: The page.
        what: Their names.
    """
    folder = (ROOT / "docs" / page).parent
    return "\n\n".join(_block(folder / name, name) for name in what.split())


def _block(path: Path, name: str) -> str:
    text = path.read_text(encoding="utf-8").strip()
    language = {".py": "python", ".ts": "typescript", ".txt": "text"}.get(path.suffix, "yaml")
    return f'```{language} title="{name}"\n{text}\n```'


MAKERS: dict[str, Callable[[str, str], str]] = {
    "commands": commands,
    "files": files,
    "guide": guide,
    "include": include,
    "names": names,
    "settings": settings,
}
"""What makes each part: it gets the page's path, and what the mark says behind the name."""
