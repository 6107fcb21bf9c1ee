"""The how-to on schedules: its files, run as a reader would run them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from letsgo_queue.worker.schedule import parse_schedule
from tests.docs.support import ROOT, Reader, commands, write_blocks
from tests.letsgo_queue.aws_lambda.lambda_events import SCHEDULED
from tests.support.waiting import wait_for

PAGE = "docs/how-to/schedules.md"
(WORK,) = commands(PAGE)

# A day in three seconds, before anything is loaded that keeps the right clock, so by a new Python.
PYTHON = shlex.quote(sys.executable)
HURRY = """
import runpy, sys, time
right, begun = time.time, time.time()
time.time = lambda: begun + (right() - begun) * 30_000
sys.path.insert(0, ".")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    names = {"jobs.py", "enqueue_nightly.py", "on_lambda.py", "test_jobs.py"}
    assert write_blocks(PAGE, tmp_path) == names
    (tmp_path / "hurry.py").write_text(HURRY)
    return Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")


def test_the_command_tells_when_schedules_are_due(reader: Reader) -> None:
    with reader.leave_running(WORK) as log:
        for line in (
            "schedule nightly-report: next at",
            "schedule jobs.clean_up rate(5 minutes): next at",
            "worker starts",  # from here on it can be stopped
        ):
            wait_for(lambda: line in log.read_text(), line)  # noqa: B023  used at once
        assert "no middleware says" not in log.read_text()


def test_schedules_run(reader: Reader) -> None:
    with reader.leave_running(f"{PYTHON} hurry.py jobs.py") as log:
        for line in ("report 20", "clean up 20"):
            wait_for(lambda: line in log.read_text(), line)  # noqa: B023  used at once


def test_a_handler_that_enqueues(reader: Reader) -> None:
    with reader.leave_running(f"{PYTHON} hurry.py enqueue_nightly.py") as log:
        for name in ("ada", "bob"):
            wait_for(lambda: f"invoice for {name}" in log.read_text(), name)  # noqa: B023  used at once


def test_on_lambda(reader: Reader) -> None:
    arn = "arn:aws:events:eu-central-1:123456789012:rule/nightly-report"
    event = {**SCHEDULED, "resources": [arn]}
    (reader.folder / "event.json").write_text(json.dumps(event))
    call = (
        "import json; from on_lambda import handler; handler(json.load(open('event.json')), None)"
    )
    assert reader.type(f'python -c "{call}"') == f"report {event['time']}\n"


def test_the_test_of_the_page(reader: Reader) -> None:
    assert "1 passed" in reader.type("python -m pytest -q test_jobs.py")


def test_every_expression_of_the_page_is_read() -> None:
    text = (ROOT / PAGE).read_text()
    table = text.partition("| expression | runs |")[2].partition("\n\n")[0]
    expressions = [line.split("`")[1] for line in table.splitlines()[2:]]
    assert len(expressions) == 6
    for expression in expressions:
        assert parse_schedule(expression).after(1_800_000_000) is not None
