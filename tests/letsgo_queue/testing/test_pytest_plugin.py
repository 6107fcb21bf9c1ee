"""A project whose tests pytest runs: the fixtures are there, and the size audit sees messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SHOP = """
from claimcheck import enqueue, unwrap_claim_check
from letsgo_queue import Worker

worker = Worker()


def upload(rows):
    enqueue({"type": "prices:import", "payload": rows})


@worker.handler("prices:import")
@unwrap_claim_check
def on_import(message: dict) -> None:
    assert message["payload"][0] == "A-1"
"""

TESTS = """
import pytest

from shop import upload, worker


def test_upload(letsgo_worker):
    upload(["A-1"] * 200_000)
    letsgo_worker(worker).drain()


def test_handler_fails(letsgo_worker):
    upload(["B-1"])
    letsgo_worker(worker).drain()


def test_nothing_is_left(letsgo_worker, letsgo_outbox):
    assert not letsgo_outbox
    assert not letsgo_worker(worker).drain().handled


class TestEveryTest:
    def test_is_safe(self):
        upload(["C-1"])
"""

SETTINGS = """
[pytest]
usefixtures = letsgo_outbox
"""


def test_in_a_project_with_the_audit_on(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(SETTINGS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--claimcheck-audit", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "LETSGO_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/orders"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    # From the test straight to where the handler failed.
    shown = re.findall(r"^(\S+\.py:\d+): ", done.stdout, re.MULTILINE)
    assert shown == ["test_shop.py:14", "shop.py:15"]
    assert "Raised for message " in done.stdout
    assert re.findall(r"^prices:import +(\d+) ", done.stdout, re.MULTILINE) == ["3"]  # weighed
