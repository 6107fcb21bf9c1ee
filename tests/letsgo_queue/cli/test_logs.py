"""How `letsgo-queue worker` logs, and what it shows of a module that fails."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import Client
from tests.support.command import run

WORKER = """
from letsgo_queue import Reject, Worker

worker = Worker()

@worker.handler("greet")
def greet(message: dict) -> None:
    {handle}
"""

OWN_LOGGING = """
import logging
logging.basicConfig(format="mine: %(levelname)s %(message)s", level="DEBUG")
logging.getLogger("botocore").setLevel("ERROR")
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path / 'work.db'}")
    write_worker(tmp_path)
    return tmp_path


def write_worker(folder: Path, *, handle: str = "pass", before: str = "") -> None:
    (folder / "work.py").write_text(before + WORKER.format(handle=handle))


def work(folder: Path, *options: str) -> str:
    """Have a worker handle one message; what it logs."""
    with closing(Client(f"sqlite:///{folder / 'work.db'}")) as client:
        client.enqueue({"type": "greet", "payload": "Grüße"})
    worked = run("letsgo-queue", "worker", "work", "--burst", *options, cwd=folder)
    assert worked.returncode == 0, worked.stderr
    assert worked.stdout == ""
    return worked.stderr


def lines_in(log: str) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_text_by_default(project: Path) -> None:
    first, last = work(project).splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:,]+ INFO worker starts on sqlite.*", first)
    assert last.endswith(" INFO worker stopped")


def test_json(project: Path) -> None:
    write_worker(project, handle="raise Reject('it says\\nno')")

    lines = lines_in(work(project, "--log-format", "json"))

    assert [line["message"] for line in lines][-1] == "worker stopped"
    (failed,) = [line for line in lines if "it says" in line["message"] and "type" in line][:1]
    assert datetime.fromisoformat(failed["time"]).tzinfo is not None
    assert (failed["level"], failed["type"], failed["receive_count"]) == ("ERROR", "greet", 1)
    assert failed["message_id"] in failed["message"]
    assert failed["logger"].startswith("letsgo_queue.")


def test_json_holds_tracebacks(project: Path) -> None:
    write_worker(project, handle="1 / 0")

    (failed,) = [line for line in lines_in(work(project, "--log-format=json")) if "type" in line]

    assert "ZeroDivisionError" in failed["exception"]
    assert 'work.py", line' in failed["exception"]


def test_the_logging_of_the_application_wins(project: Path) -> None:
    write_worker(project, before=OWN_LOGGING, handle="logging.getLogger().debug('hello')")

    lines = work(project).splitlines()

    assert all(line.startswith("mine: ") for line in lines), lines
    assert "mine: DEBUG hello" in lines


def test_that_a_format_is_not_used_is_said(project: Path) -> None:
    write_worker(project, before=OWN_LOGGING)

    first, *rest = work(project, "--log-format", "json").splitlines()

    assert first == (
        "mine: WARNING the application configures logging, so --log-format json changes nothing"
    )
    assert all(line.startswith("mine: ") for line in rest)


def test_the_level_of_the_application_wins(project: Path) -> None:
    write_worker(project, before="import logging; logging.getLogger().setLevel('ERROR')\n")

    assert work(project) == ""


def failed_import(folder: Path, code: str, *, target: str = "work") -> list[str]:
    """Have a worker's module fail; the lines that its user sees."""
    (folder / "work.py").write_text(code)
    tried: subprocess.CompletedProcess[str] = run("letsgo-queue", "worker", target, cwd=folder)
    assert (tried.returncode, tried.stdout) == (1, "")
    return tried.stderr.splitlines()


def test_a_module_that_fails_shows_its_own_traceback(project: Path) -> None:
    lines = failed_import(project, "def make():\n    return {}['queue']\n\nworker = make()\n")

    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{project}/work.py", line 4, in <module>'
    assert f'  File "{project}/work.py", line 2, in make' in lines
    assert lines[-2] == "KeyError: 'queue'"
    assert lines[-1] == "error: 'work': its module cannot be imported, see above: KeyError."
    assert not any("importlib" in line or "/cli/" in line for line in lines)


def test_an_error_of_ours_in_a_module_shows_where(project: Path) -> None:
    code = "from letsgo_queue import Worker\n\nworker = Worker(concurrency=0)\n"

    lines = failed_import(project, code)

    (only,) = lines
    assert only.startswith("error: 'work', work.py:3: concurrency=0")


def test_a_module_that_is_no_python_shows_where(project: Path) -> None:
    lines = failed_import(project, "worker = (\n")

    assert f'  File "{project}/work.py", line 1' in lines
    assert lines[-2].startswith("SyntaxError: ")


def test_a_module_that_lacks_a_part_of_its_own_package(project: Path) -> None:
    (project / "shop").mkdir()
    (project / "shop" / "__init__.py").write_text("")
    (project / "shop" / "jobs.py").write_text("import shop.missing\n")

    lines = failed_import(project, "", target="shop.jobs")

    assert lines[1] == f'  File "{project}/shop/jobs.py", line 1, in <module>'
    assert lines[-2] == "ModuleNotFoundError: No module named 'shop.missing'"
