"""The size audit's page in the console."""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from claimcheck import ClaimCheck, ClaimCheckMiddleware, open_store
from claimcheck.console.audit import weigh
from claimcheck.errors import AuditInvalid
from letsgo_queue import Client
from letsgo_queue.admin import open_admin
from letsgo_queue.admin.watch import open_watch
from letsgo_queue.console.extension import ConsoleOptions
from letsgo_queue.console.site import make_site
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.audit.reports import report_of
from tests.claimcheck.support import noise
from tests.letsgo_queue.console.support import signed_in
from tests.support.servers import AwsServer


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


def test_without_a_report_messages_that_wait_are_weighed(tmp_path: Path) -> None:
    url, store = f"sqlite:///{tmp_path}/work.db", f"sqlite:///{tmp_path}/claims.db"
    payloads = {"small": "x", "compressed": "x" * 400_000, "stored": noise(2_200_000)}
    check = ClaimCheck(store=open_store(store))
    with closing(Client(url, middleware=[ClaimCheckMiddleware(check)])) as client:
        sent = {
            type: client.enqueue({"type": type, "payload": payload}, attributes={"a": "b"})
            for type, payload in payloads.items()
        }
    with closing(open_watch(url, QueueSettings())) as watch:
        report = weigh(watch, 1_000)

    assert {each.type: (each.size.largest, dict(each.routes)) for each in report.types} == {
        type: (each.size, {each.route: 1}) for type, each in sent.items()
    }
    (stored,) = (each for each in report.types if each.type == "stored")
    assert stored.sealed_to_bytes == sent["stored"].stored_size
    with signed_in(ConsoleOptions(queues=[url], store=store)) as console:
        first = console.get("/audit").text
        assert "Weigh up to 1,000 messages" in first
        shown = console.get("/audit/0")
        assert all(type in shown.text for type in payloads)
        assert "rarely among them" in shown.text
        assert "script-src 'sha256-" in shown.headers["content-security-policy"]
        assert console.get("/audit/1").status_code == 404


def test_many_are_weighed_page_by_page(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    with closing(Client(url)) as client:
        client.enqueue_many([{"type": "any"}] * 130)
    with closing(open_watch(url, QueueSettings())) as watch:
        assert [each.messages for each in weigh(watch, 120).types] == [120]
        assert [each.messages for each in weigh(watch, 1_000).types] == [130]


def test_nothing_waits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    with closing(Client(url)) as client:
        client.enqueue({"type": "any"})
    with closing(open_admin(url, QueueSettings())) as admin:
        admin.purge()
    with signed_in(ConsoleOptions(queues=[url], store="memory://")) as console:
        assert f"No message waits on {url}" in console.get("/audit/0").text


def test_on_sqs_messages_are_weighed_on_request(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letsgo_queue.admin.sqs_watch.WAIT_SECONDS", 0)
    url = ministack.make_queue()
    with closing(Client(url)) as client:
        client.enqueue({"type": "order:new"})
    with signed_in(ConsoleOptions(queues=[url], store="memory://", read_only=True)) as console:
        assert "counts as a receive" in console.get("/audit").text
        assert console.post("/audit/0").status_code == 403
        assert console.get("/audit/0").url.path == "/audit"
    with signed_in(ConsoleOptions(queues=[url], store="memory://")) as console:
        assert "Receive up to 100 messages" in console.get("/audit").text
        assert "order:new" in console.post("/audit/0").text
        assert "The last report" in console.get("/audit").text


def test_a_file_that_is_no_report_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(AuditInvalid, match="No such file"):
        open_console(tmp_path / "none.json")
