"""The page in a browser, and what can be seen of it without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    ViewportSize,
)

from claimcheck.audit import AuditReport, AuditSettings, Prices
from claimcheck.audit.page import page
from letsgo_queue.text import printable
from tests.claimcheck.audit.reports import HOSTILE_NAMES, report_of
from tests.claimcheck.audit.sample_report import sample_report
from tests.support.browser import (
    DESKTOP,
    PHONE,
    Scheme,
)
from tests.support.contrast import MIN_CONTRAST, TEXTS_WITH_COLORS, color, contrast

MIN_TARGET = 44
"""Pixels; WCAG 2.2, 2.5.5."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    return sample_report(tmp_path_factory.mktemp("sample"))


Open = Callable[..., Page]


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """One for all tests: a new one takes a second of Chromium."""
    tab = browser.new_page()
    tab.set_default_timeout(30_000)
    yield tab
    tab.close()


@pytest.fixture
def open_page(tab: Page, tmp_path: Path) -> Iterator[Open]:
    """Opens a report's page; at the end, nothing must have been complained of, or loaded."""
    complaints: list[str] = []
    requests: list[str] = []
    file = tmp_path / "audit.html"

    def on_console(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    def on_error(error: Error) -> None:
        complaints.append(str(error))

    def on_request(request: Request) -> None:
        requests.append(request.url)

    def open_report(
        report: AuditReport, viewport: ViewportSize = DESKTOP, scheme: Scheme = "light"
    ) -> Page:
        file.write_text(page(report), encoding="utf-8")
        tab.set_viewport_size(viewport)
        tab.emulate_media(color_scheme=scheme)
        tab.goto(file.as_uri())
        return tab

    tab.on("console", on_console)
    tab.on("pageerror", on_error)
    tab.on("request", on_request)
    yield open_report
    tab.remove_listener("console", on_console)
    tab.remove_listener("pageerror", on_error)
    tab.remove_listener("request", on_request)
    assert complaints == []
    assert set(requests) == {file.as_uri()}


def column(table: Locator, heading: str) -> list[str]:
    """The cells of a column, from the top."""
    headings = table.locator("thead th").all_inner_texts()
    at = [each.replace("\n", " ").strip() for each in headings].index(heading)
    return [
        row.locator("th, td").nth(at).inner_text().split("\n")[0].strip()
        for row in table.locator("tbody tr").all()
    ]


def orders(table: Locator) -> dict[str, str]:
    """Which headings say that the table is sorted by them, and how."""
    return {
        each.inner_text().replace("\n", " ").strip(): each.get_attribute("aria-sort") or ""
        for each in table.locator("th[aria-sort]").all()
    }


def types_table(tab: Page) -> Locator:
    return tab.locator("table.sortable").first


def press(table: Locator, heading: str) -> None:
    table.get_by_role("button", name=heading, exact=True).click()


def test_a_text_column_sorts_both_ways(open_page: Open, sample: AuditReport) -> None:
    table = types_table(open_page(sample))
    names = sorted(each.type for each in sample.types)

    press(table, "type")
    assert [each.split(" ")[0] for each in column(table, "type")] == names
    assert orders(table) == {"type": "ascending"}

    press(table, "type")
    assert [each.split(" ")[0] for each in column(table, "type")] == names[::-1]
    assert orders(table) == {"type": "descending"}


def test_a_number_column_sorts_both_ways(open_page: Open, sample: AuditReport) -> None:
    table = types_table(open_page(sample))
    assert orders(table) == {"largest": "descending"}

    press(table, "median")
    medians = [each.size.median for each in sample.types]
    by_size = [each.type for each in sorted(sample.types, key=lambda e: -e.size.median)]
    assert len(set(medians)) == len(medians)
    assert [each.split(" ")[0] for each in column(table, "type")] == by_size
    assert orders(table) == {"median": "descending"}

    press(table, "median")
    assert [each.split(" ")[0] for each in column(table, "type")] == by_size[::-1]
    assert orders(table) == {"median": "ascending"}


def test_cells_without_a_value_come_last_either_way(open_page: Open, sample: AuditReport) -> None:
    table = types_table(open_page(sample))
    press(table, "largest")  # those without are the smallest, and come first now

    press(table, "with S3")
    shown = column(table, "with S3")
    assert shown[-2:] == ["", ""]
    assert [float(each) for each in shown[:-2]] == sorted(map(float, shown[:-2]), reverse=True)

    press(table, "with S3")
    shown = column(table, "with S3")
    assert shown[-2:] == ["", ""]
    assert [float(each) for each in shown[:-2]] == sorted(map(float, shown[:-2]))


def test_the_keyboard_sorts(open_page: Open, sample: AuditReport) -> None:
    tab = open_page(sample)
    table = types_table(tab)
    tab.locator(".scrolling").first.focus()

    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert orders(table) == {"type": "ascending"}

    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    assert orders(table) == {"messages": "descending"}
    counts = [int(each.replace(",", "")) for each in column(table, "messages")]
    assert counts == sorted(counts, reverse=True)


def test_each_table_sorts_alone(open_page: Open, sample: AuditReport) -> None:
    tab = open_page(sample)
    types, costs = tab.locator("table.sortable").all()

    press(costs, "difference")
    press(costs, "difference")
    shown = [float(each.replace("\N{MINUS SIGN}", "-")) for each in column(costs, "difference")]
    assert shown == sorted(shown)
    assert shown[0] < 0 < shown[-1]
    assert orders(costs) == {"difference": "ascending"}
    assert orders(types) == {"largest": "descending"}


def test_what_the_page_says(open_page: Open, sample: AuditReport) -> None:
    tab = open_page(sample)
    text = tab.locator("body").inner_text()

    assert "1,335 messages of 6 types" in text
    assert "2026-11-24 09:30 UTC" in text
    assert "every message" in text
    for each in sample.types:
        assert each.largest_in
        assert each.largest_in in text
        assert f"Sizes of {each.type}" in tab.locator("title").all_text_contents()
    assert "Prices in us-west-2, as of 2026-08-15" in text
    assert "https://aws.amazon.com/sqs/pricing/" in text
    (cheapest, *_) = tab.locator(".advice li").all_inner_texts()
    assert cheapest.startswith("report:export: with `?bucket=` 1 million messages cost $")
    problems = tab.locator(".problems:not(.advice) li").all_inner_texts()
    assert [each.split(" order:new")[0] for each in problems[:1]] == ["over budget"]
    assert len([each for each in problems if each.startswith("over the limit")]) == 4


def test_zero_messages(open_page: Open) -> None:
    for viewport in DESKTOP, PHONE:
        tab = open_page(report_of({}), viewport)
        text = tab.locator("body").inner_text()
        assert "No messages were sent through letsgo_queue or claimcheck." in text
        assert "262.1 KB" in text
        assert "Prices in us-west-2" in text
        assert tab.locator("svg, table.sortable").count() == 0
        assert scroll_width(tab) <= viewport["width"]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_names_are_text(open_page: Open, viewport: ViewportSize) -> None:
    report = report_of(
        {name: [900_000 + len(name), 700] for name in HOSTILE_NAMES},
        AuditSettings(budgets={"*": 1000}),
        route="stored",
        sent_size=300,
        test=f"{HOSTILE_NAMES[0]}::{'y' * 300}",
    )
    tab = open_page(report, viewport)

    assert tab.title().startswith("Size audit, ")
    assert tab.locator("img, b, main script").count() == 0
    assert scroll_width(tab) <= viewport["width"]
    assert tab.locator("[onerror], [href^='javascript:']").count() == 0
    names = tab.locator("tbody th > .name").evaluate_all("all => all.map(e => e.textContent)")
    for name in HOSTILE_NAMES:
        shown = printable(name)
        expected = shown if len(shown) <= 160 else f"{shown[:159]}…"
        assert names.count(expected) == 2  # in the table of types and in that of costs
    press(types_table(tab), "type")
    assert tab.title().startswith("Size audit, ")


def test_a_name_from_right_to_left_leaves_the_rest_in_order(open_page: Open) -> None:
    tab = open_page(report_of({"שלום:עולם": [500]}))

    name = tab.locator(".summary .name")
    assert name.evaluate("each => getComputedStyle(each).unicodeBidi") == "isolate"
    before = tab.locator(".summary").inner_text()
    assert before == "1 message of 1 type: 1 inline, 0 compressed, 0 stored; 0 not sent. The " + (
        "largest message has 500 B and is of type שלום:עולם."
    )


def scroll_width(tab: Page) -> int:
    width: int = tab.evaluate("document.scrollingElement.scrollWidth")
    return width


@pytest.mark.parametrize("many", [False, True], ids=["sample", "200 types"])
def test_a_phone_scrolls_up_and_down_only(open_page: Open, sample: AuditReport, many: bool) -> None:
    report = report_of({f"service:{n}:event": [200 + n, 4000 * n + 1] for n in range(200)})
    tab = open_page(report if many else sample, PHONE)

    assert scroll_width(tab) <= PHONE["width"]
    for button in tab.locator("table.sortable button").all()[:14]:
        box = button.bounding_box()
        assert box is not None
        assert box["width"] >= MIN_TARGET
        assert box["height"] >= MIN_TARGET

    # A wider table scrolls by itself, and its last heading can be pressed.
    table = types_table(tab)
    press(table, "with S3")
    assert orders(table) == {"with S3": "descending"}
    for summary in tab.locator("summary").all():
        summary.click()
    assert scroll_width(tab) <= PHONE["width"]


def test_200_types_fit_a_screen_at_a_time(open_page: Open) -> None:
    report = report_of({f"service:{n}:event": [200 + n, 4000 * n + 1] for n in range(200)})
    tab = open_page(report)

    assert tab.locator(".histogram:visible").count() == 12
    tab.get_by_text("188 more types").click()
    assert tab.locator(".histogram:visible").count() == 200
    # The table's headings stay in sight while its rows scroll.
    scrolling = tab.locator(".scrolling").first
    scrolling.evaluate("each => { each.scrollTop = 3000 }")
    heading, frame = tab.locator("thead").first.bounding_box(), scrolling.bounding_box()
    assert heading is not None
    assert frame is not None
    assert heading["y"] == pytest.approx(frame["y"], abs=2)


LIMITS = [
    (250_000, 262_144),
    (250_000, 1_048_576),
    (100_000, 90_000),
    (9_000, 11_000),
    (300, 8_000_000),
    (20, 80_000_000),
]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    ("threshold", "limit"),
    [*LIMITS[:2], *(pytest.param(*each, marks=pytest.mark.long) for each in LIMITS[2:])],
)
def test_no_label_of_a_chart_is_on_another_or_cut(
    open_page: Open, viewport: ViewportSize, threshold: int, limit: int
) -> None:
    settings = AuditSettings(limit=limit, threshold=threshold)
    tab = open_page(report_of({"order:new": [3, 60_000_000]}, settings), viewport)

    for chart in tab.locator(".chart").all():
        labels: list[tuple[str, float, float, float, float]] = chart.evaluate(
            """chart => [...chart.querySelectorAll("text")]
                .filter(each => getComputedStyle(each).display !== "none")
                .map(each => [each, each.getBoundingClientRect()])
                .map(([each, box]) => [each.textContent, box.left, box.top, box.right, box.bottom])
            """
        )
        assert len(labels) > 5
        for text, left, _, right, _ in labels:
            assert 0 <= left < right <= viewport["width"], text
        for one, other in combinations(labels, 2):
            apart = (
                one[3] <= other[1] + 1
                or other[3] <= one[1] + 1
                or one[4] <= other[2] + 3
                or other[4] <= one[2] + 3
            )
            assert apart, (one, other)

    # Each line starts beside its own label, and goes through none.
    for heading in tab.locator(".marks").all():
        crossed: list[str] = heading.evaluate(
            """svg => [...svg.querySelectorAll("text.mark")].filter((text) => {
                const box = text.getBoundingClientRect();
                return [...svg.querySelectorAll("line")].some((line) => {
                    const { left, top } = line.getBoundingClientRect();
                    return left > box.left && left < box.right && top < box.bottom - 4;
                });
            }).map(each => each.textContent)"""
        )
        assert crossed == []


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_text_has_contrast_in_both_schemes(
    open_page: Open, sample: AuditReport, viewport: ViewportSize
) -> None:
    grounds = {}
    for scheme in SCHEMES:
        tab = open_page(sample, viewport, scheme)
        grounds[scheme] = color(
            tab.locator("body").evaluate("each => getComputedStyle(each).backgroundColor")
        )
        texts: list[tuple[str, str, str, str]] = tab.evaluate(TEXTS_WITH_COLORS)
        kinds = {kind for kind, *_ in texts}
        assert {"P", "TD", "TH", "BUTTON", "text", "A", "FIGCAPTION"} <= kinds
        for kind, text, front, ground in texts:
            found = contrast(color(front), color(ground))
            assert found >= MIN_CONTRAST, (scheme, kind, text, front, ground)
    assert contrast(grounds["light"], grounds["dark"]) > 10


SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def test_what_contrast_is() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast(color("rgb(119, 119, 119)"), (1, 1, 1)) == pytest.approx(4.48, abs=0.01)


# Without a browser


class Links(HTMLParser):
    """What a page points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"href", "src", "action"}]


def test_only_sources_on_the_web_are_links() -> None:
    sources = ("https://example.com/prices", "javascript:alert(1)", "the contract of 2024")
    settings = AuditSettings(prices=Prices(sources=sources))

    text = page(report_of({"order:new": [900_000]}, settings))
    assert [link for link in Links(text).found if not link.startswith("#shape-")] == [sources[0]]
    assert all(source in text for source in sources)


def test_a_sample_is_said_to_be_one(sample: AuditReport) -> None:
    assert "a sample of 2.5 %" in page(sample.model_copy(update={"sample": 0.025}))
    assert "a sample of 10 %" in page(sample.model_copy(update={"sample": 0.1}))
    assert "a sample of" not in page(sample).partition("What stands out")[0]


def test_a_summary_has_its_table_and_no_charts(sample: AuditReport) -> None:
    text = page(sample.summary())
    assert "saved without its histograms and samples" in text
    assert '<svg class="histogram' not in text
    assert "8.3 MB" in text


def test_a_report_that_was_saved_makes_the_same_page(sample: AuditReport, tmp_path: Path) -> None:
    sample.save(tmp_path / "audit.json")
    assert json.loads((tmp_path / "audit.json").read_text())["version"] == 1
    assert page(AuditReport.load(tmp_path / "audit.json")) == page(sample)


def test_nothing_pointed_out_is_said() -> None:
    text = page(report_of({"user:welcome": [300]}))
    assert "No type is near the limit, and none is over its budget." in text
    assert "No message was compressed or stored" in text
