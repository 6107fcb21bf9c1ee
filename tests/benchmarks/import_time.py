"""How long `import claimcheck` and `import pydantic` take, in fresh processes, in turn."""

from __future__ import annotations

import subprocess
import sys

_TIMED = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def import_seconds(pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each import of claimcheck, and of pydantic."""
    _seconds("claimcheck"), _seconds("pydantic")  # writes what is compiled
    ours, theirs = [], []
    for _ in range(pairs):
        ours.append(_seconds("claimcheck"))
        theirs.append(_seconds("pydantic"))
    return ours, theirs


def _seconds(package: str) -> float:
    return float(
        subprocess.run(
            [sys.executable, "-c", _TIMED.format(package)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
