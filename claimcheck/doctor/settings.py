"""Checks the settings: as a sender and a worker read them, and for names that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator

from claimcheck.doctor.findings import Finding, passed, warning
from claimcheck.settings import PREFIX, ClaimCheckSettings
from letsgo_queue import settings as queue_settings
from letsgo_queue.misspelt import misspelt


def check_settings() -> Iterator[Finding]:
    """Look for variables of the environment that look like settings and are none."""
    found = [
        *misspelt(queue_settings.PREFIX, queue_settings.VARIABLES, shared=True),
        *misspelt(PREFIX, ClaimCheckSettings.variables()),
    ]
    for each in found:
        yield warning(
            "settings",
            f"{each.name} is no setting, and is ignored",
            advice=f"did you mean {each.meant}?" if each.meant else "",
            command=f"unset {each.name}",
        )
    if not found:
        yield passed("settings", "no variable is misspelt")
