"""Invokes a Lambda function with the messages of a queue, and treats its answer as AWS does.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from letsgo_queue.attributes import spell_out
from letsgo_queue.aws_hosts import partition_of, queue_url_of_arn
from letsgo_queue.aws_lambda.records import attributes_for_record, md5_of
from letsgo_queue.durations import Duration
from letsgo_queue.envelope import type_in
from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.events import (
    Event,
    MessageFailed,
    MessageHandled,
    listen_to_all,
)
from letsgo_queue.settings import is_sqs, region_in, split_url
from letsgo_queue.testing.draining import DEFAULT_LIMIT, Drained, NotDrained, Outcome, raise_failure
from letsgo_queue.testing.queues import QueueInTest, Waiting
from letsgo_queue.transports.base import ReceivedMessage

if TYPE_CHECKING:
    from letsgo_queue.testing.surroundings import Surroundings

DEFAULT_BATCH = 10
"""Messages in an event: Lambda's own default, and all that SQS gives at once."""

__tracebackhide__ = True  # pytest shows the test, and then the handler

_REGION = "us-west-2"
_ACCOUNT = "123456789012"


class RecordsFailed(LetsGoQueueError):
    """A Lambda function reported records as failed, without raising the error that it caught."""


@dataclass(slots=True, kw_only=True)
class LambdaContext:
    """The context that Lambda passes beside the event: the fields that functions and loggers read.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html

    Attributes:
        function_name: The function's name.
        function_version: Its version.
        memory_limit_in_mb: Its memory.
        seconds: How long the invocation may take.
        aws_request_id: Names the invocation.
    """

    function_name: str = "letsgo-test"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    seconds: float = 60.0
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    identity: None = None
    client_context: None = None
    _ends: float = field(init=False, repr=False, default=math.inf)

    def __post_init__(self) -> None:
        """Note when the invocation begins."""
        self._ends = time.monotonic() + self.seconds

    @property
    def invoked_function_arn(self) -> str:
        """The function's ARN."""
        return f"arn:aws:lambda:{_REGION}:{_ACCOUNT}:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """The name of the function's log group."""
        return f"/aws/lambda/{self.function_name}"

    @property
    def log_stream_name(self) -> str:
        """The name of the log stream of this process."""
        return f"[{self.function_version}]{self.aws_request_id}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the invocation."""
        return max(int((self._ends - time.monotonic()) * 1000), 0)


