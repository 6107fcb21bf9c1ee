"""Writes durations and commands for people."""

from __future__ import annotations

import shlex

from letsgo_queue.text import counted

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def in_words(seconds: float) -> str:
    """Write a duration in the largest unit that needs no fraction: `4 days`, `90 s`."""
    for unit, size in _UNITS:
        if seconds >= size and seconds % size == 0:
            return counted(int(seconds // size), unit)
    return f"{seconds:g} s"


def aws_command(service: str, operation: str, region: str, **options: str) -> str:
    """Return a command of AWS's own command line.

    Args:
        service: `sqs`.
        operation: `set-queue-attributes`.
        region: The region that it goes to.
        options: Its options, with `_` in their names; an option with an empty value is a switch.
    """
    words = ["aws", service, operation]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([value] if value else [])]
    return shlex.join([*words, "--region", region])
