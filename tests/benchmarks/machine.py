"""The machine and the versions of a run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.peers import Library

_CPUINFO = Path("/proc/cpuinfo")
_VERSION = "from importlib.metadata import version; print(version({!r}))"


def machine() -> str:
    """The cores, the processor and the system."""
    model = platform.processor() or platform.machine()
    if _CPUINFO.exists() and (found := re.search(r"model name\s*: (.+)", _CPUINFO.read_text())):
        model = found[1]
    return f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}"


def versions(libraries: Sequence[Library]) -> dict[str, str]:
    """The versions of Python and of each library, in the library's own environment."""
    return {
        "Python": platform.python_version(),
        **{each.distribution: _version(each) for each in libraries},
    }


def _version(library: Library) -> str:
    return subprocess.run(
        [library.python, "-c", _VERSION.format(library.distribution)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
