"""`claimcheck table create` and `claimcheck table check`."""

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
    made = run("claimcheck", "table", "create", cwd=tmp_path)
    again = run("claimcheck", "table", "create", cwd=tmp_path)

    assert (made.returncode, again.returncode) == (0, 0), made.stderr
    assert "made" in made.stdout
    assert "was there already" in again.stdout
    description = aws.dynamodb().describe_table(TableName=table)["Table"]
    assert description["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    ttl = aws.dynamodb().describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "expires_at")


def test_check_says_what_is_missing_and_what_to_do(table: str, tmp_path: Path) -> None:
    before = run("claimcheck", "table", "check", cwd=tmp_path)
    run("claimcheck", "table", "create", cwd=tmp_path)
    after = run("claimcheck", "table", "check", cwd=tmp_path)

    assert before.returncode == 1
    assert table in before.stdout
    assert "claimcheck table create" in before.stdout
    assert after.returncode == 0
    assert "TTL: on expires_at" in after.stdout


def test_a_store_that_is_no_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "sqlite:///claims.db")

    made = run("claimcheck", "table", "create", cwd=tmp_path)

    assert made.returncode == 1
    assert "CLAIMCHECK_STORE" in made.stderr
    assert "Traceback" not in made.stderr


def test_without_the_extra_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['typer'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    for command in ("claimcheck", "letsgo-queue"):
        asked = run(command, "--help", cwd=tmp_path)
        assert asked.returncode == 1
        assert "letsgo-claimcheck[cli]" in asked.stderr
        assert "Traceback" not in asked.stderr
