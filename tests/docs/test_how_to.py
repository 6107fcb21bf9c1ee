"""The pages under docs/how-to, run as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from letsgo_queue import Client, QueueSettings
from letsgo_queue.admin import open_admin
from tests.docs.support import ROOT, write_blocks


def run(script: str, folder: Path, *, queue: str = "work.db") -> list[str]:
    """Run one of a page's files on a SQLite queue; the lines that it prints."""
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, "LETSGO_QUEUE_URL": f"sqlite:///{queue}?visibility_timeout=1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_delays_and_retries(tmp_path: Path) -> None:
    names = write_blocks("docs/how-to/delays-and-retries.md", tmp_path)
    assert names == {"remind.py", "charge.py", "watch_failures.py"}

    run("remind.py", tmp_path, queue="reminders.db")
    admin = open_admin(f"sqlite:///{tmp_path}/reminders.db", QueueSettings())
    status = admin.status()
    admin.close()
    assert status.waiting + status.delayed == 2
    assert status.delayed > 0

    client = Client(f"sqlite:///{tmp_path}/work.db")
    said = []
    for customer in ("fine", "nobody", "busy"):  # alone, as two threads may share a line
        client.enqueue({"type": "order:charge", "payload": {"customer": customer}})
        said += run("watch_failures.py", tmp_path)
    client.close()
    assert said == [
        "fine delivery 1",
        "nobody delivery 1",
        "order:charge rejected: no such customer",
        "busy delivery 1",
        "order:charge again in 1 Retry",
    ]


def test_batches(tmp_path: Path) -> None:
    names = write_blocks("docs/how-to/batches.md", tmp_path)
    assert names == {"import_orders.py", "partly.py", "by_customer.py"}

    assert run("import_orders.py", tmp_path) == [
        f"{thousands},000 sent, 0 failed" for thousands in range(1, 6)
    ]
    assert run("partly.py", tmp_path) == ["2 sent; number 1 was not"]
    assert run("by_customer.py", tmp_path) == []


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if not link.startswith("https://") and not (page.parent / link).exists()
    ]
    assert missing == []
