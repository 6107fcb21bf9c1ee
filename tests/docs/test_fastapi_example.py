"""The FastAPI example: orders posted to the app are handled by the worker, on each queue."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import default_client, set_default_client
from tests.docs.pytest_runs import passed_tests
from tests.docs.support import ROOT
from tests.support.quick_python import quick_python
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

COMMAND = ["-m", "letsgo_queue.cli.app", "worker", "worker:worker"]

SMALL = {"order_id": "small", "lines": [{"sku": "A-1"}]}
LARGE = {
    "order_id": "large",
    "lines": [
        {"sku": f"A-{n}", "note": hashlib.sha512(str(n).encode()).hexdigest()}
        for n in range(20_000)
    ],
}
HANDLED = ["order large has 20000 lines", "order small has 1 lines"]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example, copied, so that nothing is written into it."""
    folder = tmp_path / "fastapi_app"
    shutil.copytree(ROOT / "docs/examples/fastapi_app", folder)
    return folder


@pytest.fixture
def app(example: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    monkeypatch.syspath_prepend(example)
    set_default_client(None)
    app: FastAPI = importlib.import_module("app").app
    yield app
    default_client().close()
    set_default_client(None)
    for name in ("app", "orders"):
        del sys.modules[name]


def post(app: FastAPI, *orders: Mapping[str, Any]) -> list[httpx.Response]:
    async def post_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return [await client.post("/orders", json=order) for order in orders]

    return asyncio.run(post_all())


def check_posting(app: FastAPI) -> None:
    answers = post(app, SMALL, LARGE)

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["route"] for answer in answers] == ["inline", "stored"]
    assert all(answer.json()["message_id"] for answer in answers)


def work_in_burst(example: Path) -> list[str]:
    worked = subprocess.run(
        [*quick_python(), *COMMAND, "--burst"],
        cwd=example,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(worked.stdout.splitlines())


def test_on_sqlite(
    app: FastAPI, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path}/work.db")

    check_posting(app)

    assert work_in_burst(example) == HANDLED


def test_on_sqs(
    app: FastAPI, example: Path, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    monkeypatch.setenv("LETSGO_QUEUE_URL", ministack.make_queue())

    check_posting(app)

    assert work_in_burst(example) == HANDLED


def test_in_local_mode(
    app: FastAPI, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    output = tmp_path / "worker.log"
    with (
        output.open("wb") as log,
        subprocess.Popen(
            [*quick_python(), *COMMAND, "--local", "--port", "0"],
            cwd=example,
            env=os.environ,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as worker,
    ):
        try:
            url = wait_for(
                lambda: re.findall(r"worker running on (http://\S+)\n", output.read_text()),
                "the worker",
            )
            monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", url[0])
            check_posting(app)
            wait_for(
                lambda: (
                    sorted(re.findall(r"^order .*$", output.read_text(), re.MULTILINE)) == HANDLED
                ),
                "the orders",
            )
        finally:
            worker.terminate()


def test_its_own_tests(example: Path) -> None:
    assert passed_tests(example) == 3
