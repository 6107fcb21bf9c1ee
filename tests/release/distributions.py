"""Looks into a wheel and an sdist: what users need is there, and nothing else.

python -m tests.release.distributions dist
"""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("letsgo_queue", "claimcheck")

BESIDE_THE_PACKAGES = {
    ".gitignore",  # the builder adds it
    "CHANGELOG.md",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "pyproject.toml",
}
"""What an sdist has at its top."""

MUST_BE_THERE = (
    "claimcheck/py.typed",
    "letsgo_queue/py.typed",
    "claimcheck/console/templates/claims.html",
    "letsgo_queue/console/templates/base.html",
    "letsgo_queue/console/static/console.css",
    "claimcheck/integrations/django/management/commands/letsgo_worker.py",
)
"""One of each kind that a builder may leave out, should the list of the repository fail."""


def main() -> None:
    folder, tag = Path(sys.argv[1]), "".join(sys.argv[2:])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stem = f"letsgo_claimcheck-{project['version']}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    sdist = folder / f"{stem}.tar.gz"
    lacking = [path.name for path in (wheel, sdist) if not path.is_file()]
    if lacking:
        raise SystemExit(f"{folder} has no {' and no '.join(lacking)}: `make dist` builds them.")
    problems = [
        *problems_of_version(project["version"], tag),
        *problems_of_wheel(wheel, project),
        *problems_of_sdist(sdist, stem),
    ]
    for problem in problems:
        print(f"✗ {problem}")
    if problems:
        raise SystemExit(1)
    print(f"✓ {wheel.name} and {sdist.name} have the {len(package_files())} files of the packages")


def package_files() -> set[str]:
    """What git has of both packages."""
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    return {name for name in listed if name and (ROOT / name).is_file()}


def problems_of_version(version: str, tag: str) -> Iterator[str]:
    if tag and tag != f"v{version}":
        yield f"the tag is {tag}, and pyproject.toml says {version}"
    changes = (ROOT / "CHANGELOG.md").read_text()
    if f"\n## {version} - " not in changes:
        yield f"CHANGELOG.md has no dated section for {version}"


def problems_of_wheel(path: Path, project: dict[str, object]) -> Iterator[str]:
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    yield from differences("the wheel", {name for name in names if not name.startswith(info)})
    for needed in ("entry_points.txt", "licenses/LICENSE"):
        if f"{info}/{needed}" not in names:
            yield f"the wheel has no {needed}"
    said = {name: metadata[name] for name in ("Version", "Requires-Python", "License-Expression")}
    meant = (project["version"], project["requires-python"], project["license"])
    if tuple(said.values()) != meant:
        yield f"the wheel says {said}, pyproject.toml says {meant}"
    if "# letsgo-claimcheck" not in str(metadata.get_payload()):
        yield "the wheel's description is not README.md"


def problems_of_sdist(path: Path, stem: str) -> Iterator[str]:
    with tarfile.open(path) as archive:
        names = {
            member.name.removeprefix(f"{stem}/")
            for member in archive.getmembers()
            if member.isfile()
        }
    yield from differences("the sdist", names - BESIDE_THE_PACKAGES)
    lacking = BESIDE_THE_PACKAGES - {".gitignore"} - names
    if lacking:
        yield f"the sdist has no {', '.join(sorted(lacking))}"


def differences(what: str, names: set[str]) -> Iterator[str]:
    """Where an archive differs from the packages."""
    meant = package_files() | set(MUST_BE_THERE)
    if lacking := sorted(meant - names):
        yield f"{what} lacks {', '.join(lacking)}"
    if more := sorted(names - meant):
        yield f"{what} has what it should not: {', '.join(more)}"


if __name__ == "__main__":
    main()
