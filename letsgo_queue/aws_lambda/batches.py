"""The worker behind an SQS event source of AWS Lambda.

Lambda receives the messages, calls the function with a batch of them, and deletes those that the
answer does not name as failed. The event source mapping must report batch item failures
(`FunctionResponseTypes: [ReportBatchItemFailures]`): without it Lambda ignores the answer, and
deletes what failed.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

from letsgo_queue.aws_lambda.records import Record, is_scheduled, queue_url, received_from
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid, QueueUnavailable
from letsgo_queue.transports.base import (
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    Transport,
)
from letsgo_queue.worker.processing import Processor

logger = logging.getLogger(__name__)

RESERVE_SECONDS = 1.0
"""No record is begun, and nothing waits, when so little of the invocation's time is left."""


class ItemFailure(TypedDict):
    """Names a record that is to be delivered again."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """What Lambda is told about a batch."""

    batchItemFailures: list[ItemFailure]


class LambdaQueue:
    """The queue behind an event: Lambda has received the messages, and deletes them.

    What else is asked of the queue goes to the queue itself, which is opened only then.
    """

    def __init__(self, url: str, *, fifo: bool, open_queue: Callable[[], Transport]) -> None:
        """Name the queue.

        Args:
            url: Its URL.
            fifo: Whether it is FIFO.
            open_queue: Opens the queue itself.
        """
        self.url = url
        self.fifo = fifo
        self._open = open_queue

    def content_based_deduplication(self) -> bool:
        """See `Transport`."""
        return self._open().content_based_deduplication()

    def max_message_bytes(self) -> int | None:
        """See `Transport`."""
        return self._open().max_message_bytes()

    def send(self, message: OutgoingMessage) -> str:
        """See `Transport`."""
        return self._open().send(message)

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """See `Transport`."""
        return self._open().send_batch(messages)

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """See `Transport`; the delivery is deleted now, as the invocation may yet be cut off."""
        self._open().send_on(delivery, message)

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Nothing: what there is, came with the event."""
        del max_messages, wait_seconds, visibility_timeout
        return []

    def delete(self, message: ReceivedMessage) -> None:
        """Nothing to do: Lambda deletes what is not reported as failed."""

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Nothing to do: Lambda deletes what is not reported as failed."""
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, reason: str) -> bool:
        """See `Transport`."""
        return self._open().move_to_dead_letters(message, reason)

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """See `Transport`."""
        self._open().change_visibility(message, seconds)

    def close(self) -> None:
        """Nothing to release: the queue itself stays open for the next event."""


class LambdaEvents:
    """Handles the events of a Lambda function; made once, for all invocations of a process."""

    def __init__(
        self,
        *,
        make_processor: Callable[[Callable[[float], bool]], Processor],
        prepare: Callable[[str], None],
        open_queue: Callable[[str], Transport],
        concurrency: int,
    ) -> None:
        """Take what the worker has.

        Args:
            make_processor: Makes the processor of an invocation, by how it may wait.
            prepare: Called with the URL of a queue before its first message is handled.
            open_queue: Opens a queue by its URL.
            concurrency: Records handled at once.
        """
        self._make_processor = make_processor
        self._prepare = prepare
        self._open_queue = open_queue
        self._concurrency = concurrency

    def handle(self, event: Mapping[str, Any], context: object) -> BatchResponse | None:
        """Handle an event; see `Worker.lambda_handler`."""
        invocation = _Invocation(_deadline(context))
        processor = self._make_processor(invocation.pause)
        if is_scheduled(event):
            processor.run_scheduled(event)
            return None
        records = event.get("Records")
        if not isinstance(records, list) or not all(isinstance(r, Mapping) for r in records):
            raise MessageInvalid(
                "the event is neither that of an SQS source (it has no Records) nor a scheduled "
                "one. Check what triggers this function."
            )
        return self._run_records(records, processor, invocation)

    def _run_records(
        self, records: Sequence[Record], processor: Processor, invocation: _Invocation
    ) -> BatchResponse:
        if not records:
            return {"batchItemFailures": []}
        queue = self._queue_of(records[0])
        self._prepare(queue.url)
        messages, failed = _read(records, invocation.deadline, fifo=queue.fifo)
        lines = _lines_of(messages, fifo=queue.fifo)
        with ThreadPoolExecutor(min(self._concurrency, len(lines) or 1), "letsgo-lambda") as pool:
            for not_handled in pool.map(
                lambda line: _run_in_order(processor, queue, line, invocation), lines
            ):
                failed.update(not_handled)
        return {
            "batchItemFailures": [
                {"itemIdentifier": record["messageId"]}
                for record in records
                if record["messageId"] in failed
            ]
        }

    def _queue_of(self, record: Record) -> LambdaQueue:
        arn = str(record.get("eventSourceARN", ""))
        url = queue_url(record)
        return LambdaQueue(
            url or arn,
            fifo=arn.endswith(".fifo"),
            open_queue=lambda: self._open_known(url, arn),
        )

    def _open_known(self, url: str | None, arn: str) -> Transport:
        if url is None:
            raise QueueUnavailable(
                f"the event's eventSourceARN {arn!r} names no SQS queue.", retryable=False
            )
        return self._open_queue(url)


class _Invocation:
    """How much time there is."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline

    def has_time_for(self, seconds: float) -> bool:
        """Whether so many seconds leave enough for the rest."""
        if self.deadline is None:
            return True
        return time.time() + seconds + RESERVE_SECONDS < self.deadline

    def pause(self, seconds: float) -> bool:
        """Wait, where there is time for it and somebody knows."""
        if self.deadline is None or not self.has_time_for(seconds):
            return False
        time.sleep(seconds)
        return True


