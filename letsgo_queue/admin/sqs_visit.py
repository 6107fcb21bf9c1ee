"""A visit to a dead-letter queue on SQS.

SQS has no list of a queue's messages. So a visit receives dead letters, which makes them invisible,
and makes the rest visible again when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from letsgo_queue.errors import LetsGoQueueError, QueueNotFound, QueueUnavailable
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.sqs import SYSTEM_ATTRIBUTES, SqsTransport, from_sqs
from letsgo_queue.transports.sqs_client import asking

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = get_logger(__name__)

WAIT_SECONDS = 1
"""A long poll asks all of SQS's servers; a short one may miss letters.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html"""


BEGINNING_SECONDS = 1.2
"""SQS tells its time in whole seconds. This long after an answer, the second that it named is over
on each of SQS's servers."""


class Visit:
    """One pass over a dead-letter queue, which yields each letter once.

    Attributes:
        began_before: Letters that existed when the visit began were sent before this moment, by
            SQS's clock (seconds since 1970).
    """

    def __init__(
        self,
        client: SQSClient,
        url: str,
        *,
        source: str,
        began_before: float,
        visibility_timeout: int,
    ) -> None:
        """Begin a visit, without receiving letters yet.

        Args:
            client: Makes the requests.
            url: The dead-letter queue.
            source: ARN of the queue whose letters to visit. Letters of other queues are left alone.
            began_before: The end of this second, by SQS's clock (seconds since 1970).
            visibility_timeout: Seconds that letters stay invisible if the process is killed.
        """
        self.began_before = began_before
        self._begun_at = time.monotonic() + BEGINNING_SECONDS
        self._client = client
        self._letters = SqsTransport(url, client=client)
        self._source = source
        self._visibility_timeout = visibility_timeout
        self._held: dict[str, ReceivedMessage] = {}

    def batches(self) -> Iterator[Sequence[ReceivedMessage]]:
        """Yield the letters of our queue, up to ten at a time, until no new letters come.

        A letter may come again: SQS may deliver it twice, and it becomes visible again if the visit
        takes longer than its visibility timeout. The visit goes on then, since more may come.
        """
        seen: set[str] = set()
        again = 0
        while again <= len(seen):
            count, ours = self._receive()
            if not count:
                return
            new = self._held.keys() - seen
            seen |= new
            again = 0 if new else again + count
            if new:
                yield [letter for letter in ours if letter.message_id in new]

    def wait_until_begun(self) -> None:
        """Wait until `began_before` is over: a letter that dies from now on was sent later."""
        time.sleep(max(self._begun_at - time.monotonic(), 0.0))

    def delete(self, letters: Sequence[ReceivedMessage]) -> Mapping[str, LetsGoQueueError]:
        """Remove letters.

        Returns:
            Why some could not be removed, by message id.
        """
        if not letters:
            return {}
        errors: dict[str, LetsGoQueueError] = {}
        outcomes = self._letters.delete_batch(letters)
        for letter, error in zip(letters, outcomes, strict=True):
            if error is None:
                del self._held[letter.message_id]
            else:
                errors[letter.message_id] = error
        return errors

    def __enter__(self) -> Self:
        """Enter the visit; `batches` receives the letters."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Make the remaining letters visible; if that fails, their timeout does it."""
        held = list(self._held.values())
        try:
            for start in range(0, len(held), MAX_BATCH):
                self._make_visible(held[start : start + MAX_BATCH])
        except (QueueUnavailable, QueueNotFound) as refused:
            logger.warning("%s That ends in %d s.", refused, self._visibility_timeout)

    def _make_visible(self, letters: Sequence[ReceivedMessage]) -> None:
        with asking(self._letters.url, "letters that were looked at are still invisible"):
            # An entry fails if somebody else has received its letter: it is theirs now.
            self._client.change_message_visibility_batch(
                QueueUrl=self._letters.url,
                Entries=[
                    {
                        "Id": str(position),
                        "ReceiptHandle": letter.receipt_handle,
                        "VisibilityTimeout": 0,
                    }
                    for position, letter in enumerate(letters)
                ],
            )

    def _receive(self) -> tuple[int, Sequence[ReceivedMessage]]:
        """Receive up to ten letters and hold them all; return how many, and those of our queue."""
        with asking(self._letters.url, "no dead letter could be received"):
            answer = self._client.receive_message(
                QueueUrl=self._letters.url,
                MaxNumberOfMessages=MAX_BATCH,
                WaitTimeSeconds=WAIT_SECONDS,
                VisibilityTimeout=self._visibility_timeout,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=[
                    *SYSTEM_ATTRIBUTES,
                    "DeadLetterQueueSourceArn",
                ],
            )
        received_at = time.monotonic()
        ours = []
        letters = answer.get("Messages", [])
        for found in letters:
            letter = from_sqs(found, received_at, self._visibility_timeout)
            self._held[letter.message_id] = letter
            # SQS names no source for a letter that a worker sent here.
            source = found.get("Attributes", {}).get("DeadLetterQueueSourceArn", self._source)
            if source == self._source:
                ours.append(letter)
        return len(letters), ours
