"""The site: its pages are all in its menu, and it builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site.staging import DOCS, ROOT, page_of, pages_in_nav, stage
from tests.docs.support import PAGES

PICTURES = [path for path in DOCS.glob("pictures/*.svg") if path.name != "icon.svg"]
REFERENCE = sorted(DOCS.glob("reference/*.md"))
STYLE = DOCS / "stylesheets/site.css"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_menu_has_every_page_once() -> None:
    listed = list(pages_in_nav())
    written = [page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)]
    assert sorted(listed) == sorted(written), "list it in zensical.toml"


def test_it_builds(tmp_path: Path) -> None:
    pytest.importorskip("zensical")  # a tool of development
    stage(tmp_path / "build/docs")
    settings = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(settings, encoding="utf-8")

    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "build/site/index.html").is_file()


def test_a_picture_has_the_colours_of_the_scheme_that_the_reader_chose() -> None:
    shown = page_of("concepts/ways.md", "Ways\n\n![Three ways](../pictures/ways.svg)\n")
    assert '<div class="picture">\n<svg ' in shown
    assert "prefers-color-scheme" not in shown

    palettes = [re.findall(r"--p-[\w-]+: #\w+", text) for text in map(read, PICTURES)]
    assert len(PICTURES) == 3
    assert set(map(tuple, palettes)) == {tuple(re.findall(r"--p-[\w-]+: #\w+", read(STYLE)))}


def test_an_example_shows_its_files() -> None:
    page = "examples/fastapi_app/README.md"
    shown = page_of(page, read(DOCS / page))
    assert '```python title="worker.py"\n"""The worker.' in shown
    assert "made: files" not in shown


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_a_page_without_its_made_parts_says_where_they_are(page: Path) -> None:
    named = re.findall(r"^> In the repository [^\n]*(?:\n> [^\n]*)*", read(page), re.MULTILINE)
    shown = page_of(page.relative_to(DOCS).as_posix(), read(page))

    assert len(named) == 1
    assert re.search(r"`make docs`|\]\(\.\./\.\./", named[0])
    assert "In the repository" not in shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[format](../wire-format/)", "[format](../wire-format/README.md)"),
        ("[start](../../README.md#use-it)", "[start](../index.md)"),
        ("[prices](../../claimcheck/core/prices.py)", "prices"),
        ("[lambda](lambda.md#retries) and [AWS](https://aws.amazon.com)",) * 2,
        ("```console\n$ [a](../../b.py)\n```", "```console\n$ [a](../../b.py)\n```"),
        ("```python\n# a.py\nx = 1\n```", '```python title="a.py"\nx = 1\n```'),
        ("```py\n# shop/a.py\nx = 1\n```", '```python title="shop/a.py"\nx = 1\n```'),
    ],
)
def test_a_page_is_turned_into_what_a_site_needs(written: str, shown: str) -> None:
    assert page_of("how-to/page.md", written) == shown
