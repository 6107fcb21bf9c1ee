"""Checks the settings: as a sender and a worker read them, and for names that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from claimcheck.doctor.findings import Finding, failure, passed, warning
from claimcheck.errors import SettingsInvalid
from claimcheck.settings import PREFIX, ClaimCheckSettings, check_settings_for
from letsgo_queue import settings as queue_settings
from letsgo_queue.misspelt import misspelt
from letsgo_queue.worker.schedule import schedule_in_environment


def check_settings(queue: str, settings: ClaimCheckSettings) -> Iterator[Finding]:
    """Look for settings that a sender or a worker refuses, and for variables that are no settings.

    Args:
        queue: The queue's URL; empty if it is not known.
        settings: The settings of the claim check.
    """
    refusals = list(_refusals(queue, settings))
    for refusal in refusals:
        yield failure("settings", refusal)
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
    if not refusals and not found:
        yield passed("settings", "all can be used, and none is misspelt")


def _refusals(queue: str, settings: ClaimCheckSettings) -> Iterator[str]:
    for read in (
        partial(check_settings_for, queue, settings),
        queue_settings.dead_letter_errors_in,
        schedule_in_environment,
    ):
        try:
            read()
        except SettingsInvalid as error:
            yield str(error)
