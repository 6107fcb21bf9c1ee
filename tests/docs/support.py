"""What the tests of the documentation share: the files of a page, and a reader who follows it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.quick_python import quick_python
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(page for page in ROOT.glob("docs/**/*.md") if "node_modules" not in page.parts),
]
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_SECONDS = 60


def write_blocks(page: str, folder: Path, *, language: str = "python") -> set[str]:
    """Write the Python blocks of a page into `folder`; each names its file in the first line.

    Args:
        page: The page.
        folder: Where to.
        language: What the blocks are marked with; `py` where type checkers cannot know a package.

    Returns:
        The names of the files.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n# ([\w/]+\.py)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count(f"```{language}\n"), f"{page}: a block without a file name"
    for name, code in blocks:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return {name for name, _ in blocks}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in a language, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(page: str) -> list[str]:
    """What a reader types into a shell, in the order of the page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for block in _CONSOLE.findall(text) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def install_commands(folder: Path) -> None:
    """Put `python`, `letsgo-queue` and `claimcheck` into `folder`, as pip would into a PATH."""
    folder.mkdir()
    for name, module in (
        ("python", ""),
        ("letsgo-queue", "-m letsgo_queue.cli.app"),
        ("claimcheck", "-m claimcheck.cli.app"),
    ):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(quick_python())} {module} "$@"\n')
        script.chmod(0o755)


class Reader:
    """Follows a page: has its files in a folder, and types its commands into a shell.

    Attributes:
        folder: Where the files are, and where the commands run.
        settings: The environment of the commands, beside that of the test.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        """Open a shell in a folder."""
        self.folder = folder
        self.settings = settings
        install_commands(folder / "bin")

    def type(self, command: str, *, code: int = 0) -> str:
        """Run a command to its end; what it prints."""
        return self._run(command, code).stdout

    def log_of(self, command: str) -> str:
        """Run a command to its end; what it logs."""
        return self._run(command, 0).stderr

    @contextmanager
    def leave_running(self, command: str) -> Iterator[Path]:
        """Run a command until it is interrupted; gives the file with all that it writes."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield log
                process.send_signal(signal.SIGTERM)
                assert process.wait(_SECONDS) == 0, log.read_text()
            finally:
                process.kill()

    def _run(self, command: str, code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join((str(self.folder / "bin"), os.environ["PATH"]))
        return {**os.environ, **self.settings, "PATH": path}


def address_in(log: Path) -> str:
    """The address of a worker in LetsGo's local mode, as soon as its log says it."""
    found = wait_for(
        lambda: re.findall(r"worker running on (http://\S+)\n", log.read_text()), "the worker"
    )
    return str(found[0])
