"""`claimcheck demo`: the main job in one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claimcheck.stores.dynamodb_table import ClaimTable
from tests.support.command import run
from tests.support.servers import AwsServer


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def _routes(output: str) -> dict[str, str]:
    """Message type and route of each line of the table."""
    lines = [line.split() for line in output.splitlines()]
    return {words[0]: words[2] for words in lines if words and ":" in words[0]}


def test_sends_every_way_and_checks_it(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(json.dumps({"rows": list(range(60_000))}))

    demo = run("claimcheck", "demo", "big.json", cwd=tmp_path)

    assert demo.returncode == 0, demo.stderr
    routes = _routes(demo.stdout)
    assert routes["demo:hello"] == "inline"
    assert routes["model:ec2"] == "compressed"
    assert routes["demo:noise"] == "stored"
    assert routes["file:big.json"] == "compressed"
    assert "9 of 9 payloads came back byte for byte" in demo.stdout
    assert "3 of 3 small messages travelled untouched" in demo.stdout
    assert "1 of 1 stored messages left nothing but a receipt" in demo.stdout


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.json").write_text(json.dumps(folder))

    demo = run("claimcheck", "demo", "a/data.json", "b/data.json", "a/data.json", cwd=tmp_path)

    assert (demo.returncode, demo.stderr) == (0, "")
    assert {"file:a/data.json", "file:b/data.json"} <= _routes(demo.stdout).keys()
    assert "11 of 11 payloads came back byte for byte" in demo.stdout


def test_takes_nothing_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/live")
    monkeypatch.setenv("CLAIMCHECK_STORE", "dynamodb://live")

    assert run("claimcheck", "demo", cwd=tmp_path).returncode == 0


def test_runs_on_the_queue_and_table_of_the_environment(
    aws: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "262144" if aws.name == "ministack" else "1048576"
    table = aws.make_table_name()
    ClaimTable(table, region=aws.region).create()
    monkeypatch.setenv("LETSGO_QUEUE_URL", aws.make_queue(MaximumMessageSize=limit))
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")

    demo = run("claimcheck", "demo", "--aws", cwd=tmp_path)

    assert demo.returncode == 0, demo.stdout + demo.stderr
    routes = _routes(demo.stdout)
    assert routes["model:ec2"] == ("compressed" if limit == "1048576" else "stored")
    left = aws.dynamodb().scan(TableName=table, ConsistentRead=True)["Items"]
    assert {item.get("state", {}).get("S") for item in left} == {"done"}


def test_a_missing_table_is_said_with_its_remedy(
    ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", ministack.make_queue())
    monkeypatch.setenv("CLAIMCHECK_STORE", "dynamodb://nowhere")

    demo = run("claimcheck", "demo", "--aws", cwd=tmp_path)

    assert demo.returncode == 1
    assert "claimcheck store create" in demo.stderr
    assert demo.stderr.startswith("error: ")
    assert demo.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [None, "no json", "[" * 10_000])
def test_a_file_that_cannot_be_sent_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "big.json").write_text(content)

    demo = run("claimcheck", "demo", "big.json", cwd=tmp_path)

    assert demo.returncode == 1
    assert demo.stderr.startswith("error: big.json")
    assert demo.stderr.count("\n") == 1


def test_a_payload_that_came_back_changed_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the worker's process, every opened body gets a blank at its end.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('demo.worker' in argument for argument in sys.orig_argv):\n"
        "    from claimcheck.core import claim_check, opened\n"
        "    unpack = opened.unpack\n"
        "    opened.unpack = lambda *arguments: unpack(*arguments) + ' '\n"
        "    claim_check.unpack = opened.unpack\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    demo = run("claimcheck", "demo", cwd=tmp_path)

    assert demo.returncode == 1
    assert "✗ 3 of 8 payloads came back byte for byte" in demo.stdout


def test_contents_that_are_left_fail_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from claimcheck.stores.sqlite import SqliteClaimStore\n"
        "SqliteClaimStore.remove = lambda *arguments: None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    demo = run("claimcheck", "demo", cwd=tmp_path)

    assert demo.returncode == 1
    assert "✗ 0 of 1 stored messages left nothing but a receipt" in demo.stdout


def test_a_worker_that_does_not_start_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('demo.worker' in argument for argument in sys.orig_argv):\n"
        "    import os; os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    demo = run("claimcheck", "demo", cwd=tmp_path)

    assert demo.returncode == 1
    assert demo.stderr == "error: the worker ended with exit code 3.\n"
