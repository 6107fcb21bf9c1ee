"""Checks the attributes of an SQS queue and of its dead-letter queue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from claimcheck.core.holds import CONTENTS_SECONDS
from claimcheck.doctor.findings import Finding, carry_out, failure, passed, warning
from claimcheck.doctor.words import aws_command, in_words
from claimcheck.settings import ClaimCheckSettings
from letsgo_queue.admin.base import DEFAULT_MAX_RECEIVE_COUNT, MAX_MAX_RECEIVE_COUNT
from letsgo_queue.admin.sqs_create import DEAD_LETTERS_SUFFIX, FIFO_SUFFIX, RETENTION_SECONDS
from letsgo_queue.aws_client import error_code
from letsgo_queue.limits import (
    ANY_QUEUE_BYTES,
    DEFAULT_VISIBILITY_TIMEOUT,
    MAX_MESSAGE_BYTES,
    MAX_VISIBILITY_SECONDS,
)
from letsgo_queue.text import counted
from letsgo_queue.transports.sqs_client import NO_SUCH_QUEUE, dead_letter_url, make_client

if TYPE_CHECKING:
    from letsgo_queue.worker.worker import Worker

TICKET_BYTES = 4_096
"""The bytes that a ticket takes, with a long type and attributes."""

SHORT_RETENTION_SECONDS = 24 * 3600
"""Messages must outlive a worker that is down for a night and a morning."""

DEFAULT_RETENTION_SECONDS = 345_600
"""4 days: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""

LONG_VISIBILITY_SECONDS = 3600
"""The longest that a message should wait if its worker died."""


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """An SQS queue with its attributes.

    Attributes:
        url: Its URL.
        region: Its region.
        attributes: Its attributes, under SQS's names.
    """

    url: str
    region: str
    attributes: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]

    @property
    def arn(self) -> str:
        """Its ARN."""
        return self.attributes["QueueArn"]

    @property
    def is_fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return self.attributes.get("FifoQueue") == "true"

    @property
    def visibility_timeout(self) -> int:
        """Seconds that a message stays invisible."""
        return int(self.attributes.get("VisibilityTimeout", DEFAULT_VISIBILITY_TIMEOUT))

    @property
    def retention(self) -> int:
        """Seconds that a message is kept."""
        return int(self.attributes.get("MessageRetentionPeriod", DEFAULT_RETENTION_SECONDS))

    @property
    def limit(self) -> int:
        """Bytes that a message may have."""
        return int(self.attributes.get("MaximumMessageSize", ANY_QUEUE_BYTES))

    @property
    def redrive_policy(self) -> Mapping[str, Any]:
        """The redrive policy, as SQS has it; empty if there is none."""
        return cast("Mapping[str, Any]", json.loads(self.attributes.get("RedrivePolicy", "{}")))

    @property
    def max_receive_count(self) -> int | None:
        """The number of receives after which a message becomes a dead letter; None for never."""
        count = self.redrive_policy.get("maxReceiveCount")
        return None if count is None else int(count)

    @property
    def dead_letter_url(self) -> str | None:
        """URL of its dead-letter queue; None if it has none."""
        return dead_letter_url(self.url, self.attributes)

    def command(self, **attributes: str) -> str:
        """Return the command that sets attributes."""
        return aws_command(
            "sqs",
            "set-queue-attributes",
            self.region,
            queue_url=self.url,
            attributes=json.dumps(attributes),
        )


def read_queue(url: str, region: str | None) -> SqsQueue | None:
    """Ask SQS for all attributes of a queue; None if there is no such queue.

    Raises:
        ClientError: SQS refused.
        BotoCoreError: It did not answer.
    """
    client = make_client(url, region, quick=True)
    try:
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except ClientError as error:
        if error_code(error) not in NO_SUCH_QUEUE:
            raise
        return None
    attributes = cast("Mapping[str, str]", answer.get("Attributes", {}))
    return SqsQueue(url, client.meta.region_name, attributes)


def check_attributes(
    queue: SqsQueue, *, settings: ClaimCheckSettings, worker: Worker | None, in_lambda: bool
) -> Iterator[Finding]:
    """Check the attributes that concern the queue alone.

    Args:
        queue: The queue.
        settings: How messages are sealed.
        worker: The worker of its messages, if it is known.
        in_lambda: Whether Lambda receives them; then the function's check covers the visibility.
    """
    kind = "FIFO" if queue.is_fifo else "standard"
    yield passed("queue", f"{queue.name} is there, a {kind} queue")
    yield _check_limit(queue, settings)
    yield _check_retention(queue)
    if not in_lambda:
        yield _check_visibility(queue, worker)
    if worker is not None and not in_lambda:
        yield _check_time_limits(worker)


