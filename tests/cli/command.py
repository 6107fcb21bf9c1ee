"""Runs the commands as a user does, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

_MODULES = {"claimcheck": "claimcheck.cli", "letsgo-queue": "letsgo_queue.cli"}


def run(
    command: Literal["claimcheck", "letsgo-queue"],
    *arguments: str,
    cwd: Path,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in the environment of the test."""
    return subprocess.run(
        [sys.executable, "-m", _MODULES[command], *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
