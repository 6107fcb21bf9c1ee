"""`claimcheck enqueue`: as `letsgo-queue enqueue`, for messages of any size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import run

WORKER = """
from claimcheck import unwrap_claim_check
from letsgo_queue import Delivery, Worker

jobs = Worker()

@jobs.handler("report")
@unwrap_claim_check
def on_report(message: dict, delivery: Delivery) -> None:
    print(len(message["payload"]), delivery.attributes["tenant"].value)
"""

LARGE = json.dumps("x" * 2_000_000)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a worker, and a queue of its own."""
    (tmp_path / "work.py").write_text(WORKER)
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path / 'work.db'}")
    return tmp_path


def test_a_large_message_is_sealed_and_handled(project: Path) -> None:
    options = ("--type", "report", "--payload", "-", "--attribute", "tenant=acme", "--json")
    sent = run("claimcheck", "enqueue", *options, cwd=project, stdin=LARGE)
    worked = run("letsgo-queue", "worker", "work:jobs", "--burst", cwd=project)

    assert sent.returncode == 0, sent.stderr
    result = json.loads(sent.stdout)
    assert (result["route"], result["stored_size"], result["claim_id"]) == ("compressed", 0, None)
    assert result["size"] > 2_000_000 > result["sent_size"]
    assert worked.stdout == "2000000 acme\n"


def test_it_prints_the_id(project: Path) -> None:
    sent = run("claimcheck", "enqueue", "--type", "report", cwd=project)

    assert len(sent.stdout.strip()) == len("00000000-0000-0000-0000-000000000000")


def test_the_command_that_does_not_seal_names_it(project: Path) -> None:
    refused = run(
        "letsgo-queue", "enqueue", "--type", "report", "--payload", "-", cwd=project, stdin=LARGE
    )

    assert refused.returncode == 1
    assert "`claimcheck enqueue`" in refused.stderr
