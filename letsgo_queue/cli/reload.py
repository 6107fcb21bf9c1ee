"""`letsgo-queue worker --reload`: starts the command again whenever code changes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from letsgo_queue.errors import SettingsInvalid

STOP_SECONDS = 30
"""How long the command may take to stop before it is killed: its drain time, and some."""


def run_reloading() -> None:
    """Run this command without `--reload`, and start it again when a Python file changes.

    Files in the working directory and below count. A command that ends by itself, for an error in
    its code, waits for the next change.

    Raises:
        SettingsInvalid: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, run_process
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            "--reload needs watchfiles: pip install 'letsgo-claimcheck[reload]'"
        ) from error
    arguments = [argument for argument in sys.argv[1:] if argument != "--reload"]
    run_process(
        Path.cwd(),
        target=shlex.join([sys.executable, "-m", "letsgo_queue.cli.app", *arguments]),
        target_type="command",
        watch_filter=PythonFilter(),
        sigint_timeout=STOP_SECONDS,
    )
