"""Fills a queue for one worker, or runs that worker until a signal ends it.

python -m tests.benchmarks.workers.run '{"worker": "celery", "do": "fill", ...}'
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast


class _Module(Protocol):
    """A module of this package."""

    def fill(self, queue_url: str, message: dict[str, Any], count: int) -> None:
        """Send a message `count` times, as the library does; only where it `fills`."""
        ...

    def work(self, task: dict[str, Any], done: Callable[[], None]) -> None:
        """Handle messages until a signal; call `done` in the handler."""
        ...


def main() -> None:
    """Fill or work."""
    task = json.loads(sys.argv[1])
    module = cast("_Module", importlib.import_module(f"tests.benchmarks.workers.{task['module']}"))
    if task["do"] == "fill":
        message = json.loads(Path(task["message"]).read_text())
        module.fill(task["queue_url"], message, task["count"])
        return
    pipe: int = task["pipe"]
    module.work(task, lambda: _write(pipe))


def _write(pipe: int) -> None:
    os.write(pipe, b".")


if __name__ == "__main__":
    main()
