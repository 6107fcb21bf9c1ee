"""Times imports in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys

_NOT_COMPILED = "PYTHONDONTWRITEBYTECODE"
_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def import_seconds(*statements: str, runs: int) -> list[list[float]]:
    """Seconds of each statement in each run. The statements take turns.

    The first run does not count: it compiles the modules, whatever the environment says of that.
    """
    taken = [[_seconds(statement) for statement in statements] for _ in range(runs + 1)]
    return [list(column) for column in zip(*taken[1:], strict=True)]


def _seconds(statement: str) -> float:
    return float(
        subprocess.run(
            [sys.executable, "-c", _TIMED.format(statement)],
            env={name: value for name, value in os.environ.items() if name != _NOT_COMPILED},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
