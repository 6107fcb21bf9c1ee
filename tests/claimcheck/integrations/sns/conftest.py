"""Fixtures of the tests of SNS: a topic, and a client with the claim check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from claimcheck import ClaimCheck
from claimcheck.integrations.sns import attach
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


@pytest.fixture
def sns(ministack: AwsServer, check: ClaimCheck) -> Iterator[SNSClient]:
    client = attach(ministack.sns(), check)
    yield client
    client.close()


@pytest.fixture
def topic(ministack: AwsServer) -> str:
    return ministack.make_topic()
