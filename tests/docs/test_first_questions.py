"""The pages for one question each: FastAPI, logging, many queues, moving over, troubleshooting."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import claimcheck
import letsgo_queue
from tests.docs.support import ROOT, Reader, commands, write_blocks

HOW_TO = "docs/how-to"


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")


POST = """
from app import app
from fastapi.testclient import TestClient

with TestClient(app) as client:
    print(client.post({path!r}, content="a\\n" * 5).text)
    print(client.post("/tables/x", content=b"\\xff").status_code)
"""


ASK = """
from fastapi.testclient import TestClient
from jobs import app, worker

client = TestClient(app)
answer = client.post("/counts", content="a,b\\n" * 900_000)
print(answer.status_code, client.get(answer.headers["Location"]).status_code)
worker.run(burst=True)
counted = client.get(answer.headers["Location"])
print(counted.status_code, counted.json())
"""


def test_fastapi(reader: Reader) -> None:
    names = write_blocks(f"{HOW_TO}/fastapi.md", reader.folder)
    assert names == {"tables.py", "app.py", "work.py", "test_app.py", "jobs.py"}
    reader.type("python -m pytest -q -p no:cacheprovider test_app.py")

    # The settings of the page are those of the app and of the worker.
    export, app, work, curl = commands(f"{HOW_TO}/fastapi.md")
    assert export == "export LETSGO_QUEUE_URL=sqlite:///work.db"
    path = curl.partition("localhost:8000")[2]
    (reader.folder / "post.py").write_text(POST.format(path=path))
    posted, refused = reader.type("python post.py").splitlines()
    assert '"route":"inline"' in posted
    assert refused == "422"
    assert app.startswith("uvicorn app:app")
    assert reader.type(f"{work} --burst") == "prices has 5 rows\n"
    (reader.folder / "ask.py").write_text(ASK)
    assert reader.type("python ask.py").splitlines() == ["202 404", "200 900000"]
    reader.settings["LETSGO_QUEUE_URL"] = "http://127.0.0.1:1"  # nobody listens there
    posted, refused = reader.type("python post.py").splitlines()
    assert posted == '{"detail":"SendFailed"}'
    assert "was not sent: nothing answers at http://127.0.0.1:1" in reader.log_of("python post.py")


def test_logging(reader: Reader) -> None:
    write_blocks(f"{HOW_TO}/logging.md", reader.folder)
    with_json, _, enqueue, work = commands(f"{HOW_TO}/logging.md")
    message_id = reader.type(enqueue).strip()

    told = reader.log_of(work)

    assert f"INFO [order:new {message_id}] an order of Ada\n" in told
    assert "INFO [-] worker starts" in told

    # The command logs by itself only where the module configures nothing.
    assert "changes nothing" in reader.log_of(with_json.replace("shop", "logged"))
    (reader.folder / "shop.py").write_text("from letsgo_queue import Worker\nworker = Worker()\n")
    first, *_ = reader.log_of(with_json).splitlines()
    assert json.loads(first)["message"].startswith("worker starts")


def test_a_log_without_texts_of_exceptions(reader: Reader) -> None:
    write_blocks(f"{HOW_TO}/logging.md", reader.folder)
    reader.type("letsgo-queue enqueue --type price:ask --payload '\"Ada\"'")

    told = reader.log_of("letsgo-queue worker discreet:worker --burst")

    assert 'in on_price\n    print(prices[message["payload"]])\n' in told
    assert "\nKeyError\n" in told
    assert "Ada" not in told


def test_many_queues(reader: Reader) -> None:
    names = write_blocks(f"{HOW_TO}/many-queues.md", reader.folder)
    assert names == {"send_mail.py", "queues.py", "workers.py"}
    (work,) = commands(f"{HOW_TO}/many-queues.md")

    reader.type("python send_mail.py")
    told = "from queues import orders; orders.enqueue({'type': 'order:new', 'payload': 'Grace'})"
    reader.type(f'python -c "{told}"')
    printed = reader.type(f"{work} --burst").splitlines()

    assert {"order Grace", "mail to Ada"} <= set(printed)


def test_both_kinds(reader: Reader) -> None:
    assert write_blocks(f"{HOW_TO}/move-over.md", reader.folder) == {"both_kinds.py"}
    sent = (
        "from both_kinds import *; from claimcheck import enqueue; "
        "enqueue(OrderByKey(payload=ByKey(key='k-1'))); enqueue(OrderNew(payload='new ' * 99_999))"
    )
    reader.type(f'python -c "{sent}"')

    printed = reader.type("letsgo-queue worker both_kinds:worker --burst").splitlines()

    assert sorted(printed) == ["worked on an order of before", "worked on new new new new ne"]


# troubleshooting


def texts() -> Iterator[str]:
    """The text of everything that our modules raise, with `...` for what differs."""
    for package in (letsgo_queue, claimcheck):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.JoinedStr():
                        yield "".join(
                            str(part.value) if isinstance(part, ast.Constant) else "..."
                            for part in node.values
                        )
                    case ast.Constant(value=str() as text):
                        yield text


def test_every_text_of_troubleshooting_is_one_of_ours() -> None:
    page = (ROOT / HOW_TO / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    ours = " ".join("\n".join(texts()).split())

    assert len(quoted) > 40
    assert [text for text in quoted if text not in ours] == []
