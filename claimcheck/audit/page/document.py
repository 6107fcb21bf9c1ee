"""The page itself: its sections, its style and its script.

The page allows no other style or script: it names both by their hashes. So the name of a message
type is never more than text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC
from importlib.resources import files
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from claimcheck.audit.page.histograms import histograms
from claimcheck.audit.page.markup import element, name_element, raw_text
from claimcheck.audit.page.scatter import scatter
from claimcheck.audit.page.tables import costs_table, prices_table, types_table
from claimcheck.audit.report import ROUTES, AuditReport
from claimcheck.audit.text import advice_lines, limit_text, problem_lines, size_text
from letsgo_queue.text import counted

SHOWN_PROBLEMS = 8
"""How many problems are shown until a reader asks for the others."""


def page(
    report: AuditReport, *, back: tuple[str, str] | None = None, about: str | None = None
) -> str:
    """The page of a report, as HTML.

    Args:
        report: The report.
        back: The address and the name of a link above it; None for no link.
        about: A text that says where the messages are from; None for no text.
    """
    style, script = _asset("page.css"), _asset("sorting.js")
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element(
                "meta",
                http_equiv="Content-Security-Policy",
                content=policy(),
            ),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"Size audit, {_when(report)}"),
            raw_text("style", style),
        ),
        element(
            "body",
            *([] if back is None else [element("nav", element("a", back[1], href=back[0]))]),
            element("main", _header(report, about), *_sections(report)),
            raw_text("script", script),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{ET.tostring(document, encoding='unicode', method='html')}\n"


def policy() -> str:
    """Return the page's security policy: it allows its own style and script, by their hashes."""
    style, script = _hash(_asset("page.css")), _hash(_asset("sorting.js"))
    return f"default-src 'none'; style-src {style}; script-src {script}"


def _sections(report: AuditReport) -> Iterator[Element]:
    if report.types:
        yield element("section", element("h2", "What stands out"), *_problems(report))
        yield element("section", element("h2", "Sizes"), *_charts(report))
        yield element("section", element("h2", "Types"), types_table(report), *_type_notes())
    yield element("section", element("h2", "Cost"), *_costs(report))


def _header(report: AuditReport, about: str | None) -> Element:
    settings = report.settings
    sampled = f"a sample of {report.sample * 100:.3g} %"
    facts = (
        ("made", element("time", _when(report), datetime=report.created_at.isoformat())),
        ("weighed", "every message" if report.sample == 1 else sampled),
        ("limit", limit_text(settings.limit)),
        ("threshold", size_text(settings.threshold)),
    )
    return element(
        "header",
        element("h1", "Size audit"),
        element("p", *_summary(report), class_="summary"),
        *([] if about is None else [element("p", about)]),
        element(
            "dl",
            *(
                element("div", element("dt", name), element("dd", value), class_="fact")
                for name, value in facts
            ),
        ),
    )


def _summary(report: AuditReport) -> Iterator[Element | str]:
    if not report.types:
        yield "No messages were sent through letsgo_queue or claimcheck."
        return
    sent = sum(each.messages for each in report.types)
    not_sent = sum(each.not_sent for each in report.types)
    routes = [
        f"{sum(each.routes.get(route, 0) for each in report.types):,} {route}" for route in ROUTES
    ]
    largest = max(report.types, key=lambda each: each.size.largest)
    yield (
        f"{counted(sent, 'message')} of {counted(len(report.types), 'type')}: "
        f"{', '.join(routes)}; {not_sent:,} not sent. The largest message has "
        f"{size_text(largest.size.largest)} and is of type "
    )
    yield name_element(largest.type)
    yield "."


def _problems(report: AuditReport) -> Iterator[Element]:
    # Failures first, then warnings.
    lines = sorted(problem_lines(report), key=lambda line: line.tone != "failure")
    if not lines:
        yield element("p", "No type is near the limit, and none is over its budget.")
        return
    items = []
    for line in lines:
        kind, _, text = line.text.partition(": ")
        badge = element("span", kind, class_=f"badge {line.tone}")
        items.append(element("li", badge, " ", element("span", text), class_=line.tone))
    yield element("ul", *items[:SHOWN_PROBLEMS], class_="problems")
    if more := items[SHOWN_PROBLEMS:]:
        yield element(
            "details",
            element("summary", f"{len(more):,} more"),
            element("ul", *more, class_="problems"),
        )


def _charts(report: AuditReport) -> Iterator[Element]:
    if not any(each.size.buckets for each in report.types):
        yield element("p", "This report was saved without its histograms and samples.")
        return
    yield element(
        "figure",
        element(
            "figcaption",
            element("strong", "How large messages are. "),
            "Bytes of body and attributes as given, also of messages that were not sent. Each row "
            "has its own scale: its highest bar fills it.",
        ),
        histograms(report),
    )
    yield element(
        "figure",
        element(
            "figcaption",
            element("strong", "What goes on the queue. "),
            "Each point is a message from a sample of its type. On the dashed diagonal it travels "
            "as it was given; below the diagonal it is compressed or stored.",
        ),
        scatter(report),
    )


def _type_notes() -> Iterator[Element]:
    yield element(
        "p",
        "Sizes are bytes of body and attributes as given, median and p95 to within 1 %. Ratio: "
        "bytes as given over bytes carried or stored, for compressed and stored messages. On "
        "queue: the median of the sizes on the queue. $/million: US dollars for a million "
        "messages. With S3: the same if compressed and stored messages were in S3 instead, "
        "uncompressed.",
        class_="note",
    )


def _costs(report: AuditReport) -> Iterator[Element]:
    prices = report.settings.prices
    if (costs := costs_table(report)) is not None:
        yield costs
    elif report.types:
        yield element("p", "No message was compressed or stored, so S3 would change nothing.")
    if advice := list(advice_lines(report)):
        yield element("h3", "What would cost less")
        texts = [line.text.partition(": ")[2] for line in advice]
        yield element("ul", *(element("li", text) for text in texts), class_="problems advice")
    yield element("div", prices_table(prices), _assumptions(report), class_="model")


def _assumptions(report: AuditReport) -> Element:
    prices = report.settings.prices
    expire = report.settings.purge == "never"
    removed = "left to expire after 15 days, at no charge" if expire else "removed"
    texts = (
        "Each message is sent, received and deleted by itself, once. Batches cost less; retries "
        "and receives that find nothing cost more.",
        "DynamoDB bills on demand. The contents of a stored message are written, read, and "
        f"{removed}; its record is acquired and completed.",
        "With S3 contents are written and read once, uncompressed, as AWS's extended client has "
        "them; S3 does not bill deletes.",
        f"{'In S3 contents' if expire else 'Contents'} stay for {prices.stored_seconds:,.0f} "
        "seconds.",
        "There are no free tiers and no volume discounts.",
    )
    sources = element("ul", *(element("li", _source(each)) for each in prices.sources))
    return element(
        "div",
        element("h3", "Assumptions"),
        element("ul", *(element("li", text) for text in texts)),
        element("h3", "Sources of the prices"),
        sources,
        class_="assumptions",
    )


def _source(address: str) -> Element:
    if address.startswith(("https://", "http://")):
        return element("a", address, href=address, rel="noreferrer")
    return element("span", address)


def _when(report: AuditReport) -> str:
    return f"{report.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _asset(name: str) -> str:
    return files("claimcheck.audit.page").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