class LambdaInTest:
    """A Lambda function that a test invokes with the messages of its queue."""

    def __init__(
        self,
        function: Callable[[Any, Any], object],
        queue: QueueInTest,
        surroundings: Surroundings,
        *,
        batch_size: int = DEFAULT_BATCH,
    ) -> None:
        """Wrap a function. A test calls `Sandbox.lambda_function` for this.

        Args:
            function: It takes `(event, context)`.
            queue: Its queue.
            surroundings: Have the queue, and the clock.
            batch_size: The most messages in an event.
        """
        self._function = function
        self._queue = queue
        self._surroundings = surroundings
        self._batch_size = batch_size
        self._arn = _arn_of(queue)
        if url := queue_url_of_arn(self._arn):
            surroundings.alias(url, queue)

    def drain(self, *, raises: bool = True, limit: int = DEFAULT_LIMIT) -> Drained:
        """Invoke the function until no message is due any more.

        A message that it does not report as failed is deleted, as Lambda does if the event source
        mapping has `ReportBatchItemFailures`. A message that it reports comes again after its
        visibility timeout. If the function raises, all messages of the event come again.

        Args:
            raises: Raise the errors of the function, and of a worker's handlers in it. If the
                function reports a record for a reason that only it knows, raise `RecordsFailed`.
                False goes on, and the result says which messages failed.
            limit: How many messages may be handled.

        Returns:
            The outcome of each message.

        Raises:
            BaseException: The error of the function, or of a handler in it.
            RecordsFailed: The function reported records as failed.
            NotDrained: More than `limit` messages are due.
        """
        events: list[Outcome] = []
        count = 0
        while batch := self._receive():
            count += len(batch)
            if count > limit:
                for received in batch:
                    self._queue.change_visibility(received, 0)
                raise NotDrained(
                    f"over {limit:,} messages are due. If the function enqueues what it handles, "
                    "mend that. If there are so many, give drain(limit=...) more."
                )
            outcomes = self._invoke(batch)
            events += outcomes
            for event in outcomes:
                raise_failure(event, always=raises)
        return Drained.of(events)

    def advance(self, seconds: Duration) -> None:
        """Let time pass for all queues and claims of the test; see `Sandbox.advance`."""
        self._surroundings.advance(seconds)

    @property
    def waiting(self) -> list[Waiting]:
        """The messages on its queue that are not due yet: delayed, or to be tried again."""
        return self._queue.waiting()

    def _receive(self) -> Sequence[ReceivedMessage]:
        return self._queue.receive(
            max_messages=self._batch_size, wait_seconds=0, visibility_timeout=None
        )

    def _invoke(self, batch: Sequence[ReceivedMessage]) -> Sequence[Outcome]:
        """Invoke the function with an event, and return the outcome of each message."""
        heard: dict[str, Outcome] = {}
        ids = [received.message_id for received in batch]

        def hear(event: Event) -> None:
            if isinstance(event, Outcome) and event.message_id in ids:
                heard[event.message_id] = event

        started = time.monotonic()
        error: BaseException | None = None
        failed: Sequence[str] = ids
        stop_listening = listen_to_all(hear)
        try:
            failed = _failed_in(self._function(self._event(batch), LambdaContext()), ids)
        except BaseException as raised:  # noqa: BLE001  `drain` raises it
            error = raised
        finally:
            stop_listening()
        if error is None and failed:
            error = RecordsFailed(
                f"the function reported {len(failed)} of {len(ids)} records as failed: "
                f"{', '.join(failed)}."
            )
        outcomes: list[Outcome] = []
        for received in batch:
            if received.message_id not in failed:
                self._queue.delete(received)
            outcomes.append(
                heard.get(received.message_id)
                or self._outcome(
                    received,
                    error if received.message_id in failed else None,
                    time.monotonic() - started,
                )
            )
        return outcomes

    def _outcome(
        self, received: ReceivedMessage, error: BaseException | None, duration: float
    ) -> Outcome:
        """Return the outcome of a message that the function handled without a worker."""
        facts: dict[str, Any] = {
            "type": type_in(received.body),
            "queue": self._queue.url,
            "message_id": received.message_id,
            "receive_count": received.receive_count,
            "has_handler": True,
            "route": "inline",
            "age": max(self._surroundings.now() - received.sent_at, 0.0),
            "duration": duration,
            "handler_duration": duration,
        }
        if error is None:
            return MessageHandled(**facts)
        return MessageFailed(**facts, error=error)

    def _event(self, batch: Sequence[ReceivedMessage]) -> dict[str, Any]:
        """Return the event that Lambda makes of messages."""
        return {"Records": [self._record(received) for received in batch]}

    def _record(self, received: ReceivedMessage) -> dict[str, Any]:
        """Return a message as Lambda hands it over.

        https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
        """
        first = received.first_received_at or received.sent_at
        return {
            "messageId": received.message_id,
            "receiptHandle": received.receipt_handle,
            "body": received.body,
            "attributes": {
                "ApproximateReceiveCount": str(received.receive_count),
                "SentTimestamp": str(int(received.sent_at * 1000)),
                "SenderId": "AIDAEXAMPLE",
                "ApproximateFirstReceiveTimestamp": str(int(first * 1000)),
                **({"MessageGroupId": received.group_id} if received.group_id else {}),
                **({"AWSTraceHeader": received.trace_header} if received.trace_header else {}),
            },
            "messageAttributes": attributes_for_record(spell_out(received.attributes)),
            "md5OfBody": md5_of(received.body),
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": self._arn.split(":")[3],
        }


def _arn_of(queue: QueueInTest) -> str:
    """Return the ARN of a queue; a made-up ARN for a queue that is not on AWS."""
    if is_sqs(queue.url) and (region := region_in(queue.url)):
        account, name = split_url(queue.url).path.strip("/").split("/")[-2:]
        return f"arn:{partition_of(region)}:sqs:{region}:{account}:{name}"
    suffix = ".fifo" if queue.fifo else ""
    return f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:letsgo-test-{id(queue):x}{suffix}"


def _failed_in(answer: object, ids: Sequence[str]) -> Sequence[str]:
    """Return the ids that an answer reports as failed.

    As in Lambda, these are all if the answer names an id that was not in the event.
    """
    failures = answer.get("batchItemFailures") if isinstance(answer, Mapping) else None
    if not failures:
        return ()
    named = [each.get("itemIdentifier") if isinstance(each, Mapping) else None for each in failures]
    return [each for each in ids if each in named] if set(named) <= set(ids) else ids
