"""Runs a user's project in miniature, with a pytest of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from claimcheck.audit import AuditReport, TypeReport
from tests.support.quick_python import quick_python

SUITES = Path(__file__).parent / "suites"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of pytest that has ended."""

    exit_code: int
    output: str

    @property
    def audit(self) -> str:
        """What pytest prints about the audit."""
        return self.output.partition(" claimcheck size audit ")[2]

    def row(self, message_type: str) -> list[str]:
        """The cells of a type's row in the table."""
        rows = [re.split(r"\s{2,}", line) for line in self.audit.splitlines()]
        return next(row for row in rows if row[0] == message_type)


@dataclass(frozen=True, slots=True)
class Project:
    """A user's project, in a folder of its own."""

    folder: Path

    def settings(self, text: str) -> None:
        """Have its `pyproject.toml` say more."""
        with (self.folder / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(f"\n{text}\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def pytest(self, *arguments: str, installed: bool = False) -> Run:
        """Run the project's tests.

        Args:
            arguments: Those of pytest.
            installed: Whether pytest finds the plugin by itself, as it does for a user. It then
                loads all that are installed, which takes most of the time.
        """
        named = ("claimcheck.audit.pytest_plugin", "anyio.pytest_plugin")
        plugins = [] if installed else [f"-p{name}" for name in named]
        if "-n" in arguments:
            plugins += ["-pxdist.plugin"]
        python = [sys.executable] if installed else quick_python()
        environment = {} if installed else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            [*python, "-m", "pytest", *plugins, *arguments],
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def report(self, name: str = "audit.json") -> dict[str, TypeReport]:
        """A saved report, by message type."""
        return {each.type: each for each in AuditReport.load(self.folder / name).types}


def make_project(suite: str, folder: Path) -> Project:
    """Copy a suite to where it can be run and changed."""
    shutil.copytree(SUITES / suite, folder, dirs_exist_ok=True)
    return Project(folder)
