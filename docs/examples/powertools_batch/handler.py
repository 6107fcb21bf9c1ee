"""A Lambda function that handles orders of any size with Powertools' batch processor."""

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from claimcheck import unwrap_claim_check
from letsgo_queue import Message

logger = Logger()
processor = BatchProcessor(EventType.SQS)


class Order(BaseModel):
    order_id: str
    lines: list[dict[str, str]]


@unwrap_claim_check
def on_record(record: SQSRecord, lambda_context: LambdaContext) -> None:
    order = Message[Order].model_validate_json(record.body).payload
    if not order.lines:
        raise ValueError(f"order {order.order_id} has no lines")
    logger.info("order %s has %d lines", order.order_id, len(order.lines))


@logger.inject_lambda_context
def handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    return process_partial_response(event, on_record, processor, context)
