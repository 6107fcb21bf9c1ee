"""docs/how-to/dead-letters.md, followed from its first command to its last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from letsgo_queue.admin import QueueStatus
from letsgo_queue.admin.sqlite import SqliteAdmin
from letsgo_queue.failure import Failure
from tests.docs.support import ROOT, Reader, commands, write_blocks
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

PAGE = "docs/how-to/dead-letters.md"
CREATE, EXPORT, *REST = commands(PAGE)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks(PAGE, tmp_path) == {"orders.py", "redrive.py"}
    return Reader(tmp_path)


@pytest.fixture
def on_sqlite(reader: Reader) -> Iterator[SqliteAdmin]:
    """The page's own queue, looked after."""
    name, _, value = EXPORT.removeprefix("export ").partition("=")
    reader.settings[name] = value
    with closing(SqliteAdmin(f"sqlite:///{reader.folder}/work.db")) as admin:
        yield admin


@pytest.fixture
def name(ministack: AwsServer) -> Iterator[str]:
    yield "letsgo-orders"
    for url in ministack.sqs().list_queues(QueueNamePrefix="letsgo-orders").get("QueueUrls", []):
        ministack.sqs().delete_queue(QueueUrl=url)


def test_queues_are_made_on_sqs(reader: Reader, name: str) -> None:
    url = reader.type(CREATE).strip()

    assert url.endswith(f"/{name}")
    status = json.loads(reader.type(f"letsgo-queue queue status --json --queue {url}"))
    assert status["dead"] == 0


def test_the_attribute_is_as_it_is_written() -> None:
    _, block = (ROOT / PAGE).read_text(encoding="utf-8").split("```json")
    document = json.loads(block.partition("```")[0])

    written = next(Failure.read(json.dumps(document)).versions())

    assert json.loads(written) == document


@pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
def test_one_letter_is_followed(reader: Reader, on_sqlite: SqliteAdmin) -> None:
    create, enqueue, work, status, alarm, listing, read_id, show, *rest = REST
    payload, explain, by_error, by_age, redrive_one, redrive, dry_run, delete = rest

    assert "sqlite:///work.db" in reader.type(create)
    message_id = reader.type(enqueue).strip()
    with reader.leave_running(work) as log:
        wait_for(lambda: on_sqlite.status() == QueueStatus(0, 0, 0, 1), "the dead letter")
    assert message_id in log.read_text()

    assert "dead       1" in reader.type(status)
    assert json.loads(reader.type(alarm, code=3))["dead"] == 1
    listed = reader.type(listing)
    assert message_id in listed
    assert "failed in delivery 1, max_attempts=1: IndexError" in listed
    assert reader.type(f"{read_id}; echo $ID").strip() == message_id
    reader.settings["ID"] = message_id
    assert "orders.py:8 in on_order" in reader.type(show)
    assert '{"type":"order:new","payload":{"lines":[]}}' in reader.type(payload)
    assert "inline" in reader.type(explain)
    assert message_id in reader.type(by_error)
    assert reader.type(by_age) == ""

    assert "1 dead letter moved" in reader.type(redrive_one)
    assert "0 dead letters moved" in reader.type(redrive)
    assert "0 dead letters of" in reader.type(dry_run)
    assert "0 dead letters of" in reader.type(delete)
    assert on_sqlite.status() == QueueStatus(1, 0, 0, 0)


def test_the_code_redrives(reader: Reader, on_sqlite: SqliteAdmin) -> None:
    _, enqueue, work, *_ = REST
    message_id = reader.type(enqueue).strip()
    with reader.leave_running(work):
        wait_for(lambda: on_sqlite.status().dead == 1, "the dead letter")

    printed = reader.type("python redrive.py")

    expected = "QueueStatus(waiting=1, in_flight=0, delayed=0, dead=0)"
    listed, moved, last = printed.splitlines()
    assert listed.startswith(f"{message_id} 20")
    assert "error='IndexError'" in listed
    assert (moved, last) == (message_id, f"1 {expected}")
