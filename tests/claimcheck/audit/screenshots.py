"""Takes the pictures in docs/how-to/images: `python -m tests.claimcheck.audit.screenshots`.

They are of the sample report. Fonts are the machine's; those in the repository were taken with
Debian's `fonts-inter`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import FloatRect, Page

from claimcheck.audit.page import page
from tests.claimcheck.audit.sample_report import sample_report
from tests.support.browser import DESKTOP, INSTALL, PHONE, chromium_path, run_chromium

IMAGES = Path(__file__).parents[3] / "docs" / "how-to" / "images"

MARGIN = 10
"""Pixels."""


def main() -> None:
    path = chromium_path()
    if path is None:
        sys.exit(INSTALL)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, run_chromium(path) as browser:
        file = Path(folder) / "audit.html"
        file.write_text(page(sample_report(Path(folder))), encoding="utf-8")
        desktop = browser.new_page(viewport=DESKTOP, color_scheme="light")
        _take(desktop, file, "size-audit.png", first="header", last="figure:first-of-type")
        phone = browser.new_page(viewport=PHONE, color_scheme="dark")
        _take(
            phone, file, "size-audit-phone.png", first="section:nth-of-type(2)", last=".scrolling"
        )


def _take(tab: Page, file: Path, name: str, *, first: str, last: str) -> None:
    """A picture from one element to another, as wide as the page."""
    tab.goto(file.as_uri())
    top = tab.locator(first).first.evaluate("each => each.getBoundingClientRect().top")
    bottom = tab.locator(last).first.evaluate("each => each.getBoundingClientRect().bottom")
    clip: FloatRect = {
        "x": 0,
        "y": top - MARGIN,
        "width": tab.evaluate("innerWidth"),
        "height": bottom - top + 2 * MARGIN,
    }
    tab.screenshot(path=IMAGES / name, full_page=True, clip=clip)
    print(f"{name}: {(IMAGES / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
