"""docs/how-to/letsgo.md: its worker, its image, and what it says of LetsGo's resources."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import QueueSettings
from letsgo_queue.admin import open_admin
from tests.docs.support import ROOT, Reader, address_in, write_blocks
from tests.letsgo_queue.aws_lambda.lambda_events import SCHEDULED, event_of
from tests.letsgo_queue.test_letsgo_messages import CONTACT, NEW, STRIPE
from tests.support.waiting import wait_for

PAGE = "docs/how-to/letsgo.md"

UNKNOWN = {"type": "order:new", "payload": {}}

INVOKE = """
import json, sys
from letsgo_worker import handler

class Context:
    def get_remaining_time_in_millis(self): return 60_000

for event in json.load(open("events.json")):
    print(json.dumps(handler(event, Context())))
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    names = write_blocks(PAGE, tmp_path)
    assert names == {"letsgo_worker.py", "send_contact.py"}
    return Reader(tmp_path)


def test_the_worker_on_lambda(reader: Reader) -> None:
    bodies = [json.dumps(each) for each in (CONTACT, NEW, STRIPE, UNKNOWN)]
    # One at a time, as two threads may share a line.
    events: list[dict[str, Any]] = [*map(event_of, bodies), SCHEDULED]
    (reader.folder / "events.json").write_text(json.dumps(events))
    (reader.folder / "invoke.py").write_text(INVOKE)

    said = reader.type("python invoke.py").splitlines()

    handled = '{"batchItemFailures": []}'
    assert said == [
        *("a message from Ada", handled),
        *("a new tenant: Ada's", handled),
        *("paid: 4200 TEST", handled),
        handled,
        *(f"the schedule of {SCHEDULED['time']}", "null"),
    ]


def test_the_worker_on_a_laptop(reader: Reader) -> None:
    reader.settings["PORT"] = "0"
    with reader.leave_running("python -u letsgo_worker.py") as log:
        address = address_in(log)
        with urllib.request.urlopen(
            urllib.request.Request(
                f"{address}/", json.dumps(event_of(json.dumps(CONTACT))).encode(), method="POST"
            ),
            timeout=20,
        ) as answer:
            assert answer.status == 201
        wait_for(lambda: "a message from Ada" in log.read_text(), "the message to be handled")


def test_sending(reader: Reader) -> None:
    reader.settings["LETSGO_QUEUE_URL"] = "sqlite:///work.db"
    reader.type("python send_contact.py")

    admin = open_admin(f"sqlite:///{reader.folder}/work.db", QueueSettings())
    assert admin.status().waiting == 1
    admin.close()


def test_the_image_has_the_file_and_the_function_that_the_page_has(reader: Reader) -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (dockerfile,) = re.findall(r"```dockerfile\n(.*?)```", text, re.DOTALL)

    (command,) = re.findall(r'^CMD \[ "(\w+)\.(\w+)" \]$', dockerfile, re.MULTILINE)
    module, function = command

    assert f"COPY apps/worker/{module}.py ${{LAMBDA_TASK_ROOT}}" in dockerfile
    assert f"\n{function} = worker.lambda_handler\n" in (reader.folder / f"{module}.py").read_text(
        encoding="utf-8"
    )
