"""`claimcheck audit`: prints, renders and compares saved reports, and weighs files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from claimcheck.audit.comparison import compare
from claimcheck.audit.files import LeftOut, json_files, weigh_files
from claimcheck.audit.page import page
from claimcheck.audit.report import AuditReport, write_text
from claimcheck.audit.settings import AuditSettings
from claimcheck.audit.text import (
    Line,
    Tone,
    change_lines,
    growth_lines,
    problem_lines,
    report_lines,
    text_for,
)
from claimcheck.settings import ClaimCheckSettings
from letsgo_queue.cli.terminal import print_line, progress_bar
from letsgo_queue.text import shown

_STYLES: dict[Tone, str] = {
    "plain": "",
    "heading": "bold",
    "dim": "dim",
    "warning": "yellow",
    "failure": "red",
}


def show_report(report: AuditReport, *, json: Path | None, html: Path | None) -> bool:
    """Print a report, and write it to files.

    Args:
        report: The report.
        json: Where to write it as JSON; None for nowhere.
        html: Where to write it as a page; None for nowhere.

    Returns:
        Whether every message type keeps its budget.

    Raises:
        AuditInvalid: A file cannot be written.
    """
    if json is not None:
        report.save(json)
    if html is not None:
        write_text(html, page(report))
    problems = list(problem_lines(report))
    _print([*report_lines(report), *problems])
    return not any(line.tone == "failure" for line in problems)


def show_comparison(before: AuditReport, after: AuditReport) -> bool:
    """Print the differences between two reports.

    Returns:
        Whether no message type has grown by more than the later report's `max_growth`.
    """
    changes = compare(before, after)
    max_growth = after.settings.max_growth
    grown = list(growth_lines(changes, max_growth))
    verdict = grown or [Line(f"nothing has grown by more than {max_growth:.0%}", "dim")]
    _print([*change_lines(changes, max_growth), *verdict])
    return not grown


def weigh_folder(folder: Path) -> tuple[AuditReport, Sequence[LeftOut]]:
    """Weigh the JSON files of a folder, with the settings of the current folder.

    Returns:
        The report, and the files that could not be weighed.

    Raises:
        AuditInvalid: There are no such files.
        SettingsInvalid: A setting cannot be used.
    """
    settings = AuditSettings.from_pyproject(Path("pyproject.toml"))
    paths = json_files(folder)
    with progress_bar() as bar:
        task = bar.add_task("weighing files", total=len(paths))
        report, left_out = weigh_files(
            folder,
            paths,
            settings=settings,
            claim_check=ClaimCheckSettings.from_environment(),
            advance=lambda: bar.advance(task),
        )
    _print(
        (Line(f"left out: {shown(each.path)}: {each.reason}", "failure") for each in left_out),
        stderr=True,
    )
    return report, left_out


def _print(lines: Iterable[Line], *, stderr: bool = False) -> None:
    stream = sys.stderr if stderr else sys.stdout
    for line in lines:
        print_line(text_for(line, stream.encoding), style=_STYLES[line.tone], stderr=stderr)
