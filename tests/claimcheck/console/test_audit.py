"""The size audit's page in the console."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from claimcheck.errors import AuditInvalid
from letsgo_queue.console.extension import ConsoleOptions
from letsgo_queue.console.site import make_site
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.audit.reports import report_of


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "audit.json"
    report_of({"order:new": [900_000, 500], "<script>alert(1)</script>": [700]}).save(path)
    return path


def open_console(report: Path | None) -> TestClient:
    site = make_site(
        ConsoleOptions(queues=[f"sqlite:///{Path(__file__).parent}/none.db"], audit=report),
        QueueSettings(),
        token="a-token",
        hosts=["testserver"],
    )
    console = TestClient(site)  # whose lifespan is not begun: nobody looks at the queue
    console.cookies.set("letsgo_console_testserver", "a-token")
    return console


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_only_the_pages_own_style_and_script_may_run(report: Path) -> None:
    answer = open_console(report).get("/audit")

    policy = {
        name: values
        for name, *values in map(str.split, answer.headers["content-security-policy"].split(";"))
    }
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    (script,) = re.findall("<script>(.*?)</script>", answer.text, re.DOTALL)
    assert policy == {
        "default-src": ["'none'"],
        "style-src": [hash_of(style)],
        "script-src": [hash_of(script)],
        "img-src": ["'self'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
    assert answer.headers["cache-control"] == "no-store"
    assert '<a href="/">Console</a>' in answer.text


def test_the_report_is_read_each_time(report: Path) -> None:
    console = open_console(report)
    assert "order:new" in console.get("/audit").text

    report_of({"mail:send": [500]}).save(report)
    assert "mail:send" in console.get("/audit").text

    report.write_text("no report")
    answer = console.get("/audit")
    assert answer.status_code == 502
    assert "is no audit report" in answer.text


def test_without_a_report_there_is_no_section(report: Path) -> None:
    console = open_console(None)

    assert console.get("/audit").status_code == 404
    assert "Audit" not in console.get("/audit").text
    assert '<a href="/audit">Audit</a>' in open_console(report).get("/none").text


def test_a_file_that_is_no_report_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(AuditInvalid, match="No such file"):
        open_console(tmp_path / "none.json")
