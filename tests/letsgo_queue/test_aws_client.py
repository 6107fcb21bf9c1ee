"""`make_client`: boto3's clients for both packages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsgo_queue.aws_client import DYNAMODB, SQS, make_client, time_of
from tests.support.servers import AwsServer

FETCH = """\
#!/bin/sh
echo fetched >> "$0.log"
echo '{"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret"}'
"""


@pytest.fixture
def fetched(ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Credentials that a command fetches, and the file with a line for each time."""
    command = tmp_path / "fetch"
    command.write_text(FETCH)
    command.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return tmp_path / "fetch.log"


def ask_both(server: AwsServer) -> None:
    """Have a client for each service sign a request."""
    sqs = make_client(SQS, None, region=server.region, endpoint_url=server.endpoint_url)
    sqs.list_queues()
    sqs.close()
    dynamodb = make_client(DYNAMODB, None, region=server.region, endpoint_url=server.endpoint_url)
    dynamodb.list_tables()
    dynamodb.close()


def test_queue_and_store_fetch_credentials_once(ministack: AwsServer, fetched: Path) -> None:
    ask_both(ministack)

    assert fetched.read_text() == "fetched\n"


def test_settings_that_were_changed_are_read_again(
    ministack: AwsServer, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_both(ministack)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    ask_both(ministack)

    assert fetched.read_text() == "fetched\n" * 2


@pytest.fixture
def far_from_greenwich() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"date": "Thu, 26 Nov 2026 08:00:00 GMT"}, 1_795_680_000.0),
        ({"date": "Thu, 26 Nov 2026 08:00:00 -0000"}, 1_795_680_000.0),
        ({"date": "Thu, 26 Nov 2026 08:00:00"}, 1_795_680_000.0),
        ({"date": "yesterday"}, None),
        ({"date": ""}, None),
        ({}, None),
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_the_time_of_an_answer(headers: dict[str, str], seconds: float | None) -> None:
    assert time_of({"ResponseMetadata": {"HTTPHeaders": headers}}) == seconds
