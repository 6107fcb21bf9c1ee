"""docs/how-to/lambda.md: its functions, called as Lambda calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimCheck
from claimcheck.stores.sqlite import SqliteClaimStore
from tests.claimcheck.lambda_claims import Claims, event_of, failed, record_of
from tests.claimcheck.support import forge, message_body
from tests.docs.support import write_blocks
from tests.letsgo_queue.aws_lambda.lambda_events import SCHEDULED

FUNCTIONS = {"handler.py", "each_record.py", "with_powertools.py", "with_a_model.py"}

WORKER = "worker_on_lambda.py"

CALL = """
import importlib, json, sys

class Context:
    def get_remaining_time_in_millis(self):
        return 30_000

answer = importlib.import_module(sys.argv[1]).handler(json.load(sys.stdin), Context())
print(json.dumps(answer))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the page's files in it; every one is run here."""
    assert write_blocks("docs/how-to/lambda.md", tmp_path) == {*FUNCTIONS, WORKER}
    return tmp_path


@pytest.fixture
def claims(project: Path) -> Iterator[Claims]:
    store = SqliteClaimStore(str(project / "claims.db"))
    yield Claims(store)
    store.close()


def call(file: str, event: Mapping[str, Any], folder: Path) -> tuple[list[str], object]:
    """Call the file's function; what it prints, and its answer."""
    done = subprocess.run(
        [sys.executable, "-c", CALL, file.removesuffix(".py")],
        cwd=folder,
        env={**os.environ, "CLAIMCHECK_STORE": "sqlite:///claims.db"},
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, answer = done.stdout.splitlines()
    return lines, json.loads(answer)


@pytest.mark.parametrize("file", sorted(FUNCTIONS))
def test_a_batch(file: str, project: Path, claims: Claims) -> None:
    good, damaged, done = (claims.sealed(seed) for seed in range(3))
    claims.finish(done)
    event = event_of(
        record_of(good, "good"),
        record_of(forge(damaged, size=2_999), "damaged"),
        record_of(done, "done"),
        record_of(message_body("order:new", "small"), "small"),
        record_of('{"type":"order:new"}', "no payload"),
    )

    lines, answer = call(file, event, project)

    size = len(json.loads(claims.originals[good])["payload"])
    handled = [line for line in lines if line.startswith("order:new")]
    assert handled == [f"order:new {size}", "order:new 5"]
    assert isinstance(answer, dict)
    ids = sorted(item["itemIdentifier"] for item in answer["batchItemFailures"])
    assert answer.keys() == failed().keys()
    assert ids == ["damaged", "no payload"]
    assert claims.states([good, damaged]) == ["gone", "back"]


def test_the_worker(project: Path, claims: Claims) -> None:
    large = message_body("order:new", {"customer": "large", "text": "x" * 300_000})
    event = event_of(
        record_of(ClaimCheck(claims.store).seal(large).body.decode(), "large"),
        record_of(message_body("order:new", {"customer": 1}), "unfit"),
    )

    lines, answer = call(WORKER, event, project)

    assert lines == ["order of large"]
    assert answer == failed("unfit")


def test_a_schedule(project: Path) -> None:
    lines, answer = call(WORKER, SCHEDULED, project)

    assert lines == ["the report of 2015-10-08T16:53:06Z"]
    assert answer is None
