"""The console in a browser: by mouse and by keyboard, in both schemes, on a desk and on a phone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from letsgo_queue import Client
from tests.claimcheck.audit.reports import report_of
from tests.letsgo_queue.console.support import make_dead_letters
from tests.support.browser import (
    DESKTOP,
    PHONE,
    Scheme,
)
from tests.support.contrast import MIN_CONTRAST, TEXTS_WITH_COLORS, color, contrast

WAITING, DEAD = 5_000, 300

MIN_TARGET = 24
"""Pixels; WCAG 2.2, 2.5.8."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('console')}/work.db"
    make_dead_letters(url, DEAD)
    client = Client(url)
    for _ in range(WAITING // 1_000):
        client.enqueue_many([{"type": "mail:send", "payload": {"to": "Ada"}}] * 1_000)
    client.close()
    return url


@pytest.fixture(scope="module")
def address(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console in a process of its own, as somebody starts it."""
    report = tmp_path_factory.mktemp("audit") / "audit.json"
    report_of({"order:new": [500, 700], "mail:send": [900_000]}).save(report)
    command = [sys.executable, "-m", "letsgo_queue.cli.app", "console", "--queue", url]
    command += ["--audit", str(report), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, DESKTOP, "light") as page:
        yield page


@contextmanager
def opened(browser: Browser, address: str, size: ViewportSize, scheme: Scheme) -> Iterator[Page]:
    """A page that nobody complains of, and that asks nobody else."""
    here = address.partition("/?")[0]
    complaints: list[str] = []
    with browser.new_context(viewport=size, color_scheme=scheme, base_url=here) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(here) else complaints.append(request.url)
            ),
        )
        page.goto(address)
        yield page
    assert complaints == []


def count(page: Page, name: str) -> int:
    return int(page.locator(f'[data-live="0.{name}"]').inner_text().replace(",", ""))


def test_numbers_go_on_and_nothing_moves(page: Page, url: str) -> None:
    places = "Array.from(document.querySelectorAll('section *'), e => e.getBoundingClientRect().x)"
    waiting, before = count(page, "waiting"), page.evaluate(places)

    Client(url).enqueue({"type": "mail:send", "payload": {"to": "Bo"}})

    expect(page.locator('[data-live="0.waiting"]')).to_have_text(f"{waiting + 1:,}")
    assert page.evaluate(places) == before
    assert "token" not in page.url


def test_by_mouse_letters_are_selected_and_redriven(page: Page) -> None:
    dead = count(page, "dead")
    page.get_by_role("link", name="Dead letters").click()
    page.get_by_label("Type").select_option("order:1")
    page.get_by_role("button", name="Filter").click()
    boxes = page.locator('input[name="id"]')
    boxes.nth(0).check()
    boxes.nth(2).check()
    expect(page.locator("[data-count]")).to_have_text("2")
    page.get_by_role("button", name="Redrive").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Redrive 2 dead letters?")
    page.get_by_role("button", name="Redrive 2").click()

    expect(page.get_by_text("2 redriven, 0 failed")).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.locator('[data-live="0.dead"]')).to_have_text(f"{dead - 2:,}")


def test_by_keyboard_a_letter_is_opened_and_deleted(page: Page) -> None:
    dead = count(page, "dead")
    page.goto("/queues/0/dead-letters")
    page.wait_for_load_state()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("x")
    expect(page.locator("[data-count]")).to_have_text("1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("dead for")).to_be_visible()
    page.get_by_role("button", name="Delete").press("Enter")
    page.get_by_role("button", name="Delete 1").press("Enter")

    expect(page.get_by_text("1 deleted, 0 failed")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("o")
    expect(page.locator('[data-live="0.dead"]')).to_have_text(f"{dead - 1:,}")


def test_all_that_the_filter_shows_are_redriven(page: Page) -> None:
    page.goto("/queues/0/dead-letters?type=order:2")
    page.get_by_label(re.compile("all .* filtered")).check()
    page.get_by_role("button", name="Redrive").click()
    page.get_by_role("button", name=re.compile(r"Redrive \d+")).click()

    expect(page.get_by_text(re.compile(r"(99|100) redriven, 0 failed"))).to_be_visible()
    page.goto("/queues/0/dead-letters?type=order:2")
    expect(page.get_by_text("No dead letter matches the filter.")).to_be_visible()


def test_the_audit_sorts_by_its_own_script(page: Page) -> None:
    page.get_by_role("link", name="Audit").click()
    page.get_by_role("button", name="type", exact=True).first.click()

    names = page.locator("table.sortable").first.locator("tbody th > .name").all_inner_texts()
    assert names == ["mail:send", "order:new"]
    page.get_by_role("link", name="Console").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


BOXES = """all => all.map(each => [each, each.getBoundingClientRect()])
    .map(([each, box]) => [each.outerHTML, box.width, box.height])"""


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")], ids=["desk-dark", "phone-light"]
)
def test_every_page_fits(
    browser: Browser, address: str, size: ViewportSize, scheme: Scheme
) -> None:
    with opened(browser, address, size, scheme) as page:
        page.goto("/queues/0/dead-letters")
        letter = page.locator("[data-row] a").first.get_attribute("href")
        lists = ("/", "/queues/0/messages", "/queues/0/dead-letters", "/claims/0")
        for path in (*lists, f"{letter}/payload"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            for kind, text, front, ground in page.evaluate(TEXTS_WITH_COLORS):
                found = contrast(color(front), color(ground))
                assert found >= MIN_CONTRAST, (path, kind, text, front, ground)
            for target, width, height in page.locator(
                "nav a, button:visible, select, a.button"
            ).evaluate_all(BOXES):
                assert min(width, height) >= MIN_TARGET, (path, target)


def test_the_keys_are_told_and_what_has_the_focus_can_be_seen(page: Page) -> None:
    page.goto("/queues/0/dead-letters")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).not_to_be_visible()

    seen: set[str] = set()
    while "BUTTON" not in seen:
        page.keyboard.press("Tab")
        kind, width = page.locator(":focus").evaluate(
            "each => [each.tagName, getComputedStyle(each).outlineWidth]"
        )
        assert width != "0px", kind
        seen.add(kind)
    assert {"A", "SELECT", "BUTTON"} <= seen
