"""Finds the types in a report that are over their budget, or near the limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from claimcheck.audit.report import AuditReport, TypeReport


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A type whose largest message is over its budget.

    Attributes:
        report: The report of the type.
        pattern: The key of the budget: the type, or a pattern.
        budget: Bytes that a message may have.
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
    """The budgets that no type has: their tests did not run, or they are misspelt."""
    used = {budget_key(each.type, report.settings.budgets) for each in report.types}
    return [key for key in report.settings.budgets if key not in used]


def budget_key(message_type: str, budgets: Mapping[str, int]) -> str | None:
    """The key of a type's budget: its own name, else the first pattern that it matches."""
    if message_type in budgets:
        return message_type
    return next((key for key in budgets if fnmatchcase(message_type, key)), None)
