"""Settings of the claim check, and the claim check that they describe."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimCheckSettings,
    SettingsInvalid,
    enqueue,
    open_store,
    unwrap_claim_check,
)
from claimcheck.settings import DEFAULT_STORE, claim_check_for
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from letsgo_queue import Client, Worker
from tests.claimcheck.support import noisy_body, parts_left
from tests.letsgo_queue.support import receive
from tests.support.servers import AwsServer

SQS = "https://sqs.us-west-2.amazonaws.com/123456789012/letsgo-main"


def test_defaults() -> None:
    settings = ClaimCheckSettings.from_environment({})

    assert settings == ClaimCheckSettings(
        store=None,
        threshold=250_000,
        inline_limit=None,
        max_size=64 * 1024 * 1024,
        purge="after",
        lease_seconds=120,
    )


def test_every_setting_comes_from_the_environment() -> None:
    settings = ClaimCheckSettings.from_environment(
        {
            "CLAIMCHECK_STORE": "dynamodb://claims",
            "CLAIMCHECK_THRESHOLD": "1000",
            "CLAIMCHECK_INLINE_LIMIT": "262144",
            "CLAIMCHECK_MAX_SIZE": "5000000",
            "CLAIMCHECK_PURGE": "before",
            "CLAIMCHECK_LEASE_SECONDS": "0.5",
            "CLAIMCHECK_SOMETHING_ELSE": "ignored",
        }
    )

    assert settings == ClaimCheckSettings(
        store="dynamodb://claims",
        threshold=1_000,
        inline_limit=262_144,
        max_size=5_000_000,
        purge="before",
        lease_seconds=0.5,
    )


def test_the_environment_is_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "77")

    assert ClaimCheckSettings.from_environment().threshold == 77


def test_an_empty_variable_counts_as_unset() -> None:
    empty = dict.fromkeys(["CLAIMCHECK_STORE", "CLAIMCHECK_PURGE", "CLAIMCHECK_MAX_SIZE"], "")

    assert ClaimCheckSettings.from_environment(empty) == ClaimCheckSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLAIMCHECK_THRESHOLD", "0"),
        ("CLAIMCHECK_THRESHOLD", "-1"),
        ("CLAIMCHECK_THRESHOLD", "250KB"),
        ("CLAIMCHECK_INLINE_LIMIT", "0"),
        ("CLAIMCHECK_MAX_SIZE", "1.5"),
        ("CLAIMCHECK_PURGE", "sometimes"),
        ("CLAIMCHECK_LEASE_SECONDS", "0"),
        ("CLAIMCHECK_LEASE_SECONDS", "inf"),
        ("CLAIMCHECK_LEASE_SECONDS", "nan"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"^{name}='{value}': "):
        ClaimCheckSettings.from_environment({name: value})


def test_all_bad_values_are_told_at_once() -> None:
    with pytest.raises(SettingsInvalid, match=r"CLAIMCHECK_THRESHOLD='x'.*CLAIMCHECK_PURGE='y'"):
        ClaimCheckSettings.from_environment({"CLAIMCHECK_THRESHOLD": "x", "CLAIMCHECK_PURGE": "y"})


@pytest.mark.parametrize(
    ("queue", "store"),
    [
        (SQS, DEFAULT_STORE),
        ("http://127.0.0.1:4566/000000000000/letsgo-main", DEFAULT_STORE),
        ("sqlite:///work.db", "sqlite:///work.db"),
        ("sqlite:////var/work.db?visibility_timeout=60", "sqlite:////var/work.db"),
        ("memory://", "memory://"),
    ],
)
def test_a_store_goes_with_the_queue(queue: str, store: str) -> None:
    assert ClaimCheckSettings().store_for(queue) == store


@pytest.mark.parametrize("queue", [SQS, "sqlite:///work.db", "memory://", "http://localhost:3002"])
def test_a_store_that_is_set_wins(queue: str) -> None:
    assert ClaimCheckSettings(store="dynamodb://mine").store_for(queue) == "dynamodb://mine"


@pytest.mark.parametrize(
    "queue",
    [
        SQS,
        "http://127.0.0.1:4566/000000000000/orders",
        "arn:aws:sns:us-west-2:123456789012:orders",
    ],
)
@pytest.mark.parametrize(
    "chosen", [{"store": "memory://"}, {"stores": {"video:*": "memory://videos"}}]
)
def test_messages_that_leave_the_process_need_a_store_outside(queue: str, chosen: Any) -> None:
    settings = ClaimCheckSettings(**chosen)

    with pytest.raises(
        SettingsInvalid, match=r"'memory://.*' is in the memory of this process"
    ) as refused:
        claim_check_for(queue, settings)

    assert "ClaimCheck(open_store('memory://')), and give it to both" in str(refused.value)


def test_a_test_on_sqs_gives_both_sides_one_claim_check_with_a_store_in_memory(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way out that the refusal above names."""
    queue = ministack.make_queue()
    monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")
    check = ClaimCheck(open_store("memory://"))
    client = Client(queue, middleware=[ClaimCheckMiddleware(check)])
    worker, seen = Worker(queue, client=client), list[object]()

    @worker.handler("order:new")
    @unwrap_claim_check(claim_check=check)
    def on_order(message: dict[str, object]) -> None:
        seen.append(message["payload"])

    client.enqueue({"type": "order:new", "payload": "x" * 3_000_000})
    worker.run(burst=True)

    assert seen == ["x" * 3_000_000]


