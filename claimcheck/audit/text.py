"""A report as text, for a terminal: tables of plain lines, each with a tone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from claimcheck.audit.advice import Advice, advise
from claimcheck.audit.budgets import OverBudget, near_limit, over_budget, unused_budgets
from claimcheck.audit.comparison import Change
from claimcheck.audit.report import ROUTES, AuditReport, TypeReport
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.text import counted, shown

Tone: TypeAlias = Literal["plain", "heading", "dim", "warning", "failure"]

BAR_CELLS = 8
MAX_TYPE_CHARACTERS = 32

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_ASCII = str.maketrans(f"{_EIGHTHS[1:]}·…", "---=====.~")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text.

    Attributes:
        text: Printable characters.
        tone: Its meaning, which a terminal may show as a colour.
    """

    text: str
    tone: Tone = "plain"


_HEADINGS = (
    "type",
    "messages",
    "median",
    "p95",
    "largest",
    "of limit".ljust(BAR_CELLS + 8),
    "inline",
    "compressed",
    "stored",
    "not sent",
    "ratio",
    "on queue",
    "$/million",
    "with S3",
)


def report_lines(report: AuditReport) -> Iterator[Line]:
    """The table of a report, the largest messages, and advice on how to lower the bill."""
    if not report.types:
        yield Line(_nothing_text(report))
        return
    types = sorted(report.types, key=lambda each: -each.size.largest)
    over = {each.report.type for each in over_budget(report)}
    near = {each.type for each in near_limit(report)}
    tones: list[Tone] = [
        "failure" if each.type in over else "warning" if each.type in near else "plain"
        for each in types
    ]
    yield from _table(_HEADINGS, [_cells(each, report.settings.limit) for each in types], tones)
    yield Line("")
    largest = [
        (_name(each.type), size_text(each.size.largest), shown(each.largest_in or "unknown"))
        for each in types
    ]
    yield from _table(("largest of its type", "size", "sent by".ljust(40)), largest)
    yield Line("")
    yield from _footnotes(report)
    yield from advice_lines(report)


def problem_lines(report: AuditReport) -> Iterator[Line]:
    """The types that are near the limit or over budget; no lines if there are none."""
    limit = report.settings.limit
    for each in near_limit(report):
        where = "over" if each.size.largest > limit else "near"
        yield Line(
            f"{where} the limit: {_name(each.type)}: its largest message, {_where(each)}, has "
            f"{size_text(each.size.largest)}, {each.size.largest / limit:,.0%} of "
            f"{size_text(limit)}{_how_it_went(each)}",
            "warning",
        )
    for excess in over_budget(report):
        yield Line(_over_budget_text(excess), "failure")
    for key in unused_budgets(report):
        yield Line(f"the budget of {shown(key)!r} matches no message type that was sent", "dim")


def advice_lines(report: AuditReport) -> Iterator[Line]:
    """The changes that lower the bill, in dollars; no lines if none saves much."""
    for each in advise(report):
        yield Line(f"cheaper: {_advice_text(each)}")


def change_lines(changes: Sequence[Change], max_growth: float) -> Iterator[Line]:
    """The table of a comparison."""
    rows = [_change_cells(change) for change in changes]
    tones: list[Tone] = ["failure" if change.is_over(max_growth) else "plain" for change in changes]
    headings = ("type", "median", "now", "", "largest", "now", "")
    yield from _table(headings, rows, tones)


def growth_lines(changes: Sequence[Change], max_growth: float) -> Iterator[Line]:
    """The types that have grown by more than they may; no lines if there are none."""
    for change in changes:
        if change.is_over(max_growth) and change.before and change.after:
            before, after = change.before.size, change.after.size
            if change.largest_growth > max_growth:
                what, sizes = "largest message", (before.largest, after.largest)
            else:
                what, sizes = "median", (before.median, after.median)
            yield Line(
                f"grown: {_name(change.type)}: its {what} from {size_text(sizes[0])} to "
                f"{size_text(sizes[1])}, by more than {max_growth:.0%}; the largest was sent "
                f"{_where(change.after)}",
                "failure",
            )


def size_text(size: int) -> str:
    """Bytes for people, in powers of ten: `1.2 MB`."""
    value = float(size)
    for unit in ("B", "KB", "MB"):
        if value < 999.95:  # noqa: PLR2004  1,000.0 once rounded, which has the next unit
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def limit_text(limit: int) -> str:
    """The limit as text. For the default it adds that every queue accepts it."""
    every = f" ({limit:,} bytes, which every queue accepts)" if limit == ANY_QUEUE_BYTES else ""
    return f"{size_text(limit)}{every}"


def text_for(line: Line, encoding: str | None) -> str:
    """The text of a line. For a terminal without Unicode, signs such as bars become ASCII."""
    unicode = (encoding or "").lower().startswith("utf")
    return line.text if unicode else line.text.translate(_ASCII)


