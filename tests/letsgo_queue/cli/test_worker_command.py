"""The options of `letsgo-queue worker`, and the workers that it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from letsgo_queue import Health, SettingsInvalid, Worker
from letsgo_queue.cli.app import app
from letsgo_queue.worker import fleet
from letsgo_queue.worker.scale_in import TaskProtection


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What the command runs, in place of running it."""
    (tmp_path / "shop_of_options.py").write_text(
        "from letsgo_queue import Worker\norders = Worker('memory://1')\nmail = Worker('memory://2')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "shop_of_options", raising=False)
    runs: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(
        fleet, "run_workers", lambda *workers, **options: runs.append((workers, options))
    )
    return runs


def command(*arguments: str) -> None:
    result = CliRunner().invoke(app, ["worker", *arguments])
    if result.exception is not None:
        raise result.exception


def test_by_default_a_worker_is_as_its_code_says(runs: list[Any]) -> None:
    command("shop_of_options:orders")
    (((worker,), options),) = runs
    assert isinstance(worker, Worker)
    assert options == {
        "burst": False,
        "concurrency": None,
        "health": Health(),
        "protect_from_scale_in": False,
        "wait_seconds": None,
        "drain_timeout": None,
        "visibility_timeout": None,
        "prefetch": None,
        "max_opened_bytes": None,
    }


def test_every_option_of_a_run_is_one_of_the_command(runs: list[Any]) -> None:
    command(
        "shop_of_options:orders", "shop_of_options:mail", "--burst", "--concurrency", "7",
        "--wait-seconds", "3", "--drain-timeout", "1.5", "--visibility-timeout", "99",
        "--prefetch", "0", "--max-opened-bytes", "1000000", "--health-port", "0",
        "--health-host", "127.0.0.1", "--protect-from-scale-in",
    )  # fmt: skip
    (((orders, mail), options),) = runs
    assert orders is not mail
    assert isinstance(options.pop("protect_from_scale_in"), TaskProtection)
    assert options == {
        "burst": True,
        "concurrency": 7,
        "health": Health(port=0, host="127.0.0.1"),
        "wait_seconds": 3,
        "drain_timeout": 1.5,
        "visibility_timeout": 99,
        "prefetch": 0,
        "max_opened_bytes": 1_000_000,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--processes", "-1"), "processes=-1: a worker takes at least 0"),
        (("--max-messages", "0"), "max_messages=0"),
        (("--max-memory", "0"), "max_memory=0"),
        (("--max-memory", "9"), "max_memory=9: a process has .* MB before it handles anything"),
        (("--processes", "2", "--prefetch", "-1"), "prefetch=-1"),
        (("--max-opened-bytes", "0", "--processes", "2"), "max_opened_bytes=0"),
        (("--local", "--processes", "2"), "--local runs one worker in one process"),
        (("--local", "shop_of_options:mail"), "--local runs one worker in one process"),
    ],
)
def test_what_cannot_be_is_refused_before_a_process_is_forked(
    runs: list[Any], arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(SettingsInvalid, match=said):
        command("shop_of_options:orders", *arguments)
    assert runs == []
