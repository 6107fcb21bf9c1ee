"""Starts a command again whenever code changes: `--reload`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from letsgo_queue.errors import SettingsInvalid

STOP_SECONDS = 30
"""How long the command may take to stop before it is killed: its drain time, and some."""


def run_reloading(command: Sequence[str]) -> None:
    """Run a command without `--reload`, and start it again when a Python file changes.

    Files in the working directory and below count. A command that ends by itself, for an error in
    its code, waits for the next change.

    Args:
        command: The command.

    Raises:
        SettingsInvalid: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, run_process
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            "--reload needs watchfiles: pip install 'letsgo-claimcheck[reload]'"
        ) from error
    with suppress(KeyboardInterrupt):  # SIGTERM too, while it begins to watch a large folder
        run_process(
            Path.cwd(),
            target=shlex.join(each for each in command if each != "--reload"),
            target_type="command",
            watch_filter=PythonFilter(),
            sigint_timeout=STOP_SECONDS,
        )
