"""A worker on AWS Lambda. It handles orders of any size, and writes a report every night."""

import logging
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from claimcheck import unwrap_claim_check
from letsgo_queue import Message, Reject, RetryPolicy, Worker

logging.getLogger().setLevel(logging.INFO)
logger = logging.getLogger(__name__)


class Order(BaseModel):
    order_id: str
    lines: list[dict[str, str]]


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


worker = Worker(retry_policy=RetryPolicy(base=10, cap=900))


@worker.handler(OrderNew)
@unwrap_claim_check
def on_order(message: OrderNew) -> None:
    order = message.payload
    if not order.lines:
        raise Reject("an order without lines")
    logger.info("order %s has %d lines", order.order_id, len(order.lines))


@worker.scheduled
def nightly(event: Mapping[str, object]) -> None:
    logger.info("the report of %s", event["time"])


handler = worker.lambda_handler