def _read(
    records: Sequence[Record], deadline: float | None, *, fifo: bool
) -> tuple[list[ReceivedMessage], set[str]]:
    """The messages in the records, and the ids of records that are none.

    On a FIFO queue what comes behind such a record in its group is left out too.
    """
    messages: list[ReceivedMessage] = []
    failed: set[str] = set()
    broken_groups: set[object] = set()
    for record in records:
        group = _group_of(record) if fifo else None
        try:
            message = received_from(record, invisible_until=deadline)
        except MessageInvalid as error:
            if not isinstance(record.get("messageId"), str):
                raise  # nothing could name it in the answer
            logger.warning("%s", error)
            failed.add(record["messageId"])
            if fifo:
                broken_groups.add(group)
            continue
        if fifo and group in broken_groups:
            failed.add(message.message_id)
        else:
            messages.append(message)
    return messages, failed


def _group_of(record: Record) -> str | None:
    system = record.get("attributes")
    group = system.get("MessageGroupId") if isinstance(system, Mapping) else None
    return group if isinstance(group, str) else None


def _lines_of(messages: Sequence[ReceivedMessage], *, fifo: bool) -> list[list[ReceivedMessage]]:
    """The messages in lines: within one they go one after the other, and lines go at once.

    Args:
        messages: What was received together.
        fifo: Whether the queue is FIFO: then a line is a message group, else a single message.
    """
    if not fifo:
        return [[message] for message in messages]
    groups: dict[str | None, list[ReceivedMessage]] = {}
    for message in messages:
        groups.setdefault(message.group_id, []).append(message)
    return list(groups.values())


def _run_in_order(
    processor: Processor,
    queue: LambdaQueue,
    line: Sequence[ReceivedMessage],
    invocation: _Invocation,
) -> list[str]:
    """Handle messages one after the other; the ids of the one that failed and all after it."""
    for position, message in enumerate(line):
        if not invocation.has_time_for(0):
            logger.warning(
                "message %s was not begun: the invocation is about to end. It is delivered again; "
                "give the function more time, or smaller batches.",
                message.message_id,
            )
        elif processor.process(queue, message):
            continue
        return [rest.message_id for rest in line[position:]]
    return []


def _deadline(context: object) -> float | None:
    """When Lambda ends the invocation (seconds since 1970); None where nothing says."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return None if remaining is None else time.time() + remaining() / 1000
