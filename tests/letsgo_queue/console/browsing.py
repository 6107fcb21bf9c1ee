"""A console in a process of its own, and somebody who uses it with a mouse or with keys alone."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from tests.support.browser import Scheme
from tests.support.quick_python import quick_python


@contextmanager
def started(*options: str) -> Iterator[str]:
    """A console as somebody starts it; gives its address."""
    console = ["-m", "letsgo_queue.cli.app", "console", *options, "--port", "0"]
    command = [*quick_python(), *console]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(30) == 0


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


class Hand(ABC):
    """Somebody who uses a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @abstractmethod
    def press(self, what: Locator) -> None:
        """Press a link or a button."""

    def follow(self, what: Locator) -> None:
        """Press what leads to another page, and wait for that."""
        with self.page.expect_navigation():
            self.press(what)

    @abstractmethod
    def tick(self, box: Locator) -> None:
        """Select what a box or a radio button stands for."""

    @abstractmethod
    def choose(self, select: Locator, name: str) -> None:
        """Choose an entry of a list that begins with this."""

    def go(self, link: str) -> None:
        """Follow a link of the navigation."""
        where = self.page.get_by_role("navigation").first.get_by_role("link", name=link)
        self.follow(where)
        expect(where).to_have_attribute("aria-current", "page")

    def do(self, button: str) -> None:
        """Press a button that begins with this."""
        self.follow(self.page.get_by_role("main").get_by_role("button", name=button))


class Mouse(Hand):
    def press(self, what: Locator) -> None:
        what.click()

    def tick(self, box: Locator) -> None:
        box.click()

    def choose(self, select: Locator, name: str) -> None:
        entry = next(each for each in select.locator("option").all_inner_texts() if name in each)
        select.select_option(label=entry)  # the list itself is the system's


class Keyboard(Hand):
    def press(self, what: Locator) -> None:
        self._reach(what)
        self.page.keyboard.press("Enter")

    def tick(self, box: Locator) -> None:
        self._reach(box)
        self.page.keyboard.press("Space")

    def choose(self, select: Locator, name: str) -> None:
        self._reach(select)
        self.page.keyboard.type(name)

    def _reach(self, what: Locator) -> None:
        """Go to something, as Tab does sooner or later."""
        assert what.evaluate("each => each.tabIndex") == 0
        what.focus()
        assert what.evaluate("each => each === document.activeElement")
