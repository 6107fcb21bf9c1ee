"""Checks that the installed packages have versions that this package accepts."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from claimcheck.doctor.findings import Finding, failure, passed

DISTRIBUTION = "letsgo-claimcheck"

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?(?P<bounds>[^;]*)")
_BOUND = re.compile(r"(>=|<)\s*([0-9.]+)")


def check_versions() -> Iterator[Finding]:
    """Compare the packages that are installed with the bounds of ours.

    A package of an extra is checked only if it is installed.
    """
    shown = [f"Python {platform.python_version()}", f"{DISTRIBUTION} {version(DISTRIBUTION)}"]
    wrong = []
    for line in requires(DISTRIBUTION) or ():
        found = _REQUIREMENT.match(line)
        assert found is not None
        name, is_extra = found["name"], "extra ==" in line
        if name == DISTRIBUTION:
            continue
        try:
            installed = version(name)
        except PackageNotFoundError:
            if not is_extra:
                wrong.append(f"{name} is not installed")
            continue
        if not is_extra:
            shown.append(f"{name} {installed}")
        if not _within(installed, found["bounds"]):
            wrong.append(f"{name} {installed} is not {found['bounds'].strip()}")
    if wrong:
        yield failure(
            "versions",
            "; ".join(sorted(set(wrong))),
            command=f"python -m pip install --upgrade {DISTRIBUTION}",
        )
    else:
        yield passed("versions", ", ".join(shown))


def _within(installed: str, bounds: str) -> bool:
    number = _numbers(installed)
    return all(
        number >= _numbers(bound) if operator == ">=" else number < _numbers(bound)
        for operator, bound in _BOUND.findall(bounds)
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at the end: 2.0 is 2."""
    numbers = [int(part) for part in re.findall(r"\d+", text.partition("+")[0])]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
