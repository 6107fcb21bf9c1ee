"""The shop that each test examines: one for all of them, set right before each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.claimcheck.doctor.shop import Clients, Shop, make_shop
from tests.conftest import use_emulator
from tests.support.servers import AwsServer


@pytest.fixture(scope="session")
def opened_shop(ministack_url: str) -> Iterator[Shop]:
    clients = Clients(ministack_url)
    with pytest.MonkeyPatch.context() as patch:
        server = use_emulator(patch, "ministack", ministack_url)
        shop = make_shop(server, clients, patch)
    yield shop
    shop.remove()
    clients.close()
    server.remove_all()


@pytest.fixture
def shop(opened_shop: Shop, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Shop:
    opened_shop.use(monkeypatch)
    return opened_shop


@pytest.fixture
def shop_on_lambda(shop: Shop) -> Shop:
    shop.set_function(MemorySize=512)
    shop.set_settings()
    return shop
