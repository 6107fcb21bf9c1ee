"""Runs the tests with the lowest versions of all dependencies that pyproject.toml allows.

    python -m tests.release.lowest             both runs below
    python -m tests.release.lowest queue -x    one of them, with options for pytest

Versions of the clients that people have go together only in part, so there are two runs: the
packages alone, on the lowest of everything, and the integrations, on what their clients allow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "lowest"

_EVERYWHERE = ("cli", "console", "django", "encryption", "local", "metrics", "otel", "reload")

EXTRAS: Mapping[str, Sequence[str]] = {
    "queue": _EVERYWHERE,
    "clients": (*_EVERYWHERE, "aiobotocore", "celery", "dramatiq", "taskiq"),
}

TESTS: Mapping[str, Sequence[str]] = {
    "queue": ("tests/letsgo_queue", "tests/claimcheck", "--ignore=tests/claimcheck/integrations"),
    "clients": ("tests/claimcheck/integrations",),
}

_OPTIONS = (
    *("-n", "2", "--dist", "worksteal", "-W", "default"),
    *("-p", "no:anyio"),  # old packages hold it back, and it does not load beside a new pytest
)
"""That old versions warn beside new ones is no failure."""


def main() -> None:
    asked = sys.argv[1:]
    runs = [asked.pop(0)] if asked and asked[0] in EXTRAS else list(EXTRAS)
    codes = [run(name, asked) for name in runs]
    raise SystemExit(max(codes))


def run(name: str, options: Sequence[str]) -> int:
    """Make the environment and run the tests in it; pytest's exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lowest = FOLDER / f"{name}.txt"
    environment = FOLDER / name
    extras = EXTRAS[name]
    uv(
        *("pip", "compile", "--quiet", "--resolution", "lowest-direct"),
        *("--python-version", "3.11", "pyproject.toml"),
        *(f"--extra={extra}" for extra in extras),
        *("--output-file", str(lowest)),
    )
    uv("venv", "--quiet", "--clear", "--python", "3.11", str(environment))
    uv(
        *("pip", "install", "--quiet", "--python", str(environment)),
        *("--constraint", str(lowest), "--editable", f".[{','.join(extras)}]", "--group", "tests"),
    )
    print(f"{name}: the tests on the lowest versions, which {lowest.relative_to(ROOT)} lists")
    python = str(environment / "bin" / "python")
    command = [python, "-m", "pytest", *_OPTIONS, *TESTS[name], *options]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def uv(*arguments: str) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([sys.executable, "-m", "uv", *arguments], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
