"""What is wrong with the sizes in a report: budgets that are exceeded, and limits that are near."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from claimcheck.audit.report import AuditReport, TypeReport


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A type whose largest message is over its budget.

    Attributes:
        report: What its messages weigh.
        pattern: The budget's key: the type, or a pattern.
        budget: Bytes.
    """

    report: TypeReport
    pattern: str
    budget: int


def over_budget(report: AuditReport) -> list[OverBudget]:
    """The types whose largest message is over their budget."""
    found = []
    for each in report.types:
        pattern = budget_key(each.type, report.settings.budgets)
        if pattern is not None and each.size.largest > report.settings.budgets[pattern]:
            found.append(OverBudget(each, pattern, report.settings.budgets[pattern]))
    return found


def near_limit(report: AuditReport) -> list[TypeReport]:
    """The types whose largest message is near the limit, or over it."""
    settings = report.settings
    return [each for each in report.types if each.size.largest >= settings.warn_at * settings.limit]


def unused_budgets(report: AuditReport) -> list[str]:
    """The budgets that no type has: of tests that did not run, or misspelt."""
    used = {budget_key(each.type, report.settings.budgets) for each in report.types}
    return [key for key in report.settings.budgets if key not in used]


def budget_key(message_type: str, budgets: Mapping[str, int]) -> str | None:
    """The budget of a type: that of its own name, else that of the first pattern it matches."""
    if message_type in budgets:
        return message_type
    return next((key for key in budgets if fnmatchcase(message_type, key)), None)
