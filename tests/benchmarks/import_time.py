"""How long imports take, in fresh processes."""

from __future__ import annotations

import subprocess
import sys

_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def import_seconds(*statements: str, runs: int) -> list[list[float]]:
    """Seconds of each statement in each run; the statements take turns.

    The first of all runs is not counted: it compiles what is imported.
    """
    taken = [[_seconds(statement) for statement in statements] for _ in range(runs + 1)]
    return [list(column) for column in zip(*taken[1:], strict=True)]


def _seconds(statement: str) -> float:
    return float(
        subprocess.run(
            [sys.executable, "-c", _TIMED.format(statement)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
