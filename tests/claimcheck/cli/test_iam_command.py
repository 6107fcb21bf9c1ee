"""`claimcheck iam`: whose policy it prints, for what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from claimcheck.cli.app import app
from letsgo_queue import LetsGoError

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
IN_IRELAND = "eu-west-1:123456789012"
KEY = f"arn:aws:kms:{IN_IRELAND}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def statements(role: str, *options: str) -> dict[str, dict[str, Any]]:
    """The statements that are printed, by their names."""
    result = CliRunner().invoke(app, ["iam", "--as", role, *options])
    assert (result.exit_code, result.stderr) == (0, "")
    return {each["Sid"]: each for each in json.loads(result.stdout)["Statement"]}


def resources(role: str, *options: str) -> dict[str, list[str]]:
    return {name: each["Resource"] for name, each in statements(role, *options).items()}


@pytest.mark.parametrize(
    ("store", "items", "objects"),
    [
        ("dynamodb://claims", f"arn:aws:dynamodb:{IN_IRELAND}:table/claims", None),
        (
            "dynamodb://claims?region=us-gov-west-1",
            "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/claims",
            None,
        ),
        (
            "dynamodb://claims?bucket=big-claims&prefix=a",
            f"arn:aws:dynamodb:{IN_IRELAND}:table/claims",
            "arn:aws:s3:::big-claims/a/*",
        ),
        ("s3://big-claims", None, "arn:aws:s3:::big-claims/*"),
        ("s3://big-claims/a/b?region=cn-north-1", None, "arn:aws-cn:s3:::big-claims/a/b/*"),
    ],
)
def test_a_worker_gets_what_the_store_has(
    store: str, items: str | None, objects: str | None
) -> None:
    found = resources("worker", "--queue", QUEUE, "--store", store)

    assert found["Queue"] == [f"arn:aws:sqs:{IN_IRELAND}:orders"]
    assert found["DeadLetterQueue"] == [f"arn:aws:sqs:{IN_IRELAND}:orders-dead-letters"]
    assert found.get("Items") == (None if items is None else [items])
    assert found.get("Objects") == (None if objects is None else [objects])


def test_a_sender_has_no_right_on_the_table_of_a_store_with_a_bucket() -> None:
    bucket = "dynamodb://claims?bucket=big-claims"
    assert list(resources("sender", "--queue", QUEUE, "--store", bucket)) == ["Queue", "Objects"]


def test_the_settings_say_what_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender writes to the stores of some types too; a worker reads from others as well."""
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"{QUEUE}.fifo")
    monkeypatch.setenv("CLAIMCHECK_STORE", "dynamodb://claims")
    monkeypatch.setenv("CLAIMCHECK_STORES", "video:*=s3://videos")
    monkeypatch.setenv("CLAIMCHECK_READ_STORES", "dynamodb://old-claims,s3://old-claims")

    sender, worker = resources("sender"), resources("worker")

    table = f"arn:aws:dynamodb:{IN_IRELAND}:table"
    assert sender["Items"] == [f"{table}/claims"]
    assert sender["Objects"] == ["arn:aws:s3:::videos/*"]
    assert worker["Items"] == [f"{table}/claims", f"{table}/old-claims"]
    assert worker["Bucket"] == ["arn:aws:s3:::videos", "arn:aws:s3:::old-claims"]
    assert worker["DeadLetterQueue"] == [f"arn:aws:sqs:{IN_IRELAND}:orders-dead-letters.fifo"]


