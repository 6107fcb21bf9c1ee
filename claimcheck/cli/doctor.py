"""`claimcheck doctor`: prints the findings of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from claimcheck.doctor import Finding, Level
from letsgo_queue.cli.terminal import print_json, print_line
from letsgo_queue.text import counted

_MARKS = {Level.PASS: "✓", Level.WARN: "!", Level.FAIL: "✗"}
_STYLES = {Level.PASS: "", Level.WARN: "yellow", Level.FAIL: "red"}


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> bool:
    """Print findings: a line for each, and below it how to mend it; or one JSON document.

    Returns:
        Whether nothing failed.
    """
    numbers = {level: sum(each.level is level for each in findings) for level in Level}
    if as_json:
        document = {"findings": [asdict(each) for each in findings]}
        print_json(document | {level.value: number for level, number in numbers.items()})
        return not numbers[Level.FAIL]
    for each in findings:
        print_line(f"{_MARKS[each.level]} {each.name}: {each.detail}", style=_STYLES[each.level])
        if each.advice:
            print_line(f"    {each.advice}")
        if each.command:
            print_line(f"    $ {each.command}")
    failed, warned = numbers[Level.FAIL], numbers[Level.WARN]
    print_line(f"{counted(failed, 'failure')}, {counted(warned, 'warning')}")
    return not failed
