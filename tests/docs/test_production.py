"""The how-to on production: its files and commands, as a reader would use them."""

from __future__ import annotations

import configparser
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import Client
from letsgo_queue.worker import processes
from letsgo_queue.worker.options import DEFAULT_DRAIN_SECONDS
from tests.docs.support import ROOT, Reader, blocks, commands, write_blocks
from tests.docs.templates import load_yaml
from tests.support.waiting import wait_for

PAGE = "docs/how-to/production.md"
COMMANDS = commands(PAGE)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks(PAGE, tmp_path) == {"shop.py", "limited.py"}
    return Reader(tmp_path, CLAIMCHECK_STORE="memory://")


def enqueue(reader: Reader) -> None:
    Client(f"sqlite:///{reader.folder}/orders.db").enqueue(
        {"type": "order:new", "payload": {"order_id": "1"}}
    )
    Client(f"sqlite:///{reader.folder}/mail.db").enqueue({"type": "mail:send", "payload": "Ada"})


@pytest.mark.parametrize("command", [*COMMANDS, "python shop.py"])
def test_each_way_to_run_them_works(reader: Reader, command: str) -> None:
    enqueue(reader)
    with reader.leave_running(command) as log:
        wait_for(lambda: "order 1" in log.read_text(), "the order")
        if "mail" in command or "python" in command:
            wait_for(lambda: "mail to Ada" in log.read_text(), "the mail")
    assert "Traceback" not in log.read_text()


def test_limits_of_a_handler(reader: Reader) -> None:
    Client(f"sqlite:///{reader.folder}/limited.db").enqueue(
        {"type": "report:make", "payload": "a report"}
    )

    assert "made a report" in reader.type("letsgo-queue worker limited:worker --burst")


def option(command: list[str], name: str) -> float:
    return float(command[command.index(name) + 1])


def test_what_runs_workers_waits_long_enough(reader: Reader) -> None:
    """And the commands in its files run."""
    ecs: dict[str, Any] = json.loads(blocks(PAGE, "json")[0])["containerDefinitions"][0]
    pod: dict[str, Any] = load_yaml(blocks(PAGE, "yaml")[0])["spec"]["template"]["spec"]
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its manual says
    unit.read_string(blocks(PAGE, "ini")[0])
    service = unit["Service"]
    kubernetes = pod["containers"][0]["command"] + pod["containers"][0]["args"]
    systemd = shlex.split(service["ExecStart"])

    assert option(ecs["command"], "--drain-timeout") < ecs["stopTimeout"] <= 120
    ending = processes.ENDING_SECONDS
    assert option(kubernetes, "--drain-timeout") + ending < pod["terminationGracePeriodSeconds"]
    assert option(systemd, "--drain-timeout") + ending < float(service["TimeoutStopSec"])
    assert systemd[0].endswith("/letsgo-queue")
    for command in (ecs["command"], kubernetes, ["letsgo-queue", *systemd[1:]]):
        reader.type(shlex.join([*map(str, command), "--burst"]))


def test_the_numbers_are_those_of_the_code() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert f"| `drain_timeout` | {DEFAULT_DRAIN_SECONDS:.0f} s |" in text
    assert f"starts another after {processes.FIRST_PAUSE_SECONDS:.0f} s; up to 30 s" in text
    assert processes.MAX_PAUSE_SECONDS == 30
    assert processes.MAX_FAILURES == 10
    assert processes.STEADY_SECONDS == 60
    assert f"ended {processes.ENDING_SECONDS:.0f} seconds after its drain time." in text
