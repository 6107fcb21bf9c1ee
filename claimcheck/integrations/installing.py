"""What every `install` does: it looks at what it was given, and gives that a class of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from claimcheck.errors import SettingsInvalid


@dataclass(frozen=True, slots=True)
class Package:
    """A package that an integration is for.

    Attributes:
        name: What pip calls it.
        oldest: The oldest version that works here.
        extra: The extra of ours that installs it.
    """

    name: str
    oldest: tuple[int, ...]
    extra: str

    def missing(self, error: ImportError) -> SettingsInvalid:
        """Says what to install, for an import that failed."""
        return SettingsInvalid(
            f"the claim check for {self.extra} needs {self.name} {self._oldest} or newer "
            f"({error.msg}): pip install 'letsgo-claimcheck[{self.extra}]'"
        )

    def check(self, hooks: Mapping[type, Sequence[str]]) -> None:
        """Refuse a version that is not known here.

        Args:
            hooks: What is overridden here, or called, of its classes.

        Raises:
            SettingsInvalid: The version is too old, or has changed too much.
        """
        try:
            found = version(self.name)
        except PackageNotFoundError:  # somebody has put it into a bundle without its metadata
            found = ""
        numbers = tuple(map(int, re.findall(r"\d+", found)[: len(self.oldest)]))
        if found and numbers < self.oldest:
            raise SettingsInvalid(
                f"{self.name} {found} is too old for the claim check: it needs {self._oldest} or "
                f"newer. pip install 'letsgo-claimcheck[{self.extra}]' has it."
            )
        for owner, names in hooks.items():
            if lacking := [name for name in names if not hasattr(owner, name)]:
                raise SettingsInvalid(
                    f"{owner.__name__} of {self.name} {found} has no {', '.join(lacking)}. Upgrade "
                    f"letsgo-claimcheck, or use an older {self.name}."
                )

    @property
    def _oldest(self) -> str:
        return ".".join(map(str, self.oldest))


def check_given(given: object, wanted: type, what: str) -> None:
    """Refuse what the claim check is not for.

    Args:
        given: What it was.
        wanted: Its class.
        what: The same, in words.

    Raises:
        SettingsInvalid: It is something else.
    """
    if not isinstance(given, wanted):
        raise SettingsInvalid(f"the claim check is for {what}, and got {type(given).__name__}.")


def derive(ours: type, base: type, **fields: object) -> type[Any]:
    """A class of a client that has the claim check, in place of one that it had before.

    Args:
        ours: What it does differently.
        base: The client's class.
        fields: Attributes of the class.
    """
    base = without(ours, base)
    return type(base.__name__, (ours, base), fields)


def without(ours: type, kind: type) -> type[Any]:
    """The class that `derive` was given; any other is it already."""
    return kind.__bases__[1] if ours in kind.__bases__ else kind
