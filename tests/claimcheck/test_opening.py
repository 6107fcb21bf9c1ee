"""How a queue is named among those that have a message."""

from __future__ import annotations

import pytest

from claimcheck.opening import consumer_of
from claimcheck.settings import region_for
from letsgo_queue.aws_hosts import queue_url_of_arn

ORDERS = "eu-west-1:123456789012:orders"


@pytest.mark.parametrize(
    "url",
    [
        queue_url_of_arn(f"arn:aws:sqs:{ORDERS}"),
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders/",
        "https://eu-west-1.queue.amazonaws.com/123456789012/orders",
        "https://sqs.eu-west-1.api.aws/123456789012/orders",
        "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/orders",
        "http://localhost:4566/123456789012/orders",
    ],
)
def test_a_queue_has_one_name_however_it_is_reached(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    consumer_of.cache_clear()

    assert consumer_of(url) == ORDERS


@pytest.mark.parametrize(
    "other",
    [
        "https://sqs.us-east-1.amazonaws.com/123456789012/orders",
        "https://sqs.eu-west-1.amazonaws.com/210987654321/orders",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo",
        "https://sqs.example.com/123456789012/orders",
        "sqlite:///work.db?fifo=true",
        "memory://orders",
        "http://localhost:3002/",
    ],
)
def test_no_two_queues_have_one_name(other: str) -> None:
    consumer_of.cache_clear()

    assert consumer_of(other) not in {ORDERS, None, ""}


def test_claims_of_a_topic_are_in_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")

    assert region_for("arn:aws:sns:eu-west-1:123456789012:orders") == "eu-west-1"
    assert region_for("memory://") == "us-west-2"


def test_a_queue_that_nobody_names_has_none() -> None:
    assert consumer_of(None) is consumer_of("") is None
