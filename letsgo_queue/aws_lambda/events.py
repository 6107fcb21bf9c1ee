"""The worker behind an SQS event source of AWS Lambda."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from letsgo_queue.aws_lambda.batches import Batch, BatchResponse, Invocation
from letsgo_queue.aws_lambda.records import SqsRecord, is_scheduled, records_in
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid, QueueUnavailable
from letsgo_queue.failure import Failure
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import (
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    Transport,
    one_by_one,
)
from letsgo_queue.worker.processing import Held, Processor

logger = get_logger(__name__)


class LambdaQueue:
    """The queue behind an event: Lambda has received the messages, and deletes them.

    It opens the queue itself only if a message needs more: a retry, a long delay, a dead letter.
    """

    seconds_to_prove_empty = 0

    def __init__(self, record: SqsRecord, open_queue: Callable[[str], Transport]) -> None:
        """Name the queue.

        Args:
            record: A record that came from it.
            open_queue: Opens a queue by its URL.
        """
        self.url = record.queue_url or ""
        self.fifo = record.is_fifo
        self._is_redelivery = record.is_redelivery
        self._open_queue = open_queue

    def max_receives(self) -> int | None:
        """See `Transport`; None in a first delivery, so that its failure costs no call to SQS.

        A first delivery should not be the last: AWS asks for a maxReceiveCount of at least 5 with
        Lambda. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
        """
        return self._open().max_receives() if self._is_redelivery else None

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
        """See `Transport`. It deletes the delivery now: Lambda may still cut off the invocation."""
        self._open().send_on(delivery, message)

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Return nothing: every message came with the event."""
        del max_messages, wait_seconds, visibility_timeout
        return []

    def delete(self, message: ReceivedMessage) -> None:
        """Nothing to do: Lambda deletes the messages that are not reported as failed."""

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Nothing to do: Lambda deletes the messages that are not reported as failed."""
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """See `Transport`."""
        return self._open().move_to_dead_letters(message, failure)

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """See `Transport`."""
        self._open().change_visibility(message, seconds)

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Keep deliveries invisible; see `Transport`."""
        return one_by_one(self.change_visibility, changes)

    def close(self) -> None:
        """Nothing to release: the queue itself stays open for the next event."""

    def _open(self) -> Transport:
        if not self.url:
            raise QueueUnavailable(
                "the record does not say which SQS queue it came from (eventSourceARN), so that "
                "queue cannot be asked.",
                retryable=False,
            )
        return self._open_queue(self.url)


class LambdaEvents:
    """Handles the events of a Lambda function; made once, for all invocations of a process."""

    def __init__(
        self,
        processor: Processor,
        *,
        prepare: Callable[[str], None],
        open_queue: Callable[[str], Transport],
        concurrency: int,
    ) -> None:
        """Take what the worker has.

        Args:
            processor: Handles the messages, and scheduled events.
            prepare: Called with the URL of a queue before its first message is handled.
            open_queue: Opens a queue by its URL.
            concurrency: Records handled at once.
        """
        self._processor = processor
        self._prepare = prepare
        self._open_queue = open_queue
        self._concurrency = concurrency

    def handle(
        self, event: Mapping[str, Any] | Sequence[Mapping[str, Any]], context: object
    ) -> BatchResponse | None:
        """Handle an event; see `Worker.lambda_handler`."""
        if is_scheduled(event):
            self._processor.run_scheduled(event)
            return None
        records = records_in(event)
        if records is None:
            raise MessageInvalid(
                "the event is neither that of an SQS source (it has no Records) nor a scheduled "
                "one. Check what triggers this function."
            )
        batch = Batch(records)
        if not batch.records:
            return batch.response()
        if any(record.message_id is None for record in batch.records):
            raise MessageInvalid(
                "a record of the event has no messageId, by which Lambda could be told that it "
                "failed: this is no event of an SQS source."
            )
        for record in batch.records:
            self._prepare(record.queue_url or "")
        invocation = Invocation(context)
        lanes = batch.lanes()
        variables = copy_context()  # those of this thread

        def run(lane: Sequence[SqsRecord]) -> None:
            variables.copy().run(self._run, lane, batch, invocation)

        with ThreadPoolExecutor(min(self._concurrency, len(lanes)), "letsgo-lambda") as pool:
            list(pool.map(run, lanes))  # raises what a thread raised
        return batch.response()

    def _run(
        self,
        lane: Sequence[SqsRecord],
        batch: Batch,
        invocation: Invocation,
    ) -> None:
        """Handle the records of a lane one after the other, until one fails."""
        for position, record in enumerate(lane):
            if not self._handle_record(record, invocation):
                for unhandled in lane[position:]:
                    batch.fail(unhandled)
                return

    def _handle_record(self, record: SqsRecord, invocation: Invocation) -> bool:
        if not invocation.has_time_for(0):
            logger.warning(
                "message %s was not begun: the invocation is about to end. It is delivered again; "
                "give the function more time, or smaller batches.",
                record.name,
                extra={"message_id": record.name, "queue": record.queue_url or ""},
            )
            return False
        try:
            received = record.received(seconds_left=invocation.seconds_left)
        except MessageInvalid as error:
            logger.warning("%s", error)
            return False
        queue = LambdaQueue(record, self._open_queue)
        return self._processor.run_to_end(
            queue,
            received,
            wait=lambda held: _wait(held, invocation),
            lambda_context=invocation.context,
        )


def _wait(held: Held, invocation: Invocation) -> bool:
    """Wait for a store. If another delivery has the claim, do not wait: the message comes again."""
    return held.error.retry_after is None and invocation.wait(held.seconds)
