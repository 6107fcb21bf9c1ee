"""The checks of a wheel and an sdist before they are published."""

from __future__ import annotations

import io
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.release.distributions import (
    BESIDE_THE_PACKAGES,
    ROOT,
    package_files,
    problems_of_sdist,
    problems_of_version,
    problems_of_wheel,
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STEM = f"letsgo_claimcheck-{PROJECT['version']}"

METADATA = f"""\
Metadata-Version: 2.4
Name: letsgo-claimcheck
Version: {PROJECT["version"]}
Requires-Python: {PROJECT["requires-python"]}
License-Expression: MIT

# letsgo-claimcheck
"""


@pytest.fixture
def files() -> set[str]:
    return package_files()


def wheel(folder: Path, names: set[str], metadata: str = METADATA) -> Path:
    path = folder / f"{STEM}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
        for name in ("entry_points.txt", "licenses/LICENSE"):
            archive.writestr(f"{STEM}.dist-info/{name}", "")
        archive.writestr(f"{STEM}.dist-info/METADATA", metadata)
    return path


def sdist(folder: Path, names: set[str]) -> Path:
    path = folder / f"{STEM}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"{STEM}/{name}"), io.BytesIO())
    return path


def test_the_packages_and_nothing_else(tmp_path: Path, files: set[str]) -> None:
    assert list(problems_of_wheel(wheel(tmp_path, files), PROJECT)) == []
    assert list(problems_of_sdist(sdist(tmp_path, files | BESIDE_THE_PACKAGES), STEM)) == []


@pytest.mark.parametrize(
    "lost",
    [
        "claimcheck/py.typed",
        "letsgo_queue/py.typed",
        "letsgo_queue/console/static/console.js",
        "claimcheck/console/templates/claim.html",
    ],
)
def test_what_a_builder_left_out_is_named(tmp_path: Path, files: set[str], lost: str) -> None:
    (said,) = problems_of_wheel(wheel(tmp_path, files - {lost}), PROJECT)
    assert said == f"the wheel lacks {lost}"
    (said,) = problems_of_sdist(sdist(tmp_path, files - {lost} | BESIDE_THE_PACKAGES), STEM)
    assert said == f"the sdist lacks {lost}"


def test_tests_and_pages_are_not_published(tmp_path: Path, files: set[str]) -> None:
    more = {"tests/conftest.py", "docs/scale.md"}
    (said,) = problems_of_wheel(wheel(tmp_path, files | more), PROJECT)
    assert said == "the wheel has what it should not: docs/scale.md, tests/conftest.py"
    (said,) = problems_of_sdist(sdist(tmp_path, files | more | BESIDE_THE_PACKAGES), STEM)
    assert said == "the sdist has what it should not: docs/scale.md, tests/conftest.py"


def test_the_version_is_the_same_everywhere(tmp_path: Path, files: set[str]) -> None:
    version = PROJECT["version"]
    assert list(problems_of_version(version, f"v{version}")) == []
    assert [*problems_of_version(version, "v9.9.9")] == [
        f"the tag is v9.9.9, and pyproject.toml says {version}"
    ]
    assert [*problems_of_version("9.9.9", "")] == ["CHANGELOG.md has no dated section for 9.9.9"]
    old = METADATA.replace(f"Version: {version}", "Version: 0.0.1")
    (said,) = problems_of_wheel(wheel(tmp_path, files, old), PROJECT)
    assert "'Version': '0.0.1'" in said
