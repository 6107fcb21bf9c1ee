from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from claimcheck import ClaimCheckSettings, SettingsInvalid
from claimcheck.default import claim_check_for
from tests.claimcheck.support import noisy_body, rows_of

if TYPE_CHECKING:
    from claimcheck.stores.dynamodb import DynamoDBClaimStore

SQS = "https://sqs.us-west-2.amazonaws.com/123456789012/letsgo-main"


def test_claims_of_a_sqlite_queue_are_in_its_file(tmp_path: Path) -> None:
    check = claim_check_for(f"sqlite:///{tmp_path}/work.db?visibility_timeout=5")

    sealed = check.seal(noisy_body(600_000), queue_limit=lambda: 1_000)

    assert sealed.route == "stored"
    assert [path.name for path in tmp_path.glob("*.db")] == ["work.db"]
    assert rows_of(check.store, sealed.body) == 1 + sealed.parts


def test_both_ends_of_a_queue_share_one_store(tmp_path: Path) -> None:
    queue = f"sqlite:///{tmp_path}/work.db"

    with ThreadPoolExecutor(8) as pool:
        stores = {id(check.store) for check in pool.map(claim_check_for, [queue] * 8)}

    assert len(stores) == 1


def test_settings_in_code_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "10")
    monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/environment.db")
    queue = f"sqlite:///{tmp_path}/work.db"

    from_environment = claim_check_for(queue)
    in_code = claim_check_for(queue, ClaimCheckSettings())

    assert from_environment.store.url.endswith("environment.db")
    assert from_environment.seal("x" * 11).route == "compressed"
    assert in_code.store.url.endswith("work.db")
    assert in_code.seal("x" * 11).route == "inline"


@pytest.mark.parametrize(
    ("queue", "region"),
    [
        # Both ends know the queue's URL: its region is where they meet.
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/orders", "eu-west-1"),
        ("http://127.0.0.1:4566/000000000000/orders", "eu-north-1"),
    ],
)
def test_claims_of_an_sqs_queue_are_in_dynamodb(
    monkeypatch: pytest.MonkeyPatch, queue: str, region: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-north-1")

    store = cast("DynamoDBClaimStore", claim_check_for(queue).store)  # once it is used

    assert (store.table, store.region) == ("letsgo-claims", region)


def test_a_store_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "s3://bucket")

    with pytest.raises(SettingsInvalid, match="claim store 's3://bucket': expected dynamodb"):
        claim_check_for(SQS)


A_SMALL_MESSAGE_IN_LAMBDA = """
import claimcheck, letsgo_queue

worker = letsgo_queue.Worker()

@worker.handler("order:new")
@claimcheck.unwrap_claim_check
def handle(message: letsgo_queue.Message[int]) -> None: ...

record = {"messageId": "m", "receiptHandle": "r", "body": '{"type":"order:new","payload":1}',
          "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue"}
assert worker.lambda_handler({"Records": [record]}, None) == {"batchItemFailures": []}
"""


@pytest.mark.parametrize(
    "statement",
    [
        A_SMALL_MESSAGE_IN_LAMBDA,
        "from claimcheck import *",
        "import claimcheck; claimcheck.install()",
        "import claimcheck; claimcheck.open_store('memory://')",
        "import claimcheck; claimcheck.enqueue({'type': 'x', 'payload': 1}, queue='memory://')",
    ],
)
def test_nothing_of_aws_is_loaded_before_it_is_used(statement: str) -> None:
    program = f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"

    loaded = json.loads(subprocess.check_output([sys.executable, "-c", program]))

    assert "claimcheck.enqueue" in loaded
    assert not {"boto3", "botocore", "pynamodb"} & set(loaded)
