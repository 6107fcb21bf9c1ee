"""For every `install`: checks the object that it was given, and derives a class for it."""

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
        """The error for an import that failed: says what to install."""
        return SettingsInvalid(
            f"the claim check for {self.extra} needs {self.name} {self._oldest} or newer "
            f"({error.msg}): pip install 'letsgo-claimcheck[{self.extra}]'"
        )

    def check(self, hooks: Mapping[type, Sequence[str]]) -> None:
        """Refuse a version that is not known here.

        Args:
            hooks: The methods of its classes that the integration overrides or calls.

        Raises:
            SettingsInvalid: The version is too old, or has changed too much.
        """
        try:
            found = version(self.name)
        except PackageNotFoundError:  # it is in a bundle without its metadata
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
    """Refuse an object of a class that the claim check is not for.

    Args:
        given: The object.
        wanted: The class.
        what: The class in words.

    Raises:
        SettingsInvalid: It is something else.
    """
    if not isinstance(given, wanted):
        raise SettingsInvalid(f"the claim check is for {what}, and got {type(given).__name__}.")


def derive(ours: type, base: type, **fields: object) -> type[Any]:
    """Make a class with the claim check for a client, in place of an earlier one.

    Args:
        ours: Overrides the methods of the client's class.
        base: The client's class.
        fields: Attributes of the new class.
    """
    base = without(ours, base)
    return type(base.__name__, (ours, base), fields)


def without(ours: type, kind: type) -> type[Any]:
    """The class before `derive`; a class that was not derived is returned as it is."""
    return kind.__bases__[1] if ours in kind.__bases__ else kind
