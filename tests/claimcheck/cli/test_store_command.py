"""`claimcheck store create` and `claimcheck store check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import run, run_on_terminal
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


def test_stores_may_be_named_on_the_command_line(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "sqlite:///not-this-one.db")
    first, second = (ministack.make_table_name() for _ in range(2))
    named = [f"--store=dynamodb://{each}" for each in (first, second)]

    before = run("claimcheck", "store", "check", *named, cwd=tmp_path)
    made = run("claimcheck", "store", "create", *named, cwd=tmp_path)
    after = run("claimcheck", "store", "check", *named, cwd=tmp_path)

    assert [each.returncode for each in (before, made, after)] == [1, 0, 0], made.stderr
    for each in (first, second):
        assert f"table {each} in {ministack.region}: made\n" in made.stdout
    assert "not-this-one" not in before.stdout + made.stdout + after.stdout


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


def test_create_makes_the_bucket_too(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table, bucket = ministack.make_table_name(), ministack.make_bucket_name()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}?bucket={bucket}")

    made = run("claimcheck", "store", "create", cwd=tmp_path)

    assert (made.returncode, made.stderr) == (0, "")
    assert f"table {table} in {ministack.region}: made\n" in made.stdout
    assert f"bucket {bucket} in {ministack.region}: made\n" in made.stdout
    assert "✓ TTL: on expires_at\n" in made.stdout
    assert "✓ lifecycle: claims expire after 43 days\n" in made.stdout


def test_check_looks_at_the_stores_of_some_types_too(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table, bucket = ministack.make_table_name(), ministack.make_bucket_name()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    monkeypatch.setenv("CLAIMCHECK_STORES", f"video:*=s3://{bucket}/claims,log:*=memory://")

    checked = run("claimcheck", "store", "check", cwd=tmp_path)

    assert (checked.returncode, checked.stderr) == (1, "")
    missing = [line for line in checked.stdout.splitlines() if "does not exist" in line]
    assert missing == [
        f"✗ table: {table} does not exist in region {ministack.region}",
        f"✗ bucket: {bucket} does not exist",
    ]
    assert "memory://: nothing has to be made" in checked.stdout


class TestWhatIsThere:
    """A table and a bucket that lack something: nothing is changed that nobody agreed to."""

    @pytest.fixture
    def bucket(self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> str:
        name, table = ministack.make_bucket(), ministack.make_table_name()
        ministack.dynamodb().create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}?bucket={name}&prefix=claims")
        return name

    def test_without_a_terminal_it_says_what_it_would_change(
        self, bucket: str, tmp_path: Path
    ) -> None:
        asked = run("claimcheck", "store", "create", cwd=tmp_path, stdin="")

        assert (asked.returncode, asked.stderr) == (1, "")
        skipped = [line for line in asked.stdout.splitlines() if line.startswith("not changed")]
        assert len(skipped) == 3
        assert all(line.endswith("See --yes") for line in skipped)
        assert f"block all public access to bucket {bucket}" in skipped[1]
        assert "✗ public access: not blocked" in asked.stdout

    def test_each_change_is_made_that_somebody_agrees_to(self, bucket: str, tmp_path: Path) -> None:
        code, shown = run_on_terminal(
            "claimcheck", "store", "create", cwd=tmp_path, answer="y\nn\ny\n"
        )

        assert code == 1
        assert "TTL: off" in shown
        assert "Shall I switch TTL on in table" in shown
        assert " TTL: on expires_at" in shown
        assert shown.count(" public access: not blocked") == 1
        assert " lifecycle: claims expire after 43 days" in shown

    def test_yes_makes_all_of_them(self, bucket: str, tmp_path: Path) -> None:
        changed = run("claimcheck", "store", "create", "--yes", cwd=tmp_path, stdin="")

        assert (changed.returncode, changed.stderr) == (0, "")
        assert changed.stdout.count("changed: ") == 3
        again = run("claimcheck", "store", "create", "--yes", cwd=tmp_path, stdin="")
        assert (again.returncode, again.stdout.count("changed: ")) == (0, 0)


def test_letsgo_makes_its_own_table(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "letsgo://nobodys")

    asked = run("claimcheck", "store", "create", "--yes", cwd=tmp_path)

    assert (asked.returncode, asked.stderr) == (1, "")
    table = f"table letsgo-nobodys in {ministack.region}"
    assert asked.stdout.startswith(f"{table}: LetsGo makes it, and it was only checked\n✗ table: ")
    assert "letsgo-nobodys" not in ministack.dynamodb().list_tables()["TableNames"]


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
