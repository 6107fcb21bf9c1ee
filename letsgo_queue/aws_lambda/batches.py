"""The batch of records in one Lambda event: their order, and which of them come again.

Lambda receives the messages, calls the function with a batch of them, and deletes those that the
answer does not name as failed. The event source mapping must report batch item failures
(`FunctionResponseTypes: [ReportBatchItemFailures]`): without it Lambda ignores the answer, and
deletes what failed. On a FIFO queue the records behind a failed one in its group fail too, so that
the group keeps its order.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypedDict

from letsgo_queue.aws_lambda.records import SqsRecord

RESERVE_SECONDS = 1.0
"""With less time left, an invocation begins no record and does not wait."""


class ItemFailure(TypedDict):
    """Names a record for SQS to deliver again."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """The answer to Lambda about a batch."""

    batchItemFailures: list[ItemFailure]


class Batch:
    """The records of one event.

    Attributes:
        records: The records, in order.
        is_fifo: Whether their queue is FIFO.
    """

    def __init__(self, records: Sequence[object], *, is_certain: bool = False) -> None:
        """Read the records.

        Args:
            records: The records.
            is_certain: Whether the caller knows that they are records of SQS.
        """
        self.records = [SqsRecord(record, is_certain=is_certain) for record in records]
        self.is_fifo = any(record.is_fifo for record in self.records)
        self._failed: set[str] = set()
        self._broken_groups: set[str | None] = set()

    def lanes(self) -> list[list[SqsRecord]]:
        """The records in lanes. Lanes run side by side; the records of a lane run one by one.

        On a FIFO queue a lane is a message group; on any other queue it is a single record.
        """
        if not self.is_fifo:
            return [[record] for record in self.records]
        groups: dict[str | None, list[SqsRecord]] = {}
        for record in self.records:
            groups.setdefault(record.group_id, []).append(record)
        return list(groups.values())

    def fail(self, record: SqsRecord) -> None:
        """Have a record delivered again."""
        if record.message_id is not None:
            self._failed.add(record.message_id)
        if self.is_fifo:
            self._broken_groups.add(record.group_id)

    def is_behind_a_failure(self, record: SqsRecord) -> bool:
        """Whether an earlier record of its FIFO group failed, so that it must not be begun."""
        return record.group_id in self._broken_groups

    def response(self) -> BatchResponse:
        """The answer to Lambda."""
        return {
            "batchItemFailures": [
                {"itemIdentifier": record.message_id}
                for record in self.records
                if record.message_id is not None and record.message_id in self._failed
            ]
        }


class Invocation:
    """How much time an invocation of a Lambda function has left.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html has the context's method.

    Attributes:
        context: Lambda's context.
    """

    def __init__(self, context: object) -> None:
        """Ask the context."""
        self.context = context
        ask = getattr(context, "get_remaining_time_in_millis", None)
        remaining = ask() if callable(ask) else None
        self._ends_at = (
            time.monotonic() + remaining / 1000 if isinstance(remaining, int | float) else None
        )

    @property
    def seconds_left(self) -> float | None:
        """Seconds until Lambda ends it; None if the context does not say."""
        return None if self._ends_at is None else self._ends_at - time.monotonic()

    def has_time_for(self, seconds: float) -> bool:
        """Whether the invocation has time for these seconds, and for its end."""
        left = self.seconds_left
        return left is None or seconds + RESERVE_SECONDS < left

    def wait(self, seconds: float) -> bool:
        """Wait, if the context says that there is time for it; return whether it did."""
        if self.seconds_left is None or not self.has_time_for(seconds):
            return False
        time.sleep(seconds)
        return True