def test_a_store_in_memory_goes_with_a_queue_in_memory() -> None:
    assert claim_check_for("memory://orders", ClaimCheckSettings()).store.url == "memory://"


def test_nothing_is_sent_if_its_contents_would_be_lost(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = ministack.make_queue()
    monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")

    with pytest.raises(SettingsInvalid, match="CLAIMCHECK_STORE"):
        enqueue({"type": "order:new", "payload": "x" * 3_000_000}, queue=queue)

    assert receive(Client(queue).transport()) == []


def test_claims_of_a_sqlite_queue_are_in_its_file(tmp_path: Path) -> None:
    check = claim_check_for(f"sqlite:///{tmp_path}/work.db?visibility_timeout=5")

    sealed = check.seal(noisy_body(600_000), queue_limit=lambda: 1_000)

    assert sealed.route == "stored"
    assert [path.name for path in tmp_path.glob("*.db")] == ["work.db"]
    assert parts_left(check.store, sealed.body) == sealed.parts
    check.store.close()


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
    assert from_environment.seal("x" * 1_000).route == "compressed"
    assert in_code.store.url.endswith("work.db")
    assert in_code.seal("x" * 1_000).route == "inline"


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

    store = claim_check_for(queue).store

    assert isinstance(store, DynamoDBClaimStore)
    assert (store.table, store.region) == ("letsgo-claims", region)


def test_a_store_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "redis://box")

    with pytest.raises(SettingsInvalid, match="claim store 'redis://box': expected dynamodb"):
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


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("CLAIMCHECK_STORE", "sqlite:x.db", "claim store 'sqlite:x.db': expected dynamodb://TABLE"),
        ("CLAIMCHECK_STORE", "sqlite://x.db", "claim store 'sqlite://x.db': expected dynamodb://T"),
        ("CLAIMCHECK_STORE", "memory:x", "claim store 'memory:x': expected dynamodb://TABLE"),
        ("CLAIMCHECK_STORE", "http://[", "not a URL"),
        ("CLAIMCHECK_STORE", "dynamodb://t?regio=x", "regio"),
        ("CLAIMCHECK_SIGNING_KEY", "short", "give one or several keys of at least 16 bytes"),
        ("CLAIMCHECK_SIGN_EVERY_MESSAGE", "1", "give a signing_key"),
    ],
)
def test_an_error_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsInvalid, match=re.escape(text)) as error:
        claim_check_for("memory://")

    assert variable in str(error.value)
    assert list(tmp_path.iterdir()) == []
