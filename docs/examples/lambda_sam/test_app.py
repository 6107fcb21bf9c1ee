"""The function is invoked as Lambda does it. Nothing leaves the process."""

import logging

import pytest
from app import Order, OrderNew, handler, nightly

from claimcheck import enqueue
from letsgo_queue import Reject
from letsgo_queue.testing import LambdaFixture


def order(number: int, lines: int) -> OrderNew:
    return OrderNew(payload=Order(order_id=str(number), lines=[{"sku": "A-1"}] * lines))


def test_orders_of_any_size(letsgo_lambda: LambdaFixture, caplog: pytest.LogCaptureFixture) -> None:
    enqueue(order(42, lines=100_000))
    enqueue(order(43, lines=1))

    with caplog.at_level(logging.INFO, "app"):
        letsgo_lambda(handler).drain()

    said = sorted(record.message for record in caplog.records if record.name == "app")
    assert said == ["order 42 has 100000 lines", "order 43 has 1 lines"]


def test_an_order_without_lines_is_rejected(letsgo_lambda: LambdaFixture) -> None:
    enqueue(order(44, lines=0))
    with pytest.raises(Reject, match="an order without lines"):
        letsgo_lambda(handler).drain()


def test_the_nightly_report(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "app"):
        nightly({"time": "2026-11-27T03:00:00Z"})
    assert "the report of 2026-11-27T03:00:00Z" in caplog.text
