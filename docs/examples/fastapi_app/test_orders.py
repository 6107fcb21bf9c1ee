"""Orders are posted to the app and handled by the worker, in one process."""

import pytest
from app import app
from fastapi import status
from fastapi.testclient import TestClient
from orders import OrderNew
from worker import worker

from letsgo_queue.testing import Outbox, WorkerFixture

SMALL = {"order_id": "42", "lines": [{"sku": "A-1"}]}
LARGE = {"order_id": "43", "lines": [{"sku": "A-1", "note": "gift"}] * 100_000}


@pytest.fixture
def shop(letsgo_outbox: Outbox) -> TestClient:
    return TestClient(app)


def test_an_order_is_accepted(shop: TestClient, letsgo_outbox: Outbox) -> None:
    answer = shop.post("/orders", json=SMALL)

    sent = letsgo_outbox.one(OrderNew)
    assert answer.status_code == status.HTTP_202_ACCEPTED
    assert answer.json() == {"message_id": sent.message_id, "route": "inline"}
    assert sent.message.payload.lines[0].sku == "A-1"


def test_orders_of_any_size_are_handled(
    shop: TestClient, letsgo_worker: WorkerFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    routes = [shop.post("/orders", json=order).json()["route"] for order in (SMALL, LARGE)]
    letsgo_worker(worker).drain()

    assert routes == ["inline", "compressed"]
    assert capsys.readouterr().out == "order 42 has 1 lines\norder 43 has 100000 lines\n"


def test_what_is_no_order_is_refused(shop: TestClient, letsgo_outbox: Outbox) -> None:
    answer = shop.post("/orders", json={"order_id": "42"})

    assert answer.is_client_error
    assert not letsgo_outbox
