"""What the doctor says of who asks, and of what it cannot find out."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from claimcheck import ClaimCheckMiddleware, SettingsInvalid, doctor
from claimcheck.doctor import run
from claimcheck.doctor.rights import principal_of
from letsgo_queue import Worker
from tests.claimcheck.doctor import workers
from tests.claimcheck.doctor.shop import Shop, claimcheck, examine


def test_each_line_says_what_was_looked_at(shop: Shop) -> None:
    result = claimcheck("doctor")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "✓ versions",
        "✓ settings",
        "✓ region",
        "✓ credentials",
        "✓ clock",
        "✓ queue",
        "✓ queue.limit",
        "✓ queue.retention",
        "✓ queue.visibility",
        "✓ queue.redrive",
        "✓ dead-letters",
        "✓ dead-letters.retention",
        "✓ store.table",
        "✓ store.key-schema",
        "✓ store.ttl",
        "0 failures, 0 warnings",
    ]
    assert "arn:aws:iam::000000000000:root, in account 000000000000" in lines[3]
    assert "messages are kept for 14 days, their claims for 15 days" in lines[7]


def test_a_failure_has_its_command_below(shop: Shop) -> None:
    shop.set_queue(RedrivePolicy=shop.redrive_after(1), VisibilityTimeout="0")

    result = claimcheck("doctor")

    assert result.exit_code == 1
    assert re.search(
        r"✗ queue.visibility: .*\n    \$ aws sqs set-queue-attributes --queue-url .*VisibilityTime",
        result.stdout,
    )
    assert re.search(r"! queue.redrive: .*\n    \$ aws sqs set-queue-attr", result.stdout)
    assert result.stdout.endswith("1 failure, 1 warning\n")


@pytest.mark.parametrize(
    ("seconds", "level", "said"),
    [
        (2, "pass", "as AWS's"),
        (30, "warn", "30 s ahead of AWS's|29 s ahead of AWS's|28 s ahead of AWS's"),
        (-30, "warn", r"\d\d s behind AWS's"),
        (-1_000, "fail", r"\d+ s behind AWS's: AWS refuses its requests"),
    ],
)
def test_a_clock_that_is_off(seconds: float, level: str, said: str, shop: Shop) -> None:
    found = doctor.examine(clock=lambda: time.time() + seconds)

    (clock,) = [each for each in found if each.name == "clock"]
    assert clock.level == level
    assert re.fullmatch(said, clock.detail)
    assert bool(clock.command) == (level != "pass")


def test_without_credentials_each_line_says_so(shop: Shop) -> None:
    with shop.monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        wrong = examine()

    assert {name: each["level"] for name, each in wrong.items()} == {
        "credentials": "fail",
        "queue": "fail",
        "store": "fail",
    }
    assert all("redential" in each["detail"] for each in wrong.values())


def test_where_nothing_answers_each_check_says_so(shop: Shop) -> None:
    nowhere = "http://127.0.0.1:1"  # where nobody listens
    shop.monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)

    wrong = examine("--queue", f"{nowhere}/000000000000/orders", "--lambda", "orders")

    assert {name: each["level"] for name, each in wrong.items()} == {
        "credentials": "warn",
        "queue": "fail",
        "lambda": "warn",
        "store": "fail",
    }


@pytest.mark.parametrize(
    ("operation", "name", "right"),
    [
        ("GetQueueAttributes", "queue", "sqs:GetQueueAttributes"),
        ("DescribeTable", "store.table", "dynamodb:DescribeTable"),
        ("DescribeTimeToLive", "store.ttl", "dynamodb:DescribeTimeToLive"),
        ("GetFunctionConfiguration", "lambda", "lambda:GetFunctionConfiguration"),
        ("GetFunctionConcurrency", "lambda.concurrency", "lambda:GetFunctionConcurrency"),
        ("ListEventSourceMappings", "lambda.mapping", "lambda:ListEventSourceMappings"),
        ("SimulatePrincipalPolicy", "rights.worker", "iam:SimulatePrincipalPolicy"),
        ("GenerateDataKey", "encryption", "kms:GenerateDataKey"),
        ("Decrypt", "encryption", "kms:Decrypt"),
    ],
)
def test_a_right_that_is_lacking_is_a_warning(
    operation: str, name: str, right: str, shop_on_lambda: Shop
) -> None:
    shop, call = shop_on_lambda, BaseClient._make_api_call  # type: ignore[attr-defined]  # no stub

    def denied(client: Any, called: str, params: dict[str, Any]) -> Any:
        if called == operation:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, called)
        return call(client, called, params)

    key = shop.server.make_kms_key()
    shop.monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", f"kms://{key}")
    shop.set_settings(CLAIMCHECK_ENCRYPTION=f"kms://{key}")
    with shop.monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", denied)
        wrong = examine("--lambda", shop.name, "--largest", "1000")

    assert wrong[name]["level"] == "warn"
    assert f"not known: {right} is denied" in wrong[name]["detail"]
    assert "claimcheck iam --as operator" in wrong[name]["advice"]
    assert right in claimcheck("iam", "--as", "operator", "--lambda", shop.name).stdout


@pytest.fixture
def user(shop: Shop) -> Iterator[str]:
    """A user without any right, whose credentials the test has."""
    name = f"user-{secrets.token_hex(6)}"
    shop.call("iam", "create_user", UserName=name)
    key = shop.call("iam", "create_access_key", UserName=name)["AccessKey"]
    with shop.monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        yield name


@pytest.mark.parametrize("role", ["sender", "worker"])
def test_who_asks_lacks_the_rights_of_a_role(role: str, shop: Shop, user: str) -> None:
    wrong = examine("--as", role)

    assert list(wrong) == [f"rights.{role}"]
    assert wrong[f"rights.{role}"]["level"] == "fail"
    assert f"{user} lacks sqs:" in wrong[f"rights.{role}"]["detail"]
    assert "dynamodb:PutItem on arn:aws:dynamodb:" in wrong[f"rights.{role}"]["detail"]
    shop.mend(wrong[f"rights.{role}"]["command"])
    assert examine("--as", role) == {}


def test_root_lacks_nothing(shop: Shop) -> None:
    assert "✓ rights.worker: root may" in claimcheck("doctor", "--as", "worker").stdout


def test_the_rights_of_a_session_are_those_of_its_role() -> None:
    session = "arn:aws-cn:sts::123456789012:assumed-role/orders-worker/i-0abc"
    assert principal_of(session) == "arn:aws-cn:iam::123456789012:role/orders-worker"


def test_a_check_that_breaks_hides_no_other(shop: Shop) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    shop.monkeypatch.setattr(run, "check_versions", broken)
    shop.set_queue(VisibilityTimeout="0")

    wrong = examine()

    assert list(wrong) == ["versions", "queue.visibility"]
    assert wrong["versions"]["detail"] == "not known: the check broke off with ZeroDivisionError"


def test_a_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "claimcheck.doctor.versions.version",
        lambda name: "1.9.0" if name == "boto3" else version(name),
    )

    wrong = examine("--queue", f"sqlite:///{tmp_path}/work.db")

    assert wrong["versions"]["level"] == "fail"
    assert wrong["versions"]["detail"].startswith("boto3 1.9.0 is not >=1.39")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CLAIMCHECK_TRESHOLD", "CLAIMCHECK_THRESHOLD"),
        ("LETSGO_QUEU_URL", "LETSGO_QUEUE_URL"),
    ],
)
def test_a_setting_whose_name_is_misspelt(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, "5")

    wrong = examine("--queue", f"sqlite:///{tmp_path}/work.db")

    assert {found: each["level"] for found, each in wrong.items()} == {"settings": "warn"}
    assert wrong["settings"]["detail"] == f"{name} is no setting, and is ignored"
    assert wrong["settings"]["advice"] == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLAIMCHECK_WRITE", "aws-pointer"),
        ("CLAIMCHECK_LEASE_SECONDS", "99999999"),
        ("CLAIMCHECK_SIGNING_KEY", "too-short"),
        ("CLAIMCHECK_SIGN_EVERY_MESSAGE", "true"),
        ("CLAIMCHECK_ENCRYPTION", "aes256:short"),
        ("CLAIMCHECK_STORE", "redis://claims"),
        ("CLAIMCHECK_STORES", "video:*=dynamodb://"),
        ("CLAIMCHECK_READ_STORES", "s3://No_Bucket"),
        ("LETSGO_DEAD_LETTER_ERRORS", "all"),
        ("LETSGO_WORKER_SCHEDULE", "every day"),
    ],
)
def test_a_setting_that_a_sender_or_a_worker_refuses(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path}/work.db")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLAIMCHECK_TRESHOLD", "5")
    worker = Worker(middleware=[ClaimCheckMiddleware()])
    worker.scheduled(lambda event: None)
    with pytest.raises(SettingsInvalid) as refused:
        worker.run()

    found = [each for each in doctor.examine() if each.level != "pass"]

    assert [(each.name, each.level) for each in found] == [
        ("settings", "fail"),
        ("settings", "warn"),  # the misspelt one
    ]
    assert found[0].detail == str(refused.value)


def test_a_second_setting_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORES", "video:*=dynamodb://")
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", "aes256:short")

    wrong = examine("--queue", f"sqlite:///{tmp_path}/work.db")

    assert list(wrong) == ["settings", "encryption"]


def test_the_folder_of_local_claims_is_unsafe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    queue = ("--queue", "http://localhost:3002")
    assert "settings" not in examine(*queue)
    assert not list(tmp_path.iterdir())
    (tmp_path / "letsgo-claimcheck").mkdir()
    (tmp_path / "letsgo-claimcheck").chmod(0o770)

    assert "can be written by other users" in examine(*queue)["settings"]["detail"]


class TestWithoutAws:
    """A queue in a file: AWS is not asked, and need not be there."""

    def test_a_right_queue_passes(self, tmp_path: Path) -> None:
        queue = f"sqlite:///{tmp_path}/work.db"

        result = claimcheck("doctor", f"{workers.HERE}:right", "--queue", queue)

        names = [line.split(":")[0] for line in result.stdout.splitlines()]
        assert names[:-1] == ["✓ versions", "✓ settings", "✓ queue", "✓ queue.redrive", "✓ store"]
        assert not (tmp_path / "work.db").exists()

    def test_a_round_trip(self, tmp_path: Path) -> None:
        queue = f"sqlite:///{tmp_path}/work.db"

        assert examine("--queue", queue, "--round-trip") == {}
        assert "0 messages waiting" in claimcheck("doctor", "--queue", queue).stdout

    def test_no_folder(self, tmp_path: Path) -> None:
        wrong = examine("--queue", f"sqlite:///{tmp_path}/no/work.db")

        assert wrong["queue"]["level"] == "fail"
        assert wrong["queue"]["command"] == f"mkdir -p {tmp_path}/no"

    def test_no_folder_for_claims(self, tmp_path: Path) -> None:
        queue, store = f"sqlite:///{tmp_path}/work.db", f"sqlite:///{tmp_path}/no/claims.db"

        wrong = examine("--queue", queue, "--store", store)

        assert list(wrong) == ["store"]
        assert wrong["store"]["command"] == f"mkdir -p {tmp_path}/no"

    def test_some_claims_in_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORES", "video:*=memory://")

        wrong = examine("--queue", f"sqlite:///{tmp_path}/work.db")

        assert wrong["store"]["command"] == "unset CLAIMCHECK_STORES"

    def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "work.db").write_text("nothing of SQLite's " * 100)

        wrong = examine("--queue", f"sqlite:///{tmp_path}/work.db")

        assert wrong["queue"]["level"] == "fail"
        assert "work.db" in wrong["queue"]["detail"]

    def test_a_retry_policy_wants_more_attempts(self, tmp_path: Path) -> None:
        queue = f"sqlite:///{tmp_path}/work.db"

        wrong = examine(f"{workers.HERE}:patient", "--queue", queue)

        assert wrong["queue.redrive"]["level"] == "fail"
        assert "?max_receive_count=9" in wrong["queue.redrive"]["advice"]
        assert examine(f"{workers.HERE}:patient", "--queue", f"{queue}?max_receive_count=9") == {}

    def test_a_queue_in_memory(self) -> None:
        wrong = examine("--queue", "memory://")

        assert {name: each["level"] for name, each in wrong.items()} == {"queue": "warn"}

    def test_a_url_that_names_no_queue(self) -> None:
        wrong = examine("--queue", "redis://localhost")

        assert "expected an SQS queue URL" in wrong["queue"]["detail"]
        assert "store" not in wrong  # which store follows from the queue
