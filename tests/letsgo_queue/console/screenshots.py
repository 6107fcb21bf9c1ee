"""Takes the pictures of docs/how-to/console.md: `python -m tests.letsgo_queue.console.screenshots`.

They are of a shop's queue in a file, whose last hour is made up. Fonts are the machine's.
"""

from __future__ import annotations

import math
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import uvicorn
from playwright.sync_api import Browser, Page, ViewportSize

from letsgo_queue import Client
from letsgo_queue.admin.watch import Minute
from letsgo_queue.console.extension import ConsoleOptions
from letsgo_queue.console.listening import listen
from letsgo_queue.console.sampling import Sampler
from letsgo_queue.console.site import make_site
from letsgo_queue.failure import Failure
from letsgo_queue.place import Place
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports import open_transport
from tests.letsgo_queue.support import receive_one
from tests.support.browser import (
    DESKTOP,
    INSTALL,
    PHONE,
    Scheme,
    chromium_path,
    run_chromium,
)
from tests.support.waiting import wait_for

IMAGES = Path(__file__).parents[3] / "docs" / "how-to" / "images"
TOKEN = "a-token"
LETTERS = "/queues/0/dead-letters"


def _failure(minutes: float, error: str, file: str, line: int, function: str) -> Failure:
    failed_at = datetime.now(UTC) - timedelta(minutes=minutes)
    return Failure(
        reason=f"failed in delivery 5, max_attempts=5: {error.rpartition('.')[2]}",
        error=error,
        place=Place(file=file, line=line, function=function),
        attempts=5,
        first_received_at=failed_at - timedelta(minutes=8),
        failed_at=failed_at,
        worker="worker-7:4711",
    )


FAILURES = [
    ("order:new", _failure(1_630, "shop.stock.NoStock", "shop/stock.py", 12, "take")),
    ("order:new", _failure(1_610, "shop.stock.NoStock", "shop/stock.py", 12, "take")),
    ("invoice:print", _failure(312, "ConnectionError", "shop/printing.py", 40, "connect")),
    ("order:cancel", Failure.because("the order is on its way already")),
    ("order:new", _failure(47, "shop.stock.NoStock", "shop/stock.py", 12, "take")),
    ("mail:send", _failure(5, "TimeoutError", "shop/mail.py", 88, "Mailer.send")),
]


def main() -> None:
    path = chromium_path()
    if path is None:
        sys.exit(INSTALL)
    with (
        tempfile.TemporaryDirectory() as folder,
        chdir(folder),
        patch.object(Sampler, "minutes", lambda _: an_hour()),
        patch.object(Sampler, "counting_since", None),
        running("sqlite:///orders.db") as address,
        run_chromium(path) as browser,
    ):
        with opened(browser, address, DESKTOP, "light") as page:
            _take(page, "console.png")
        with opened(browser, address, DESKTOP, "dark") as page:
            page.goto(LETTERS)
            page.locator('input[name="id"]').nth(1).check()
            page.locator('input[name="id"]').nth(3).check()
            _take(page, "console-dead-letters.png")
        with opened(browser, address, PHONE, "light") as page:
            page.goto(LETTERS)
            letter = page.locator("[data-row] a").first.get_attribute("href")
            page.goto(f"{letter}/payload")
            _take(page, "console-phone.png")


@contextmanager
def running(url: str) -> Iterator[str]:
    """A console on a shop's queue; gives its address."""
    fill(url)
    with listen("127.0.0.1", 0) as socket:
        here = f"127.0.0.1:{socket.getsockname()[1]}"
        site = make_site(ConsoleOptions(queues=[url]), QueueSettings(), token=TOKEN, hosts=[here])
        server = uvicorn.Server(
            uvicorn.Config(site, log_level="warning", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        wait_for(lambda: server.started, "the console")
        try:
            yield f"http://{here}"
        finally:
            server.should_exit = True
            thread.join()


def fill(url: str) -> None:
    """Messages that wait, and dead letters."""
    queue = open_transport(url, QueueSettings())
    client = Client(queue)
    for number, (type, why) in enumerate(FAILURES):
        client.enqueue(
            {"type": type, "payload": {"order": 4711 + number, "lines": [{"sku": "A-17", "n": 2}]}}
        )
        assert queue.move_to_dead_letters(receive_one(queue), why)
    client.enqueue_many([{"type": "mail:send", "payload": {"to": "Ada"}}] * 1_284)
    for _ in range(12):
        client.enqueue({"type": "reminder:send"}, delay_seconds=600)
    client.close()
    queue.close()


def an_hour() -> Sequence[Minute]:
    """Traffic that comes in waves, and that workers keep up with."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return [
        Minute(
            now - timedelta(minutes=ago),
            round(220 + 140 * math.sin(ago / 7) + 37 * math.sin(ago * 2.3)),
            round(215 + 110 * math.sin((ago + 3) / 7) + 23 * math.sin(ago * 1.7)),
        )
        for ago in range(59, -1, -1)
    ]


@contextmanager
def opened(browser: Browser, address: str, size: ViewportSize, scheme: Scheme) -> Iterator[Page]:
    """A page of somebody who has signed in."""
    with browser.new_context(viewport=size, color_scheme=scheme, base_url=address) as context:
        page = context.new_page()
        page.goto(f"/?token={TOKEN}")
        yield page


def _take(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / name, full_page=True)
    print(f"{name}: {(IMAGES / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
