"""Clients of SQS with the claim check, and without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from claimcheck import ClaimCheck
from claimcheck.integrations.boto3 import attach
from letsgo_queue import Event, listen_to_all
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@pytest.fixture
def plain(ministack: AwsServer) -> Iterator[SQSClient]:
    """A client without the claim check."""
    client = ministack.sqs()
    yield client
    client.close()


@pytest.fixture
def sqs(ministack: AwsServer, check: ClaimCheck) -> Iterator[SQSClient]:
    client = attach(ministack.sqs(), check)
    yield client
    client.close()


@pytest.fixture
def other(ministack: AwsServer, check: ClaimCheck) -> Iterator[SQSClient]:
    """That of another process, with the same store."""
    client = attach(ministack.sqs(), check)
    yield client
    client.close()


@pytest.fixture
def queue(ministack: AwsServer) -> str:
    return ministack.make_queue(VisibilityTimeout="600")


@pytest.fixture
def no_credentials(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """New sessions of boto3 find none; the queue is there before."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def events() -> Iterator[list[Event]]:
    heard: list[Event] = []
    stop = listen_to_all(heard.append)
    yield heard
    stop()
