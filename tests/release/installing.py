"""Installs a wheel into a clean environment of each Python, and follows the README there.

python -m tests.release.installing dist            each supported Python that is here
python -m tests.release.installing dist 3.12 3.13  these, which must be here
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

IMPORTS = """
import importlib.metadata, importlib.resources, sys
import claimcheck, letsgo_queue
assert not {name for name in sys.modules if name.split(".")[0] in {"boto3", "pynamodb"}}
for package in (claimcheck, letsgo_queue):
    assert "site-packages" in package.__file__, package.__file__
    assert importlib.resources.files(package).joinpath("py.typed").is_file()
    for name in package.__all__:
        getattr(package, name)
print(importlib.metadata.version("letsgo-claimcheck"))
"""
"""Without extras: each public name loads, and nothing loads AWS's libraries before."""


def main() -> None:
    folder, *asked = sys.argv[1:]
    (wheel,) = Path(folder).glob("*.whl")
    version = wheel.name.split("-")[1]
    pythons = {name: find_python(name) for name in asked or supported()}
    lacking = [name for name, python in pythons.items() if python is None]
    if asked and lacking:
        raise SystemExit(f"Python {', '.join(lacking)} is not here.")
    if len(lacking) == len(pythons):
        raise SystemExit("No Python that is supported is here.")
    for name, python in pythons.items():
        if python is None:
            print(f"- Python {name} is not here: left out")
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            try_out(python, wheel.resolve(), version, Path(scratch))
        print(f"✓ Python {name}: installed, {version} works ({time.monotonic() - started:.0f} s)")


def supported() -> list[str]:
    """The Pythons that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = (re.fullmatch(r".* :: (3\.\d+)", each) for each in project["classifiers"])
    return [match[1] for match in named if match]


def find_python(version: str) -> Path | None:
    """An installation of this Python, on the path or a version manager's."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    candidates = [
        *managed.glob(f"{version}.*/bin/python"),
        *([Path(on_path)] if on_path else []),
        *([Path(sys.executable)] if sys.version.startswith(f"{version}.") else []),
    ]
    for candidate in candidates:
        probe = "import ensurepip, sys; print(*sys.version_info[:2], sep='.')"
        done = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


def try_out(python: Path, wheel: Path, version: str, folder: Path) -> None:
    """All that a new user does first."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    user = User(folder)

    user.run("python", "-m", "pip", "install", "--quiet", wheel)
    assert user.run("python", "-c", IMPORTS).strip() == version
    write_readme(user.home)
    user.run("python", "send.py")
    handled = user.run("python", "-c", "import work; work.worker.run(burst=True)")
    assert "order 42 has 10000 lines" in handled, handled

    user.run("python", "-m", "pip", "install", "--quiet", f"{wheel}[cli]")
    user.run("python", "-m", "pip", "check")
    user.run("python", "send.py")
    handled = user.run("letsgo-queue", "worker", "work:worker", "--burst")
    assert "order 42 has 10000 lines" in handled, handled
    user.run("claimcheck", "demo")


class User:
    """Types commands, with nothing but a new environment on the path."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._bin = folder / "venv" / "bin"

    def run(self, command: str, *arguments: str | Path) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            [self._bin / command, *arguments],
            cwd=self.home,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise SystemExit(f"✗ {command} {_shown(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        hidden = ("AWS_", "CLAIMCHECK_", "LETSGO_", "PYTHON", "VIRTUAL_ENV")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(hidden)}
        return {
            **kept,
            "HOME": str(self.home),
            "LETSGO_QUEUE_URL": "sqlite:///work.db",
            "PATH": os.pathsep.join((str(self._bin), os.environ["PATH"])),
        }


def _shown(arguments: Sequence[str | Path]) -> str:
    return " ".join(str(each).strip().split("\n")[0] for each in arguments)


def write_readme(folder: Path) -> None:
    """The programs of the README, each in its file."""
    text = (ROOT / "README.md").read_text()
    for name, code in re.findall(r"```python\n# ([\w/]+\.py)\n(.*?)```", text, re.DOTALL):
        (folder / name).write_text(code)


if __name__ == "__main__":
    main()