def check_redrive(queue: SqsQueue, worker: Worker | None, *, in_lambda: bool) -> Iterator[Finding]:
    """Check the redrive policy, and the dead-letter queue."""
    count = queue.max_receive_count
    if count is None:
        yield failure(
            "queue.redrive",
            "there is no redrive policy: a message that fails comes again until its retention "
            "ends, and is lost then",
            command=_make_dead_letters(queue),
        )
        return
    yield _check_count(queue, count, worker, in_lambda=in_lambda)
    yield from carry_out("dead-letters", lambda: _check_dead_letters(queue), service="sqs")


def _check_limit(queue: SqsQueue, settings: ClaimCheckSettings) -> Finding:
    name, limit = "queue.limit", queue.limit
    mend = queue.command(MaximumMessageSize=str(MAX_MESSAGE_BYTES))
    said = f"messages of up to {limit:,} bytes"
    if limit < TICKET_BYTES:
        return failure(name, f"{said}: a ticket with its attributes may not fit", command=mend)
    if settings.inline_limit is not None and settings.inline_limit > limit:
        return failure(
            name,
            f"{said}, and CLAIMCHECK_INLINE_LIMIT says {settings.inline_limit:,}: the queue "
            "refuses messages in between",
            command="unset CLAIMCHECK_INLINE_LIMIT",
        )
    if limit < ANY_QUEUE_BYTES:
        return warning(
            name,
            f"{said}: senders that may not ask for it assume {ANY_QUEUE_BYTES:,}, and others store "
            "more than they need to",
            command=mend,
        )
    return passed(name, said)


def _check_retention(queue: SqsQueue) -> Finding:
    name, kept = "queue.retention", queue.retention
    mend = queue.command(MessageRetentionPeriod=str(RETENTION_SECONDS))
    said = f"messages are kept for {in_words(kept)}"
    if kept <= queue.visibility_timeout:
        return failure(
            name,
            f"{said}, and invisible for {in_words(queue.visibility_timeout)} once received: a "
            "message that fails is lost before it comes again",
            command=mend,
        )
    if kept < SHORT_RETENTION_SECONDS:
        return warning(name, f"{said}: a worker that is down for longer loses them", command=mend)
    return passed(name, f"{said}, their claims for {in_words(CONTENTS_SECONDS)}")


def _check_visibility(queue: SqsQueue, worker: Worker | None) -> Finding:
    name, seconds = "queue.visibility", float(queue.visibility_timeout)
    if worker is not None and worker.visibility_timeout is not None:
        return passed(name, f"{in_words(worker.visibility_timeout)}, as the worker has it")
    said = f"a message that was received is invisible for {in_words(seconds)}"
    mend = queue.command(VisibilityTimeout=str(DEFAULT_VISIBILITY_TIMEOUT))
    if not seconds:
        return failure(name, f"{said}: every worker gets every message at once", command=mend)
    if worker is not None and seconds > LONG_VISIBILITY_SECONDS:
        return warning(
            name,
            f"{said}: it waits that long if its worker dies. A worker extends the time while its "
            "handler runs",
            command=mend,
        )
    return passed(name, said)


def _check_time_limits(worker: Worker) -> Finding:
    name = "worker.timeouts"
    limits = {each.name: each.limits.timeout for each in worker.handlers}
    beyond = {key: each for key, each in limits.items() if (each or 0) > MAX_VISIBILITY_SECONDS}
    if beyond:
        longest = max(beyond, key=lambda key: beyond[key] or 0)
        return failure(
            name,
            f"{longest} may run for {in_words(beyond[longest] or 0)}, and SQS gives a message to "
            f"another worker after {in_words(MAX_VISIBILITY_SECONDS)}",
            advice="give the handler a shorter timeout, and split its work",
        )
    return passed(name, f"{counted(len(limits), 'handler')}, none may run for over 12 hours")


def _check_count(queue: SqsQueue, count: int, worker: Worker | None, *, in_lambda: bool) -> Finding:
    name = "queue.redrive"
    said = f"a message becomes a dead letter after {counted(count, 'receive')}"
    attempts = attempts_of(worker)
    most = max(attempts, key=lambda key: attempts[key], default=None)
    if most is not None and attempts[most] > count:
        wanted = min(attempts[most] + 1, MAX_MAX_RECEIVE_COUNT)
        return failure(
            name,
            f"{said}, and the retry policy of {most} wants {counted(attempts[most], 'attempt')}",
            command=_redrive_command(queue, wanted),
        )
    least = DEFAULT_MAX_RECEIVE_COUNT if in_lambda else 2
    if count < least:
        return warning(
            name,
            f"{said}: receives without an attempt count as well, as when a worker is stopped"
            + (" or Lambda has no room" if in_lambda else ""),
            command=_redrive_command(queue, DEFAULT_MAX_RECEIVE_COUNT),
        )
    return passed(name, said)


