"""Fresh processes to measure. Each has its own environment, and answers in lines of JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.benchmarks.emulator import ROOT

_STOP_SECONDS = 30


class Child:
    """A module of `tests.benchmarks` in a process of its own."""

    def __init__(
        self, python: Path, module: str, task: Mapping[str, object], environment: Mapping[str, str]
    ) -> None:
        """Start it.

        Args:
            python: A Python whose environment has what the module imports.
            module: Its name within `tests.benchmarks`.
            task: What to do: its only argument, as JSON.
            environment: Its environment variables; it gets no others.
        """
        self._process = subprocess.Popen(
            [python, "-m", f"tests.benchmarks.{module}", json.dumps(task)],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate(timeout=_STOP_SECONDS)

    def ask(self) -> Any:
        """Tell it to do its work once, and return what it prints."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def finish(self) -> Any:
        """Tell it that this was all, and return the last thing that it prints."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.stdin = None
        return self.answer()

    def answer(self) -> Any:
        """Return the next thing that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended; its output says why")
        return json.loads(line)


def answer_of(
    python: Path, module: str, task: Mapping[str, object], environment: Mapping[str, str]
) -> Any:
    """Run a module that does its work once, and return what it prints."""
    with Child(python, module, task, environment) as child:
        return child.answer()
