"""The tables of the page. `sorting.js` sorts them by the values that their cells have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from xml.etree.ElementTree import Element

from claimcheck.audit.budgets import near_limit, over_budget
from claimcheck.audit.page.markup import element, name_element, percent
from claimcheck.audit.report import ROUTES, AuditReport, TypeReport
from claimcheck.audit.text import size_text
from claimcheck.core.prices import Prices
from letsgo_queue.text import printable

Order: TypeAlias = Literal["ascending", "descending"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        heading: Its name.
        is_text: Whether it has text, not numbers.
        order: The order of the table at first, if it is sorted by this column.
    """

    heading: str
    is_text: bool = False
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        content: Elements and text.
        value: The table sorts cells by this value; None comes last in both orders.
    """

    content: tuple[Element | str, ...] = ()
    value: str | float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row; its first cell is its heading.

    Attributes:
        cells: One for each column.
        tone: Its class in the style sheet.
    """

    cells: tuple[Cell, ...]
    tone: str = "plain"


def types_table(report: AuditReport) -> Element:
    """A row for each type, the type with the largest message first."""
    over = {each.report.type for each in over_budget(report)}
    near = {each.type for each in near_limit(report)}
    limit = report.settings.limit
    columns = (
        Column("type", is_text=True),
        Column("messages"),
        Column("median"),
        Column("p95"),
        Column("largest", order="descending"),
        Column("of limit"),
        *(Column(route) for route in ROUTES),
        Column("not sent"),
        Column("ratio"),
        Column("on queue"),
        Column("$/million"),
        Column("with S3"),
    )
    rows = []
    for each in sorted(report.types, key=lambda each: -each.size.largest):
        tone = "failure" if each.type in over else "warning" if each.type in near else "plain"
        cells = (
            _type_cell(each, tone, limit),
            *_number_cells(each, limit),
        )
        rows.append(Row(cells, tone))
    return _sortable("One row for each message type; press a heading to sort", columns, rows)


def costs_table(report: AuditReport) -> Element | None:
    """Compare the claim check's costs with those of S3; None if every message went inline."""
    sealed = [each for each in report.types if each.ratio is not None]
    if not sealed:
        return None
    most = max(max(each.cost_per_million or 0, each.s3_cost_per_million or 0) for each in sealed)
    columns = (
        Column("type", is_text=True),
        Column("compressed or stored"),
        Column("$/million", order="descending"),
        Column("with S3"),
        Column("difference"),
    )
    rows = []
    for each in sorted(sealed, key=lambda each: -(each.cost_per_million or 0)):
        ours, theirs = each.cost_per_million or 0, each.s3_cost_per_million or 0
        share = 1 - each.routes.get("inline", 0) / max(each.messages, 1)
        rows.append(
            Row(
                (
                    Cell((name_element(each.type),), each.type),
                    Cell((f"{share:.1%}",), share),
                    Cell(_metered("dollars", ours / most if most else 0, _dollars(ours)), ours),
                    Cell(
                        _metered("dollars", theirs / most if most else 0, _dollars(theirs)), theirs
                    ),
                    Cell((f"{ours - theirs:+,.2f}".replace("-", "\N{MINUS SIGN}"),), ours - theirs),
                )
            )
        )
    return _sortable("US dollars for a million messages", columns, rows)