def attempts_of(worker: Worker | None) -> Mapping[str, int]:
    """Return how often each retry policy of a worker tries a message.

    Args:
        worker: The worker; None if it is not known.
    """
    if worker is None:
        return {}
    policies = {each.name: each.retry_policy for each in worker.handlers if each.retry_policy}
    if worker.retry_policy is not None:
        policies["the worker"] = worker.retry_policy
    return {name: each.max_attempts for name, each in policies.items() if each.max_attempts}


def _check_dead_letters(queue: SqsQueue) -> Iterator[Finding]:
    url = queue.dead_letter_url
    assert url is not None
    dead = read_queue(url, queue.region)
    if dead is None:
        yield failure(
            "dead-letters",
            f"{url} does not exist: a message that fails stays until its retention ends, and is "
            "lost then",
            command=_make_dead_letters(queue, url.rpartition("/")[2]),
        )
        return
    yield passed("dead-letters", f"they go to {dead.name}")
    yield _check_dead_retention(queue, dead)
    yield from _check_way_there(queue, dead)


def _check_dead_retention(queue: SqsQueue, dead: SqsQueue) -> Finding:
    """Check that dead letters are kept for longer than messages.

    On a standard queue their age counts from when they were first sent:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    name = "dead-letters.retention"
    said = f"dead letters are kept for {in_words(dead.retention)}"
    mend = dead.command(MessageRetentionPeriod=str(RETENTION_SECONDS))
    if queue.is_fifo:
        if dead.retention < SHORT_RETENTION_SECONDS:
            return warning(name, f"{said}, and may expire before anybody sees them", command=mend)
        return passed(name, said)
    said += ", from when they were first sent"
    if dead.retention < queue.retention:
        return failure(
            name,
            f"{said}, and messages for {in_words(queue.retention)}: a late one is gone at once",
            command=mend,
        )
    if dead.retention == queue.retention and dead.retention < RETENTION_SECONDS:
        return warning(
            name, f"{said}, no longer than messages: a late one is gone soon", command=mend
        )
    return passed(name, said)


def _check_way_there(queue: SqsQueue, dead: SqsQueue) -> Iterator[Finding]:
    """Yield what could keep a message out of the dead-letter queue, or move it on from there."""
    if dead.limit < queue.limit:
        yield failure(
            "dead-letters.limit",
            f"{dead.name} takes {dead.limit:,} bytes, the queue {queue.limit:,}: a worker cannot "
            "move larger messages",
            command=dead.command(MaximumMessageSize=str(queue.limit)),
        )
    allowed = cast("Mapping[str, Any]", json.loads(dead.attributes.get("RedriveAllowPolicy", "{}")))
    permission = allowed.get("redrivePermission", "allowAll")
    sources = cast("Sequence[str]", allowed.get("sourceQueueArns", ()))
    if permission == "denyAll" or (permission == "byQueue" and queue.arn not in sources):
        policy = {"redrivePermission": "byQueue", "sourceQueueArns": [*sources, queue.arn]}
        yield failure(
            "dead-letters.allowed",
            f"{dead.name} takes no dead letters of this queue: its RedriveAllowPolicy says so",
            command=dead.command(RedriveAllowPolicy=json.dumps(policy)),
        )
    if dead.max_receive_count is not None:
        yield warning(
            "dead-letters.redrive",
            f"{dead.name} has a redrive policy itself: dead letters that are looked at too often "
            "move on",
            command=dead.command(RedrivePolicy=""),
        )


def _redrive_command(queue: SqsQueue, count: int) -> str:
    policy = {**queue.redrive_policy, "maxReceiveCount": count}
    return queue.command(RedrivePolicy=json.dumps(policy))


def _make_dead_letters(queue: SqsQueue, name: str | None = None) -> str:
    """Return the commands that make a dead-letter queue, and have the queue use it."""
    suffix = FIFO_SUFFIX if queue.is_fifo else ""
    name = name or queue.name.removesuffix(suffix) + DEAD_LETTERS_SUFFIX + suffix
    attributes = {
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
        "MaximumMessageSize": str(queue.limit),
    } | ({"FifoQueue": "true"} if suffix else {})
    policy = {
        "deadLetterTargetArn": f"{queue.arn.rpartition(':')[0]}:{name}",
        "maxReceiveCount": queue.max_receive_count or DEFAULT_MAX_RECEIVE_COUNT,
    }
    make = aws_command(
        "sqs",
        "create-queue",
        queue.region,
        queue_name=name,
        attributes=json.dumps(attributes),
    )
    return f"{make} && {queue.command(RedrivePolicy=json.dumps(policy))}"
