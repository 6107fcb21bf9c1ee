"""The function is invoked as Lambda does it. Nothing leaves the process."""

import logging

import pytest
from handler import Order, handler

from claimcheck import enqueue
from letsgo_queue import Message
from letsgo_queue.testing import LambdaFixture


def test_orders_of_any_size(letsgo_lambda: LambdaFixture, caplog: pytest.LogCaptureFixture) -> None:
    orders = letsgo_lambda(handler)
    for order_id, lines in (("42", 100_000), ("43", 1), ("44", 0)):
        order = Order(order_id=order_id, lines=[{"sku": "A-1"}] * lines)
        enqueue(Message(type="order:new", payload=order))

    with caplog.at_level(logging.INFO):
        drained = orders.drain(raises=False)

    assert len(drained.retried) == len(orders.waiting) == 1
    assert "order 42 has 100000 lines" in caplog.text
    assert "order 43 has 1 lines" in caplog.text