def prices_table(prices: Prices) -> Element:
    """The prices behind the estimates."""
    rows = (
        ("SQS, standard queue", prices.sqs_request, "a million requests of 64 KB"),
        ("SQS, FIFO queue", prices.sqs_fifo_request, "a million requests of 64 KB"),
        ("DynamoDB, writing", prices.dynamodb_write, "a million write units of 1 KB"),
        ("DynamoDB, reading", prices.dynamodb_read, "a million read units of 4 KB"),
        ("DynamoDB, storage", prices.dynamodb_gb_month, "a GB for 30 days"),
        ("S3 Standard, writing", prices.s3_put, "a million PUT requests"),
        ("S3 Standard, reading", prices.s3_get, "a million GET requests"),
        ("S3 Standard, storage", prices.s3_gb_month, "a GB for 30 days"),
        ("KMS", prices.kms_request, "a million requests"),
        ("data transfer", prices.transfer_gb, "a GB to or from the services"),
    )
    body = element("tbody")
    for what, price, unit in rows:
        body.append(
            element(
                "tr",
                element("th", what, scope="row"),
                element("td", f"{price:,.3f}", class_="number"),
                element("td", unit),
            )
        )
    head = element(
        "tr",
        element("th", "service", scope="col"),
        element("th", "$", scope="col", class_="number"),
        element("th", "for", scope="col"),
    )
    caption = f"Prices in {prices.region}, as of {prices.as_of}"
    return _scrolling(
        caption,
        element("table", element("caption", caption), element("thead", head), body),
    )


def _type_cell(report: TypeReport, tone: str, limit: int) -> Cell:
    content: list[Element | str] = [name_element(report.type)]
    if tone != "plain":
        where = "over" if report.size.largest > limit else "near"
        badge = "over budget" if tone == "failure" else f"{where} the limit"
        content += [" ", element("span", badge, class_=f"badge {tone}")]
    if report.largest_in:
        content.append(element("span", name_element(report.largest_in), class_="source"))
    return Cell(tuple(content), report.type)


def _number_cells(report: TypeReport, limit: int) -> Iterator[Cell]:
    size, share = report.size, report.size.largest / limit
    yield _count(report.messages)
    yield _size(size.median)
    yield _size(size.p95)
    yield _size(size.largest)
    yield Cell(_metered("of-limit", min(share, 1), f"{share:,.0%}"), share)
    for route in ROUTES:
        yield _count(report.routes.get(route, 0))
    yield _count(report.not_sent)
    yield Cell() if report.ratio is None else Cell((f"{report.ratio:.1f}",), report.ratio)
    yield Cell() if report.sent_size is None else _size(report.sent_size.median)
    yield _cost(report.cost_per_million)
    yield _cost(None if report.ratio is None else report.s3_cost_per_million)


def _count(count: int) -> Cell:
    text = f"{count:,}"
    return Cell((text if count else element("span", text, class_="none"),), count)


def _size(size: int) -> Cell:
    return Cell((size_text(size),), size)


def _cost(dollars: float | None) -> Cell:
    return Cell() if dollars is None else Cell((_dollars(dollars),), dollars)


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}"


def _metered(kind: str, share: float, text: str) -> tuple[Element, Element]:
    """A number, and a bar that shows it."""
    bar = element(
        "svg",
        element("rect", class_="track", width="100%", height="100%", rx=2),
        element("rect", class_="fill", width=percent(share), height="100%", rx=2),
        class_=f"meter {kind}",
        aria_hidden="true",
    )
    return bar, element("span", text, class_=f"metered {kind}")


def _sortable(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> Element:
    head = element("tr")
    for column in columns:
        heading = element(
            "th",
            element("button", column.heading, type="button"),
            scope="col",
            class_="text" if column.is_text else "number",
            data_kind="text" if column.is_text else "number",
        )
        if column.order is not None:
            heading.set("aria-sort", column.order)
        head.append(heading)
    body = element("tbody")
    for row in rows:
        line = element("tr", class_=row.tone)
        for at, (cell, column) in enumerate(zip(row.cells, columns, strict=True)):
            kind = "text" if column.is_text else "number"
            made = (
                element("td", *cell.content, class_=kind)
                if at
                else element("th", *cell.content, class_=kind, scope="row")
            )
            if cell.value is not None:
                made.set("data-value", printable(str(cell.value)))
            line.append(made)
        body.append(line)
    return _scrolling(
        caption,
        element(
            "table",
            element("caption", element("span", caption)),
            element("thead", head),
            body,
            class_="sortable",
        ),
    )


def _scrolling(label: str, table: Element) -> Element:
    # It can have the focus, so that a keyboard scrolls it.
    return element("div", table, class_="scrolling", role="region", aria_label=label, tabindex=0)
