"""docs/how-to/dramatiq.md and taskiq.md: their lines, with the packages that they name.

Type checkers do not see them: these packages have no types, or not everywhere.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import dramatiq
import pytest

from tests.claimcheck.support import ticket_in
from tests.docs.support import ROOT
from tests.support.servers import AwsServer


def names_on(page: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    module = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", module)
    for code in re.findall(r"```py\n(.*?)```", text, re.DOTALL):
        exec(code, module.__dict__)
    return module.__dict__


@pytest.mark.usefixtures("ministack")
def test_dramatiq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dramatiq.broker, "global_broker", None)
    names = names_on("dramatiq.md", monkeypatch)
    assert names["resize"].broker is names["broker"]
    names["resize"]("large")
    assert capsys.readouterr().out == "5\n"


def test_taskiq(ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/claims.db")
    sqs = boto3.client("sqs")
    queue = sqs.create_queue(QueueName="tasks")["QueueUrl"]
    names = names_on("taskiq.md", monkeypatch)
    assert names["broker"].find_task("shop:resize") is not None

    asyncio.run(names["send"]())

    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert ticket_in(message["Body"])["size"] > 3_000_000
    sqs.delete_queue(QueueUrl=queue)
    sqs.close()
