"""`claimcheck store create` and `claimcheck store check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.servers import AwsServer


@pytest.fixture
def table(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> str:
    name = aws.make_table_name()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{name}")
    return name


def test_create_makes_the_table_of_the_settings_and_can_be_repeated(
    aws: AwsServer, table: str, tmp_path: Path
) -> None:
    made = run("claimcheck", "store", "create", cwd=tmp_path)
    again = run("claimcheck", "store", "create", cwd=tmp_path)

    assert (made.returncode, again.returncode) == (0, 0), made.stderr
    assert f"table {table} in {aws.region}: made\n" in made.stdout
    assert "was there already" in again.stdout
    description = aws.dynamodb().describe_table(TableName=table)["Table"]
    assert description["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    ttl = aws.dynamodb().describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "expires_at")


def test_check_says_what_is_missing_and_what_to_do(table: str, tmp_path: Path) -> None:
    before = run("claimcheck", "store", "check", cwd=tmp_path)
    run("claimcheck", "store", "create", cwd=tmp_path)
    after = run("claimcheck", "store", "check", cwd=tmp_path)

    assert before.returncode == 1
    assert table in before.stdout
    assert "claimcheck store create" in before.stdout
    assert after.returncode == 0
    assert "✓ TTL: on expires_at" in after.stdout


def test_a_table_that_serves_something_else_fails_and_stays_as_it_is(
    aws: AwsServer, table: str, tmp_path: Path
) -> None:
    aws.dynamodb().create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "user", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "user", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    tried = run("claimcheck", "store", "create", cwd=tmp_path)

    assert tried.returncode == 1
    assert "✗ key schema: user (S, HASH)" in tried.stdout
    assert "name another table in CLAIMCHECK_STORE" in tried.stdout
    ttl = aws.dynamodb().describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert ttl["TimeToLiveStatus"] == "DISABLED"


@pytest.mark.parametrize("what", ["create", "check"])
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("CLAIMCHECK_STORE", "sqlite:///claims.db"),
        ("CLAIMCHECK_STORE", "memory://"),
        ("LETSGO_QUEUE_URL", "sqlite:///claims.db"),
    ],
)
def test_other_stores_need_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)

    asked = run("claimcheck", "store", what, cwd=tmp_path)

    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout == f"{url}: nothing has to be made, it is there when it is first used\n"
    assert not (tmp_path / "claims.db").exists()


def test_a_store_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "redis://localhost")

    asked = run("claimcheck", "store", "check", cwd=tmp_path)

    assert asked.returncode == 1
    assert asked.stderr.startswith("error: CLAIMCHECK_STORE: claim store 'redis://localhost'")
    assert asked.stderr.count("\n") == 1
