"""The short pages under docs/how-to, run as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from letsgo_queue import QueueSettings
from letsgo_queue.admin import open_admin
from tests.docs.support import PAGES, ROOT, Reader, write_blocks


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")


def test_delays_and_retries(reader: Reader) -> None:
    names = write_blocks("docs/how-to/delays-and-retries.md", reader.folder)
    assert names == {"remind.py", "charge.py", "watch_failures.py"}

    reader.type("LETSGO_QUEUE_URL=sqlite:///reminders.db python remind.py")
    admin = open_admin(f"sqlite:///{reader.folder}/reminders.db", QueueSettings())
    status = admin.status()
    admin.close()
    assert status.waiting + status.delayed == 2
    assert status.delayed > 0

    said = ""
    for customer in ("fine", "nobody", "busy"):  # one at a time, as two threads may share a line
        payload = f'{{"customer": "{customer}"}}'
        reader.type(f"letsgo-queue enqueue --type order:charge --payload '{payload}'")
        said += reader.type("python watch_failures.py")
    assert said.splitlines() == [
        "fine delivery 1",
        "nobody delivery 1",
        "order:charge rejected: no such customer",
        "busy delivery 1",
        "order:charge again in 60 Retry",
    ]


def test_batches(reader: Reader) -> None:
    names = write_blocks("docs/how-to/batches.md", reader.folder)
    assert names == {"import_orders.py", "partly.py", "by_customer.py"}

    assert reader.type("python import_orders.py").splitlines() == [
        f"{thousands},000 sent, 0 failed" for thousands in range(1, 6)
    ]
    assert reader.type("python partly.py").splitlines() == [
        "2 were sent",
        "number 1 was not: MessageInvalid",
    ]
    assert reader.type("python by_customer.py") == ""


def test_async(reader: Reader) -> None:
    assert write_blocks("docs/how-to/async.md", reader.folder) == {"notify.py", "pooled.py"}

    told = reader.type("python notify.py").splitlines()

    assert sorted(told) == ["told Ada", "told Edsger", "told Grace"]


def test_events(reader: Reader) -> None:
    assert write_blocks("docs/how-to/events.md", reader.folder) == {"watch.py"}

    sealed, handled, counts = reader.type("python watch.py").splitlines()

    assert sealed == "report:ready compressed 2000036 bytes"
    assert handled == "report:ready handled in delivery 1"
    named = ("MessageHandled", "MessageOpened", "MessageSealed", "MessageSent", "MessageStarted")
    assert counts == str([(name, 1) for name in named])


def test_errors(reader: Reader) -> None:
    assert write_blocks("docs/how-to/errors.md", reader.folder) == {"careful.py"}

    message_id = reader.type("python careful.py").strip()
    assert message_id.count("-") == 4

    reader.settings["LETSGO_QUEUE_URL"] = "http://127.0.0.1:1"  # nobody listens there
    assert reader.type("python careful.py") == "try again later\n"
    reader.settings["LETSGO_QUEUE_URL"] = "postgres://localhost"
    assert reader.type("python careful.py").startswith(
        "give up: LETSGO_QUEUE_URL: queue 'postgres://localhost'"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("https://") and not leads(page, link)]
    assert missing == []


def leads(page: Path, link: str) -> bool:
    """Whether a link from a page leads to a file, and to a heading in it if it names one."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    # As GitHub makes an anchor of a heading.
    return anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
