"""The console in a browser: by mouse and by keyboard, in both schemes, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from claimcheck.stores.base import Lease
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing.claims import write
from letsgo_queue import Client
from tests.claimcheck.audit.reports import report_of
from tests.claimcheck.stores.support import change
from tests.letsgo_queue.console.browsing import Hand, Keyboard, Mouse, opened, started
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
    with closing(Client(url)) as client:
        for _ in range(WAITING // 1_000):
            client.enqueue_many([{"type": "mail:send", "payload": {"to": "Ada"}}] * 1_000)
    fill_store(url)
    return url


@pytest.fixture(scope="module")
def address(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    report = tmp_path_factory.mktemp("audit") / "audit.json"
    report_of({"order:new": [500, 700], "mail:send": [900_000]}).save(report)
    with started("--queue", url, "--audit", str(report)) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, DESKTOP, "light") as page:
        yield page


@pytest.fixture(
    params=[
        pytest.param((Mouse, PHONE, "dark"), id="mouse-phone-dark", marks=pytest.mark.long),
        pytest.param((Keyboard, DESKTOP, "light"), id="keys-desk-light"),
    ],
)
def hand(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Hand]:
    """Somebody with a mouse, and somebody with keys alone."""
    kind, size, scheme = request.param
    with opened(browser, address, size, scheme) as page:
        yield kind(page)


def fill_store(url: str) -> None:
    """Claims for each hand: four of a type of its own, one of them held, and two that expired."""
    path = url.removeprefix("sqlite:///")
    with closing(SqliteClaimStore(path)) as store:
        for hand in (Mouse, Keyboard):
            kind = hand.__name__
            held, *_ = [write(store, 1_000 * 10**n, type=f"scan:{kind}") for n in range(4)]
            store.acquire(held.key, Lease("of a worker", 3_600))
            for _ in range(2):
                write(store, 10, type=f"old:{kind}")
    change(Path(path), "UPDATE claim_contents SET expires_at = 1 WHERE type LIKE 'old:%'")


def count(page: Page, name: str) -> int:
    return int(page.locator(f'[data-live="0.{name}"]').inner_text().replace(",", ""))


def test_numbers_go_on_and_nothing_moves(page: Page, url: str) -> None:
    places = """Array.from(document.querySelectorAll('[data-numbers] :not(rect)'))
        .map(each => each.getBoundingClientRect()).map(box => [box.x, box.y])"""
    waiting, before = count(page, "waiting"), page.evaluate(places)

    Client(url).enqueue({"type": "mail:send", "payload": {"to": "Bo"}})

    expect(page.locator('[data-live="0.waiting"]')).to_have_text(f"{waiting + 1:,}")
    assert page.evaluate(places) == before
    assert "token" not in page.url


def test_letters_are_filtered_sorted_selected_redriven_and_deleted(hand: Hand) -> None:
    page, type = hand.page, "order:1" if isinstance(hand, Mouse) else "order:2"
    dead, boxes = count(page, "dead"), page.locator('[data-row] input[name="id"]')
    hand.go("Dead letters")
    hand.choose(page.get_by_label("Type"), type)
    hand.do("Filter")
    hand.follow(page.get_by_role("link", name="Size"))
    expect(page.locator("th", has_text="Size")).to_have_attribute("aria-sort", "ascending")
    assert set(page.locator("[data-row] a").all_inner_texts()) == {type}
    before = boxes.count()

    for action, done, rows in (("Redrive", "redriven", 2), ("Delete", "deleted", 1)):
        for row in range(rows):
            hand.tick(boxes.nth(row))
        expect(page.locator("[data-count]")).to_have_text(str(rows))
        hand.do(action)
        hand.do(f"{action} {rows}")
        expect(page.get_by_text(f"{rows} {done}, 0 failed")).to_be_visible()
        page.wait_for_load_state()  # it was loaded again when it was over
        hand.follow(page.get_by_role("link", name="Back to the list"))
        hand.choose(page.get_by_label("Type"), type)
        hand.do("Filter")
    hand.tick(page.get_by_label("all 97 filtered"))
    hand.do("Redrive")
    hand.do("Redrive 97")
    expect(page.get_by_text("97 redriven, 0 failed")).to_be_visible()
    page.wait_for_load_state()

    assert before == 100
    hand.go("Overview")
    expect(page.locator('[data-live="0.dead"]')).to_have_text(f"{dead - 100:,}")


def test_a_letter_is_opened_shown_downloaded_and_deleted(hand: Hand) -> None:
    page = hand.page
    hand.go("Dead letters")
    if isinstance(hand, Mouse):
        hand.follow(page.locator("[data-row] a").first)
    else:
        for key in ("j", "j", "k", "x"):
            page.keyboard.press(key)
        expect(page.locator("[data-count]")).to_have_text("1")
        page.keyboard.press("Enter")
    expect(page.get_by_text("dead for")).to_be_visible()
    expect(page.locator("#payload")).not_to_be_visible()
    hand.follow(page.get_by_role("link", name="Show the payload"))
    expect(page.locator("#payload")).to_contain_text('"number":')
    with page.expect_download() as download:
        hand.press(page.get_by_role("link", name="Download"))
    assert b'"type":"order:0"' in download.value.path().read_bytes()
    hand.do("Delete")
    hand.do("Delete 1")

    expect(page.get_by_text("1 deleted, 0 failed")).to_be_visible()


def test_messages_are_paged_and_opened(hand: Hand) -> None:
    page = hand.page
    hand.go("Messages")
    hand.follow(page.get_by_role("link", name="delayed"))
    expect(page.get_by_text("No message is delayed.")).to_be_visible()
    hand.follow(page.get_by_role("link", name="waiting"))
    first = page.locator("[data-row] code").first.inner_text()
    hand.follow(page.get_by_role("link", name="Next messages"))
    expect(page.get_by_role("link", name="First messages")).to_be_visible()
    assert page.locator("[data-row] code").first.inner_text() != first
    hand.follow(page.locator("[data-row] a").first)
    hand.follow(page.get_by_role("link", name="Show the payload"))

    expect(page.locator("#payload")).to_contain_text('"to": "Ada"')


def test_claims_are_filtered_sorted_deleted_and_released(hand: Hand) -> None:
    page, kind = hand.page, type(hand).__name__
    boxes = page.locator('[data-row] input[name="id"]')
    hand.go("Claims")
    hand.choose(page.get_by_label("Type"), f"scan:{kind}")
    hand.do("Filter")
    expect(boxes).to_have_count(4)
    hand.follow(page.get_by_role("link", name="Stored"))  # the smallest first, which is held
    hand.tick(boxes.nth(0))
    hand.tick(boxes.nth(3))
    hand.do("Delete")
    hand.do("Delete 2")
    expect(page.get_by_text("1 deleted, 1 failed")).to_be_visible()
    expect(page.get_by_text("a delivery holds it")).to_be_visible()
    page.wait_for_load_state()

    hand.follow(page.get_by_role("link", name="Back to the list"))
    hand.choose(page.get_by_label("State"), "leased")
    hand.choose(page.get_by_label("Type"), f"scan:{kind}")
    hand.do("Filter")
    hand.follow(page.locator("[data-row] a").first)
    hand.do("End the lease")
    hand.do("End the lease")
    expect(page.get_by_text("waiting")).to_be_visible()

    hand.follow(page.get_by_role("link", name="Back to the list"))
    hand.choose(page.get_by_label("Type"), f"old:{kind}")
    hand.choose(page.get_by_label("May go"), "expired")
    hand.do("Filter")
    hand.tick(page.get_by_label("all 2 filtered"))
    hand.do("Delete")
    expect(page.get_by_text("They have expired")).to_be_visible()
    hand.do("Delete 2")
    expect(page.get_by_text("2 deleted, 0 failed")).to_be_visible()


@pytest.mark.long
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
    ("size", "scheme"),
    [
        pytest.param(DESKTOP, "dark", id="desk-dark"),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.long),
    ],
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
