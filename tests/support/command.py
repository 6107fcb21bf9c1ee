"""Runs the commands as a user does, each in a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Literal, TypeAlias

from tests.support.quick_python import quick_python

Command: TypeAlias = Literal["claimcheck", "letsgo-queue"]

_MODULES: dict[Command, str] = {
    "claimcheck": "claimcheck.cli.app",
    "letsgo-queue": "letsgo_queue.cli.app",
}


def run(
    command: Command,
    *arguments: str,
    cwd: Path,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in the environment of the test."""
    return subprocess.run(
        [*quick_python(), "-m", _MODULES[command], *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def run_on_terminal(
    command: Command, *arguments: str, cwd: Path, answer: str = ""
) -> tuple[int, str]:
    """Run a command on a terminal, and return its exit code and all that it showed.

    Args:
        command: Which command.
        arguments: Its arguments.
        cwd: Where it runs.
        answer: What is typed.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*quick_python(), "-m", _MODULES[command], *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "500", "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # Linux: the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        code = process.wait(60)
    os.close(ours)
    return code, shown.decode()
