"""`claimcheck guide` and llms.txt: the code runs, and the names are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import claimcheck
import letsgo_queue
from docs.site.commands import APPS, all_commands
from docs.site.settings import CLASSES
from docs.site.staging import DOCS, page_of
from tests.docs.support import ROOT, Reader, write_blocks

PAGE = "claimcheck/cli/guide.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def test_the_command_prints_it() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "claimcheck.cli.app", "guide"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert printed == TEXT
    assert len(printed.splitlines()) < 200


def test_its_code_runs(tmp_path: Path) -> None:
    names = {"messages.py", "shop.py", "work.py", "any_queue.py", "test_shop.py"}
    assert write_blocks(PAGE, tmp_path) == names
    reader = Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")

    reader.type("python -m pytest -q -p no:cacheprovider test_shop.py")
    assert reader.type("python any_queue.py") == "compressed 2000000\n"
    send = (
        "from shop import *; import asyncio; order = Order(order_id='7', lines=['a'] * 99_999); "
        "print(take_order(order)); take_many([order]); asyncio.run(take_order_async(order)); "
        "enqueue({'type': 'order:remind', 'payload': '7'})"
    )
    assert reader.type(f'python -c "{send}"').split()[1] == "compressed"
    printed = reader.type("letsgo-queue worker work:worker --burst").splitlines()
    assert sorted(printed) == ["order 7 delivery 1"] * 3 + ["remind of 7"]


def test_its_names_are_those_of_the_code() -> None:
    said = set(re.findall(r"\b(?:LETSGO|CLAIMCHECK)_[A-Z_]+", TEXT))
    assert said <= set(
        re.findall(r"`(\w+)`", " ".join(str(each.__doc__) for each in CLASSES.values()))
    )
    errors = set(re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", TEXT.partition("## Errors")[2]))
    public = {*letsgo_queue.__all__, *claimcheck.__all__}
    assert {"ClaimMissing", "SendUncertain"} < errors - {"ReportBatchItemFailures"} <= public

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^    extras: (.*)$", TEXT, re.MULTILINE)
    assert {"cli", *extras.split()} == {*project["optional-dependencies"]}

    commands = {name for program in APPS for name, _ in all_commands(program)}
    named = set(re.findall(r"`((?:claimcheck|letsgo-queue) [a-z-]+(?: [a-z]+)?)", TEXT))
    assert {" ".join(each.split()[:2]) for each in named} <= {
        " ".join(each.split()[:2]) for each in commands
    }


def test_the_site_has_it() -> None:
    page = DOCS / "reference/guide.md"
    shown = page_of("reference/guide.md", page.read_text(encoding="utf-8"))
    assert '```python title="work.py"' in shown
    assert "# letsgo-claimcheck: a guide" not in shown


def test_llms_txt_leads_to_pages() -> None:
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links[0] == "reference/guide/"
    missing = [
        link
        for link in links
        if not (DOCS / f"{link.removesuffix('/')}.md").exists()
        and not (DOCS / link / "README.md").exists()
    ]
    assert missing == []
