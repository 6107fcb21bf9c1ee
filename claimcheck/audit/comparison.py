"""Compares two reports, to find the message types that have grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claimcheck.audit.report import AuditReport, TypeReport


@dataclass(frozen=True, slots=True)
class Change:
    """One message type in two reports.

    Attributes:
        type: The message type.
        before: The earlier report; None if the type is new.
        after: The later report; None if the type is gone.
    """

    type: str
    before: TypeReport | None
    after: TypeReport | None

    @property
    def growth(self) -> float:
        """The share by which the median or the largest has grown, whichever grew more."""
        return max(self.median_growth, self.largest_growth)

    @property
    def median_growth(self) -> float:
        """The share by which the median has grown; 0 if there are more or fewer messages.

        Other tests send other messages: their median may grow while no message has grown.
        """
        if self.before is None or self.after is None or _count(self.before) != _count(self.after):
            return 0.0
        return _share(self.before.size.median, self.after.size.median)

    @property
    def largest_growth(self) -> float:
        """The share by which the largest has grown."""
        if self.before is None or self.after is None:
            return 0.0
        return _share(self.before.size.largest, self.after.size.largest)

    def is_over(self, max_growth: float) -> bool:
        """Whether it has grown by more than a share."""
        return self.growth > max_growth


def compare(before: AuditReport, after: AuditReport) -> Sequence[Change]:
    """The types of both reports, by name."""
    old = {each.type: each for each in before.types}
    new = {each.type: each for each in after.types}
    return [Change(name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]


def _count(report: TypeReport) -> int:
    return report.messages + report.not_sent


def _share(before: int, after: int) -> float:
    return after / before - 1 if before else 0.0
