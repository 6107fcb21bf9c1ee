"""What the tests of integrations share: a claim check whose store is in memory, or is down."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from claimcheck import ClaimCheck
from claimcheck.stores import dynamodb_items
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.integrations.workers import Shop
from tests.conftest import REGION
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return ClaimCheck(store)


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> ClaimCheck:
    """A claim check whose store refuses connections."""
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        port = nobody_listens.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(dynamodb_items, "MAX_RETRIES", 0)
    return ClaimCheck(DynamoDBClaimStore("claims", region=REGION))


@pytest.fixture
def nothing_is_left(shop: Shop, ministack: AwsServer) -> Iterator[None]:
    """Nothing but receipts, after each test."""
    yield
    wait_for(lambda: shop.place.left().parts == 0, "contents that are removed")
    shop.place.restore([])