def _cells(report: TypeReport, limit: int) -> tuple[str, ...]:
    routes = report.routes
    return (
        _name(report.type),
        f"{report.messages:,}",
        size_text(report.size.median),
        size_text(report.size.p95),
        size_text(report.size.largest),
        f"{_bar(report.size.largest / limit)} {report.size.largest / limit:>7,.0%}",
        *(f"{routes.get(route, 0):,}" for route in ROUTES),
        f"{report.not_sent:,}",
        "" if report.ratio is None else f"{report.ratio:.1f}",
        "" if report.sent_size is None else size_text(report.sent_size.median),
        _dollars(report.cost_per_million),
        "" if report.ratio is None else _dollars(report.s3_cost_per_million),
    )


def _dollars(amount: float | None) -> str:
    return "" if amount is None else f"{amount:,.2f}"


def _change_cells(change: Change) -> tuple[str, ...]:
    before, after = change.before, change.after
    return (
        _name(change.type),
        size_text(before.size.median) if before else "",
        size_text(after.size.median) if after else "",
        _percent(before.size.median, after.size.median) if before and after else "",
        size_text(before.size.largest) if before else "",
        size_text(after.size.largest) if after else "",
        _percent(before.size.largest, after.size.largest)
        if before and after
        else ("gone" if before else "new"),
    )


def _percent(before: int, after: int) -> str:
    return "" if before in {0, after} else f"{after / before - 1:+.1%}"


def _footnotes(report: AuditReport) -> Iterator[Line]:
    settings, prices = report.settings, report.settings.prices
    sampled = "" if report.sample == 1 else f", a sample of {report.sample:.2%} of them"
    yield Line(
        f"size: body and attributes as given{sampled}; limit {limit_text(settings.limit)}; "
        "median and p95 to within 1 %; ratio: bytes as given over bytes carried or stored",
        "dim",
    )
    yield Line(
        f"$/million: US dollars for a million messages, {shown(prices.region)}, prices of "
        f"{prices.as_of}, each sent, received and deleted by itself; with S3: large messages in "
        "S3, uncompressed",
        "dim",
    )


def _over_budget_text(excess: OverBudget) -> str:
    report = excess.report
    by = "" if excess.pattern == report.type else f" of {shown(excess.pattern)!r}"
    return (
        f"over budget: {_name(report.type)}: its largest message, {_where(report)}, has "
        f"{size_text(report.size.largest)} ({report.size.largest:,} bytes); the budget{by} is "
        f"{size_text(excess.budget)} ({excess.budget:,} bytes)"
    )


_CHANGES = {
    "bucket": "with `?bucket=`",
    "expiry": 'with purge="never", which DynamoDB bills half,',
    "threshold": "with CLAIMCHECK_THRESHOLD=auto, which seals from 64 KB on where that pays,",
}


def _advice_text(advice: Advice) -> str:
    change = _CHANGES[advice.change]
    if advice.change == "bucket" and not advice.compresses:
        change = f"does not compress; stored in S3 {change}"
    guess = " if they compress to a third" if advice.ratio is None else ""
    month = " a month" if advice.is_monthly else ""
    return (
        f"{_name(advice.type)}: {change} {_count(advice.messages)} messages{month} cost "
        f"${_amount(advice.dollars_then)} instead of ${_amount(advice.dollars)}{guess}"
    )


def _count(messages: int) -> str:
    """A number for people: `5.2 million`, `10,000`."""
    million = 1_000_000
    return f"{messages:,}" if messages < million else f"{messages / million:,.4g} million"


def _amount(dollars: float) -> str:
    """Write dollars, with cents only below ten dollars."""
    return f"{dollars:,.2f}" if dollars < 10 else f"{dollars:,.0f}"  # noqa: PLR2004


def _where(report: TypeReport) -> str:
    return f"in {shown(report.largest_in)}" if report.largest_in else "from an unknown place"


def _nothing_text(report: AuditReport) -> str:
    if report.settings.tests:
        named = ", ".join(map(shown, report.settings.tests))
        return f"no messages were weighed: no test that `tests` names sent one ({named})"
    return "no messages were weighed: none was sent through letsgo_queue or claimcheck"


def _how_it_went(report: TypeReport) -> str:
    if report.not_sent:
        return f"; {counted(report.not_sent, 'message')} of this type not sent"
    sealed = [route for route in ("compressed", "stored") if route in report.routes]
    return f"; the claim check sends it {' or '.join(sealed)}" if sealed else ""


def _name(message_type: str) -> str:
    return shown(message_type, MAX_TYPE_CHARACTERS)


def _bar(share: float) -> str:
    """A bar of `BAR_CELLS` characters, full from the limit on."""
    eighths = min(round(share * BAR_CELLS * 8), BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(BAR_CELLS, "·")


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], tones: Sequence[Tone] = ()
) -> Iterator[Line]:
    """Columns as wide as their widest cell: text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        # The first column is text, and so is a column whose heading is padded.
        aligned = [
            cell.ljust(width) if at == 0 or headings[at].endswith(" ") else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    yield Line(line(headings), "heading")
    for at, row in enumerate(rows):
        yield Line(line(row), tones[at] if tones else "plain")
