"""The commands read and print UTF-8, whatever the locale says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from letsgo_queue import Client
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports import open_transport
from tests.letsgo_queue.support import outgoing, receive, receive_one
from tests.support.command import run

TEXT = "Zürich 世界 🎈"
BODY = json.dumps({"type": "größe", "payload": TEXT}, ensure_ascii=False)

WESTERN = {"PYTHONIOENCODING": "cp1252:strict"}
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.fixture(params=[WESTERN, ASCII], ids=["cp1252", "ASCII"])
def locale(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def url(locale: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'work.db'}?max_receive_count=1"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    return url


@pytest.mark.parametrize("source", ["-", "@Zürich.json", json.dumps(TEXT, ensure_ascii=False)])
def test_what_is_enqueued_is_read_as_utf8(url: str, tmp_path: Path, source: str) -> None:
    payload = json.dumps(TEXT, ensure_ascii=False)
    (tmp_path / "Zürich.json").write_text(payload, encoding="utf-8")

    sent = run(
        *("letsgo-queue", "enqueue", "--type", "größe", "--attribute", f"city={TEXT}"),
        *("--payload", source),
        cwd=tmp_path,
        stdin=payload,
    )

    assert (sent.returncode, sent.stderr) == (0, "")
    message = receive_one(open_transport(url, QueueSettings()))
    assert json.loads(message.body) == {"type": "größe", "payload": TEXT}
    assert message.attributes["city"].value == TEXT


def test_what_is_no_utf8_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_bytes('"Zürich"'.encode("cp1252"))

    sent = run("letsgo-queue", "enqueue", "--type", "a", "--payload", "@payload.json", cwd=tmp_path)

    assert (sent.returncode, sent.stdout) == (1, "")
    assert sent.stderr.startswith("error: the payload is not JSON in UTF-8.")
    assert sent.stderr.count("\n") == 1


def test_dead_letters_are_printed_as_utf8(url: str, tmp_path: Path) -> None:
    transport = open_transport(url, QueueSettings())
    message_id = transport.send(outgoing(BODY))
    for _ in range(2):  # the second moves it
        receive(transport, visibility_timeout=0)

    shown = run("letsgo-queue", "dead-letter", "show", message_id, "--payload", cwd=tmp_path)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert BODY in shown.stdout


def test_a_body_is_explained_in_utf8(url: str, tmp_path: Path) -> None:
    shown = run("claimcheck", "show", cwd=tmp_path, stdin=BODY)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "größe" in shown.stdout
    assert f"{len(BODY.encode()):,} bytes" in shown.stdout


def test_a_worker_prints_and_logs_in_utf8(url: str, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "from letsgo_queue import Worker\n"
        "worker = Worker()\n"
        "@worker.default\n"
        "def show(message: dict) -> None:\n"
        "    print(message['payload'])\n"
        "    raise ValueError\n",
        encoding="utf-8",
    )
    Client(url).enqueue(json.loads(BODY))

    worked = run("letsgo-queue", "worker", "work", "--burst", cwd=tmp_path)

    assert TEXT in worked.stdout
    assert "größe" in worked.stderr
