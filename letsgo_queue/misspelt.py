"""Finds environment variables that look like settings and are none: a misspelt setting is ignored.

LetsGo and its applications have `LETSGO_` variables of their own, so such a variable is misspelt
only if it is very much like one of ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from letsgo_queue.log import get_logger

logger = get_logger(__name__)

_ALIKE = 0.6
_VERY_MUCH_ALIKE = 0.85
_OF_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_.+)?)")
"""Kubernetes gives every container such variables of each service, and names them after it:
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""


@dataclass(frozen=True, slots=True)
class Misspelt:
    """A variable that is no setting.

    Attributes:
        name: Its name.
        meant: The setting that it is most like; None if it is like none.
    """

    name: str
    meant: str | None

    def __str__(self) -> str:
        """Write it for people."""
        said = f"{self.name} is no setting, and is ignored"
        return said if self.meant is None else f"{said}: did you mean {self.meant}?"


def misspelt(
    prefix: str,
    known: Collection[str],
    *,
    shared: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Sequence[Misspelt]:
    """Find the variables with a prefix that are no settings.

    Args:
        prefix: `CLAIMCHECK_`.
        known: The settings that begin so.
        shared: Whether others have variables that begin so: then only misspelt settings count.
        environ: The environment.
    """
    unknown = [
        name
        for name in environ
        if name.startswith(prefix) and name not in known and not _OF_KUBERNETES.fullmatch(name)
    ]
    if not unknown:
        return []
    import difflib  # most processes do not need it

    found = []
    ends = [name.removeprefix(prefix) for name in known]
    cutoff = _VERY_MUCH_ALIKE if shared else _ALIKE
    for name in sorted(unknown):
        like = difflib.get_close_matches(name.removeprefix(prefix), ends, n=1, cutoff=cutoff)
        if like or not shared:
            found.append(Misspelt(name, prefix + like[0] if like else None))
    return found


@cache  # once in a process
def warn_of_misspelt(prefix: str, known: tuple[str, ...], *, shared: bool = False) -> None:
    """Log the variables that are no settings; see `misspelt`."""
    for each in misspelt(prefix, known, shared=shared):
        logger.warning("%s", each)
