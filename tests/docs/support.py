"""What the tests of the documentation share: its code blocks, as files."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_BLOCK = re.compile(r"```python\n# ([\w/]+\.py)\n(.*?)```", re.DOTALL)


def write_blocks(page: str, folder: Path) -> set[str]:
    """Write the Python blocks of a page into `folder`; each names its file in the first line.

    Returns:
        The names of the files.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = _BLOCK.findall(text)
    assert len(blocks) == text.count("```python"), f"{page}: a block without a file name"
    for name, code in blocks:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return {name for name, _ in blocks}


def commands(page: str) -> list[str]:
    """What a reader types into a shell, in the order of the page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for block in _CONSOLE.findall(text) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def install_commands(folder: Path) -> None:
    """Put `letsgo-queue` and `claimcheck` into `folder`, as pip would into a PATH."""
    folder.mkdir()
    for name, module in (
        ("letsgo-queue", "letsgo_queue.cli.app"),
        ("claimcheck", "claimcheck.cli.app"),
    ):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        script.chmod(0o755)
