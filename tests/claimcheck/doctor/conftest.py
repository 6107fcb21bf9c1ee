"""The shop that each test examines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.claimcheck.doctor.shop import Clients, Shop, open_function, open_shop
from tests.support.servers import AwsServer


@pytest.fixture(scope="module")
def clients(ministack_url: str) -> Iterator[Clients]:
    clients = Clients(ministack_url)
    yield clients
    clients.close()


@pytest.fixture
def shop(ministack: AwsServer, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with open_shop(ministack, clients, monkeypatch) as shop:
        yield shop


@pytest.fixture
def shop_on_lambda(shop: Shop) -> Iterator[Shop]:
    with open_function(shop):
        yield shop
