"""Runs the tests of a page or an example, as their reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PLUGINS = ("letsgo_queue.testing.pytest_plugin", "anyio.pytest_plugin")
"""Those that a page needs. All that are installed take most of the time."""


def passed_tests(folder: Path, *files: str, **settings: str) -> int:
    """Run the tests in a folder, none of which may fail.

    Args:
        folder: The folder.
        files: The files with tests; by default those that pytest finds.
        settings: The environment, beside that of the test.

    Returns:
        How many passed.
    """
    plugins = [f"-p{name}" for name in PLUGINS]
    alone = [f"-c{os.devnull}", f"--rootdir={folder}", "-pno:cacheprovider"]  # not in our project
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", *alone, *plugins, *files],
        cwd=folder,
        env={**os.environ, **settings, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    return int(found[1])
