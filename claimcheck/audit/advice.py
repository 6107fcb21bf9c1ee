"""Finds changes that lower the bill: another place for contents, another threshold or purge.

Each piece of advice compares two bills of one message type, both by the cost model. It is given
only if it saves enough to be worth a change of settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from claimcheck.audit.budgets import budget_key
from claimcheck.audit.report import AuditReport, TypeReport
from claimcheck.audit.settings import AuditSettings
from claimcheck.core.cost import TICKET_BYTES, Units, sqs_requests, units_of
from letsgo_queue.limits import SQS_UNIT_BYTES

Change: TypeAlias = Literal["bucket", "expiry", "threshold"]

A_MILLION = 1_000_000
"""How many messages the advice is about if nobody said how many are sent in a month."""

WORTH_SHARE = 0.05
WORTH_DOLLARS = 0.10
"""Advice saves at least this share of the bill, and at least this amount."""

HARDLY_COMPRESSED = 1.1
"""Up to this ratio a type does not compress: text in base64, or files that are compressed."""

USUAL_RATIO = 3.0
"""JSON usually compresses at least this far. It stands for the ratio of a type that was never
compressed. Base64 then adds a third to the size."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A change that lowers the bill of one message type.

    Attributes:
        type: The message type.
        change: `bucket`: keep contents in S3 (`?bucket=`). `expiry`: leave contents to expire
            (`purge="never"`). `threshold`: seal from 64 KB on if that pays
            (`CLAIMCHECK_THRESHOLD=auto`).
        messages: How many messages the dollars are for: the messages of a month, or a million.
        is_monthly: Whether they are the messages of a month.
        dollars: What they cost now.
        dollars_then: What they would cost.
        ratio: How far the type compresses; None if nobody knows.
    """

    type: str
    change: Change
    messages: int
    is_monthly: bool
    dollars: float
    dollars_then: float
    ratio: float | None

    @property
    def saved(self) -> float:
        """US dollars that it saves."""
        return self.dollars - self.dollars_then

    @property
    def compresses(self) -> bool:
        """Whether the type becomes smaller when it is compressed; true if nobody knows."""
        return self.ratio is None or self.ratio > HARDLY_COMPRESSED


def advise(report: AuditReport) -> list[Advice]:
    """Return the changes that are worth making for each type, the largest saving first."""
    advice = [
        each
        for of_type in report.types
        for each in _advice_for(of_type, report.settings)
        if each.saved >= max(WORTH_DOLLARS, WORTH_SHARE * each.dollars)
    ]
    return sorted(advice, key=lambda each: -each.saved)


def _advice_for(report: TypeReport, settings: AuditSettings) -> Iterator[Advice]:
    if not report.messages:
        return
    key = budget_key(report.type, settings.monthly)
    monthly = A_MILLION if key is None else settings.monthly[key]

    def bill(units: Units) -> float:
        return settings.prices.dollars(units) / report.messages * monthly

    def advice(change: Change, then: float) -> Advice:
        now = bill(report.units)
        return Advice(report.type, change, monthly, key is not None, now, then, report.ratio)

    if settings.place == "dynamodb" and report.routes.get("stored"):
        yield advice("bucket", bill(report.units_with_bucket))
        if settings.purge != "never":
            yield advice("expiry", bill(report.units_with_expiry))
    sampled = [point for point in report.points if point.route == "inline"]
    if sampled and settings.threshold > SQS_UNIT_BYTES:
        share = report.routes.get("inline", 0) / len(sampled) * monthly / report.messages
        saved = sum(_saved_by_sealing(point.size, report, settings) for point in sampled)
        yield advice("threshold", bill(report.units) - saved * share)


def _saved_by_sealing(size: int, report: TypeReport, settings: AuditSettings) -> float:
    """Return how many dollars one inline message would save if it were compressed."""
    ratio = report.ratio or USUAL_RATIO
    # The ratio of stored messages leaves base64 out, so this adds it for all.
    sealed = TICKET_BYTES + int(size / ratio * 4 / 3)
    if sqs_requests(sealed) >= sqs_requests(size):
        return 0.0
    fifo = report.units.sqs_fifo_requests > 0
    now, then = (settings.prices.dollars(units_of(each, fifo=fifo)) for each in (size, sealed))
    return now - then
