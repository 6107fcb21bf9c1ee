"""The Python of the documentation, and `typed/`, as the type checkers of a reader see it.

Blocks that begin with ```py are left out: they use packages that have no types.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.support import PAGES, ROOT, write_blocks

TYPED = Path(__file__).parent / "typed"
EXAMPLES = ROOT / "docs" / "examples"
CONTAINER = ROOT / "docs" / "infrastructure" / "container" / "app"
SITE = Path("docs", "site")

Line = tuple[str, str, int]
"""A page, a file of it, and a line there."""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder for each page and example that has Python, with its files."""
    for page in [*PAGES, ROOT / "claimcheck/cli/guide.md"]:
        write_blocks(str(page.relative_to(ROOT)), tmp_path / "-".join(page.relative_to(ROOT).parts))
    for folder in [TYPED, CONTAINER, *filter(Path.is_dir, EXAMPLES.iterdir())]:
        (tmp_path / folder.name).mkdir()
        for path in folder.glob("*.py"):
            shutil.copy(path, tmp_path / folder.name)
    return tmp_path


def test_mypy(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert len(list(pages.glob("*/*.py"))) > 20
    found: set[Line] = set()
    for number, group in enumerate(without_namesakes(pages)):
        folder = tmp_path_factory.mktemp(f"group{number}")
        for path in group:
            shutil.copy(path, folder)
        page_of = {path.name: path.parent.name for path in group}
        cache = ROOT / ".mypy_cache" / "docs"
        said = run("mypy", "--strict", "--config-file=", f"--cache-dir={cache}", ".", cwd=folder)
        print(said)
        for name, line in re.findall(r"^(\w+\.py):(\d+): error:", said, re.MULTILINE):
            found.add((page_of[name], name, int(line)))
    assert found == refused_lines(pages, by="mypy")


def test_basedpyright(pages: Path) -> None:
    """By its default rules, but for its warnings: of `Any`, and of results that nobody uses."""
    shutil.copytree(ROOT / SITE, pages / "site" / SITE)  # mypy checks it with the packages
    environments = [{"root": page.name} for page in pages.iterdir()]
    (pages / "pyrightconfig.json").write_text(json.dumps({"executionEnvironments": environments}))
    python = f"--pythonpath={sys.executable}"
    said = json.loads(run("basedpyright", "--outputjson", "--level=error", python, cwd=pages))
    found: set[Line] = set()
    for each in said["generalDiagnostics"]:
        path, line = Path(each["file"]), each["range"]["start"]["line"] + 1
        print(f"{path}:{line}: {each['message']}")
        found.add((path.parent.name, path.name, line))
    assert found == refused_lines(pages, by="basedpyright")


def run(checker: str, *arguments: str, cwd: Path) -> str:
    """Run a type checker; what it prints."""
    checked = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode in {0, 1}, checked.stdout + checked.stderr
    return checked.stdout


def refused_lines(pages: Path, *, by: str) -> set[Line]:
    """The lines whose comment says that type checkers, or one of them, refuse them."""
    marks = ("# refused", f"# refused by {by}")
    return {
        (path.parent.name, path.name, number)
        for path in pages.glob("*/*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.endswith(marks)
    }


def without_namesakes(pages: Path) -> Iterator[list[Path]]:
    """The files in as few groups as possible: mypy takes no two of one name. Pages stay whole."""
    left = [sorted(page.glob("*.py")) for page in sorted(pages.iterdir())]
    while left:
        group: list[Path] = []
        for files in left[:]:
            names = {path.name for path in group}
            if names.isdisjoint(path.name for path in files):
                group += files
                left.remove(files)
        yield group
