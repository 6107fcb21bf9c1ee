"""Reads SQS's answers for a queue client, and works out times and sizes for a claim."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
)

from letsgo_queue.aws_client import error_code, explain
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import (
    ANY_QUEUE_BYTES,
    DEFAULT_VISIBILITY_TIMEOUT,
    MAX_VISIBILITY_SECONDS,
)
from letsgo_queue.log import get_logger
from letsgo_queue.transports.sqs_client import NO_SUCH_QUEUE, is_retryable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

logger = get_logger(__name__)

QUEUE_FACTS: Sequence[QueueAttributeNameType] = ("MaximumMessageSize", "VisibilityTimeout")
"""The attributes of a queue that decide how its messages are sealed and held."""

RECEIVE_COUNT = "ApproximateReceiveCount"
"""The attribute that says how often a message was received."""

_SERVER_ERROR = 500

_MOST_EARLIER_SECONDS = 5.0
"""A lease ends before the message is visible again, or its next delivery would find it held."""

_MOST_HIDDEN = MAX_VISIBILITY_SECONDS - 3600
"""SQS counts its 12 hours from the receive, which was some time ago."""

_FIRST_PAUSE_SECONDS = 30
_LONGEST_PAUSE_SECONDS = 900
_MOST_DOUBLED = 5


def facts_of(queue: str) -> Sequence[QueueAttributeNameType]:
    """The attributes to ask a queue for; a standard queue refuses those of FIFO queues."""
    return (*QUEUE_FACTS, "ContentBasedDeduplication") if queue.endswith(".fifo") else QUEUE_FACTS


class QueueFacts:
    """The attributes of queues, asked for once. Safe to share between threads."""

    def __init__(self) -> None:
        """Ask nothing yet."""
        self._found: dict[str, Mapping[str, str]] = {}

    def known(self, queue: str) -> Mapping[str, str]:
        """The attributes of a queue as far as it was asked."""
        return self._found.get(queue, {})

    def of(self, client: SQSClient, queue: str) -> Mapping[str, str]:
        """The attributes of a queue; none if that is not permitted, or it does not answer."""
        if queue not in self._found:
            with self._asking(queue):
                answer = client.get_queue_attributes(
                    QueueUrl=queue, AttributeNames=[*facts_of(queue)]
                )
                self._found[queue] = cast("Mapping[str, str]", answer.get("Attributes", {}))
        return self.known(queue)

    async def learn(self, client: Any, queue: str) -> Mapping[str, str]:
        """The same with a client for asyncio."""
        if queue not in self._found:
            with self._asking(queue):
                answer = await client.get_queue_attributes(
                    QueueUrl=queue, AttributeNames=[*facts_of(queue)]
                )
                self._found[queue] = answer.get("Attributes", {})
        return self.known(queue)

    @contextmanager
    def _asking(self, queue: str) -> Iterator[None]:
        """Note a refusal that will stay. Any other error is left to the next call of the user."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            code = error_code(error) if isinstance(error, ClientError) else None
            if code is None or code in NO_SUCH_QUEUE or is_retryable(error):  # it may answer later
                logger.info("queue %s does not say what it accepts: %s", queue, explain(error))
                return
            logger.warning(
                "queue %s does not say what it accepts: %s. Assuming that it takes %d bytes, "
                "deduplicates by content if it is FIFO, and a visibility timeout of %d s. Permit "
                "sqs:GetQueueAttributes.",
                queue,
                explain(error),
                ANY_QUEUE_BYTES,
                DEFAULT_VISIBILITY_TIMEOUT,
            )
            self._found[queue] = {}


def max_message_bytes(facts: Mapping[str, str]) -> int | None:
    """Bytes that a queue accepts; None if it does not say."""
    limit = facts.get("MaximumMessageSize")
    return None if limit is None else int(limit)


def visibility_timeout(facts: Mapping[str, str]) -> float:
    """Seconds for which a queue hides a message, if the receive does not say."""
    return float(facts.get("VisibilityTimeout", DEFAULT_VISIBILITY_TIMEOUT))


def attributes_size(attributes: object) -> int:
    """Bytes of message attributes; 0 for attributes that botocore refuses."""
    if attributes is None or not isinstance(attributes, Mapping):
        return 0  # None is asked first: most messages have none, and a Mapping takes longer
    size = 0
    for name, attribute in attributes.items():
        values = [name, *(attribute.values() if isinstance(attribute, Mapping) else ())]
        for value in values:
            if isinstance(value, str):
                size += len(value.encode(errors="surrogatepass"))  # SQS refuses half a character
            elif isinstance(value, bytes | bytearray):
                size += len(value)
    return size


def md5_of(text: str) -> str:
    """The MD5 that SQS gives with a body: a checksum, no protection."""
    # JSON can write half a character, and an envelope that was parsed may have one.
    data = text.encode(errors="surrogatepass")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def receive_count(attributes: Mapping[Any, Any] | None) -> int:
    """How often a message was received, this time included; 1 if its attributes do not say."""
    return int((attributes or {}).get(RECEIVE_COUNT, 1))


def lease_seconds(hidden: float, *, waited: float = 0) -> float:
    """Seconds for which a claim is held.

    Args:
        hidden: Seconds that the message was hidden for.
        waited: How many of them have passed.
    """
    return hidden - min(hidden / 10, _MOST_EARLIER_SECONDS) - waited


def pause_after(error: LetsGoError | None, receive_count: int) -> int:
    """Seconds until a message that could not be opened should be tried again."""
    if error is not None and error.retry_after is not None:
        return min(math.ceil(error.retry_after) + 1, _MOST_HIDDEN)
    times: int = 2 ** min(max(receive_count - 1, 0), _MOST_DOUBLED)
    return min(_FIRST_PAUSE_SECONDS * times, _LONGEST_PAUSE_SECONDS)


def was_certainly_not_sent(error: Exception) -> bool:
    """Whether SQS refused a message the first time it was sent, or botocore did not send it."""
    if isinstance(error, ClientError):
        answer = error.response.get("ResponseMetadata", {})
        refused = answer.get("HTTPStatusCode", _SERVER_ERROR) < _SERVER_ERROR
        return refused and not answer.get("RetryAttempts", 1)
    return isinstance(error, ParamValidationError | NoCredentialsError)