def test_in_a_letsgo_deployment_the_items_of_others_are_left_out() -> None:
    found = statements("worker", "--queue", f"{QUEUE[:-6]}letsgo-main-12345")
    assert found["Items"]["Resource"] == [f"arn:aws:dynamodb:{IN_IRELAND}:table/letsgo-main"]
    assert found["Items"]["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["claimcheck/*"]}
    }
    both = ["--store", "letsgo://main", "--store", "dynamodb://claims"]
    names = statements("worker", "--queue", QUEUE, *both)
    assert list(names) == ["Queue", "DeadLetterQueue", "Items3", "Items4"]


def test_a_dead_letter_queue_may_have_a_name_of_its_own() -> None:
    other = QUEUE.replace("orders", "dead")
    found = resources("operator", "--queue", QUEUE, "--dead-letter-queue", other)
    assert found["DeadLetterQueue"] == [f"arn:aws:sqs:{IN_IRELAND}:dead"]
    assert found["MakeQueues"] == [
        f"arn:aws:sqs:{IN_IRELAND}:{name}" for name in ("orders", "dead")
    ]


@pytest.mark.parametrize(
    ("setting", "arns"),
    [
        (f"kms://{KEY}", [KEY]),
        ("kms://1234", [f"arn:aws:kms:{IN_IRELAND}:key/1234"]),
        ("kms://1234?region=us-east-1", ["arn:aws:kms:us-east-1:123456789012:key/1234"]),
        (f"kms://{KEY},kms://1234", [KEY, f"arn:aws:kms:{IN_IRELAND}:key/1234"]),
    ],
)
def test_keys_of_kms(setting: str, arns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first encrypts, all decrypt; each only what this library encrypts."""
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", setting)

    sender, worker = (statements(role, "--queue", QUEUE)["Key"] for role in ("sender", "worker"))

    assert (sender["Action"], worker["Action"]) == (["kms:GenerateDataKey"], ["kms:Decrypt"])
    assert (sender["Resource"], worker["Resource"]) == (arns[:1], arns)
    ours = {"kms:EncryptionContext:application": "letsgo-claimcheck"}
    assert sender["Condition"] == worker["Condition"] == {"StringEquals": ours}
    (other,) = resources("worker", "--queue", QUEUE, "--kms-key", "arn:aws:kms:other")["Key"]
    assert other == "arn:aws:kms:other"


@pytest.mark.parametrize(
    "setting", ["aes256:" + "A" * 43 + "=", "aes256:" + "A" * 43 + f"=,kms://{KEY}"]
)
def test_a_sender_with_a_key_of_its_own_needs_none_of_kms(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", setting)

    assert "Key" not in statements("sender", "--queue", QUEUE)
    assert ("Key" in statements("worker", "--queue", QUEUE)) == ("kms" in setting)


class TestPointersOfAwssClients:
    """Each step of the move from AWS's extended client to this library, and no right more."""

    @pytest.fixture(autouse=True)
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LETSGO_QUEUE_URL", QUEUE)
        monkeypatch.setenv("CLAIMCHECK_STORE", "dynamodb://claims")
        monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS", "big,old")

    def test_a_worker_reads_all_buckets(self) -> None:
        found = statements("worker")
        assert found["AwsPointers"]["Resource"] == ["arn:aws:s3:::big/*", "arn:aws:s3:::old/*"]
        assert found["AwsPointers"]["Action"] == ["s3:GetObject"]
        assert found["Bucket"]["Resource"] == ["arn:aws:s3:::big", "arn:aws:s3:::old"]
        assert "HandledAwsPointers" not in found

    def test_it_removes_objects_where_that_is_asked_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS_REMOVE", "true")
        found = statements("worker")["HandledAwsPointers"]
        assert found["Action"] == ["s3:DeleteObject"]
        assert found["Resource"] == ["arn:aws:s3:::big/*", "arn:aws:s3:::old/*"]

    def test_a_sender_of_pointers_writes_to_the_first_bucket_and_to_no_store(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert list(resources("sender")) == ["Queue", "Items"]
        monkeypatch.setenv("CLAIMCHECK_WRITE", "aws-pointer")
        assert resources("sender") == {
            "Queue": [f"arn:aws:sqs:{IN_IRELAND}:orders"],
            "AwsPointers": ["arn:aws:s3:::big/*"],
        }

    def test_an_operator_needs_none_of_them(self) -> None:
        assert not {"AwsPointers", "HandledAwsPointers"} & resources("operator").keys()


def test_an_alias_is_no_arn_of_a_key() -> None:
    found = statements("worker", "--queue", QUEUE, "--kms-key", "alias/claims")["Key"]
    assert found["Resource"] == [f"arn:aws:kms:{IN_IRELAND}:key/*"]
    assert found["Condition"]["ForAnyValue:StringEquals"] == {"kms:ResourceAliases": "alias/claims"}


def test_what_is_not_on_aws_needs_no_policy(tmp_path: Path) -> None:
    local = f"sqlite:///{tmp_path}/work.db"

    result = CliRunner().invoke(app, ["iam", "--as", "worker", "--queue", local])

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{local}: there is nothing to grant, it is not on AWS\n" * 2
    half = CliRunner().invoke(app, ["iam", "--as", "sender", "--queue", QUEUE, "--store", local])
    assert [each["Sid"] for each in json.loads(half.stdout)["Statement"]] == ["Queue"]


def test_another_server_names_no_region() -> None:
    found = resources("sender", "--queue", "http://localhost:4566/000000000000/orders")
    assert found["Queue"] == ["arn:aws:sqs:us-west-2:000000000000:orders"]
    found = resources("sender", "--queue", "http://localhost:9324/queue/orders")
    assert found["Items"] == ["arn:aws:dynamodb:us-west-2:*:table/letsgo-claims"]


def test_without_a_queue_nobody_can_tell() -> None:
    result = CliRunner().invoke(app, ["iam", "--as", "sender"])
    assert isinstance(result.exception, LetsGoError)
    assert "give --queue URL" in str(result.exception)
