"""What the tests of the documentation share: its code blocks, as files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
