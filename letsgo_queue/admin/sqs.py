"""Administers an SQS queue.

Redriving sends each dead letter to the queue, then deletes it. A crash in between may duplicate a
message, but never loses one.

SQS's own StartMessageMoveTask does not serve here. It moves all letters or none, and keeps the
reason on them. Without a destination it stops at a letter that a worker sent
(CouldNotDetermineMessageSource).
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/troubleshooting-dlq-redrive.html
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias, cast

from letsgo_queue.admin.base import QueueStatus, Retention, check_limit
from letsgo_queue.admin.letters import (
    EVERY_LETTER,
    DeadLetter,
    DeadLetterFilter,
    LetterResult,
    Progress,
    dead_letter,
    without_failure,
)
from letsgo_queue.admin.sqs_visit import Visit
from letsgo_queue.attributes import attributes_size
from letsgo_queue.aws_client import time_of
from letsgo_queue.envelope import type_in
from letsgo_queue.errors import (
    DeadLettersLeft,
    LetsGoQueueError,
    QueueNotFound,
    QueueUnavailable,
)
from letsgo_queue.limits import MAX_BATCH, MAX_BATCH_BYTES
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Sent
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.transports.sqs_client import asking, dead_letter_url

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

LIST_VISIBILITY_SECONDS = 60
"""How long listed dead letters stay invisible if the process is killed meanwhile."""

CHANGE_VISIBILITY_SECONDS = 120
"""The same for letters that are changed: time to send and delete ten, with retries."""

_Treat: TypeAlias = "Callable[[Sequence[ReceivedMessage], Visit], Mapping[str, LetsGoQueueError]]"
"""Redrives or deletes letters, and returns what went wrong, by message id."""

_RETENTION: QueueAttributeNameType = "MessageRetentionPeriod"
_COUNTS: list[QueueAttributeNameType] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]


@dataclass(frozen=True, slots=True)
class _Described:
    """Attributes of a queue, and when SQS told them.

    Attributes:
        attributes: The attributes, under SQS's names.
        at: The end of the second in which SQS answered, by its clock (seconds since 1970).
    """

    attributes: Mapping[str, str]
    at: float


class SqsAdmin:
    """An SQS queue and its dead-letter queue.

    A dead-letter queue may serve several queues. Letters that SQS moved there from another queue
    are left alone. SQS does not tell which queue a worker moved a letter from: such letters all
    count as ours.
    """

    def __init__(
        self, url: str, *, region: str | None = None, client: SQSClient | None = None
    ) -> None:
        """Name a queue, without asking it yet.

        Args:
            url: The queue's URL; see `SqsTransport`.
            region: The region for URLs that do not say.
            client: A boto3 SQS client to use instead of a new one; see `SqsTransport`.
        """
        self._queue = SqsTransport(url, region=region, client=client)

    @property
    def url(self) -> str:
        """The queue's URL."""
        return self._queue.url

    def status(self) -> QueueStatus:
        """Return SQS's approximate numbers; see `QueueAdmin.status`."""
        attributes = self._describe(self.url, [*_COUNTS, "RedrivePolicy"]).attributes
        waiting, in_flight, delayed = (int(attributes[name]) for name in _COUNTS)
        dead = None
        if (letters_url := dead_letter_url(self.url, attributes)) is not None:
            counts = self._describe(letters_url, _COUNTS).attributes
            # Letters that somebody looks at, or that the queue delays, are dead letters as well.
            dead = sum(int(counts[name]) for name in _COUNTS)
        return QueueStatus(waiting, in_flight, delayed, dead)

    def retention(self) -> Retention:
        """Return the retention periods of both queues; see `QueueAdmin.retention`."""
        attributes = self._describe(self.url, [_RETENTION, "RedrivePolicy"]).attributes
        dead = 0
        if (letters_url := dead_letter_url(self.url, attributes)) is not None:
            dead = int(self._describe(letters_url, [_RETENTION]).attributes[_RETENTION])
        return Retention(int(attributes[_RETENTION]), dead)

    def purge(self) -> None:
        """Remove every message but the dead letters; see `QueueAdmin.purge`.

        SQS takes up to 60 seconds for it. Messages that are sent meanwhile may be removed too.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html

        Raises:
            QueueUnavailable: A purge began less than 60 seconds ago: SQS allows one at a time.
        """
        with asking(self.url, "it was not purged"):
            client = self._queue.client
            try:
                client.purge_queue(QueueUrl=self.url)
            except client.exceptions.PurgeQueueInProgress as error:
                raise QueueUnavailable(
                    f"queue {self.url} is being purged: SQS takes one purge in 60 seconds. Wait "
                    "until that one is over, and try again if messages are left."
                ) from error

    def dead_letters(
        self, *, only: DeadLetterFilter = EVERY_LETTER, limit: int | None = None
    ) -> Sequence[DeadLetter]:
        """Return the dead letters that SQS hands out now; see `QueueAdmin.dead_letters`.

        On a FIFO queue SQS hands out at most the first ten letters of a message group. Letters that
        somebody else lists or redrives at the same time are missing from the list.
        """
        check_limit(limit)
        letters: list[DeadLetter] = []
        with self._visit(LIST_VISIBILITY_SECONDS) as visit:
            now = datetime.fromtimestamp(visit.began_before, UTC)
            for batch in visit.batches():
                found = map(dead_letter, batch)
                letters += [letter for letter in found if only.matches(letter, now)]
                if _is_enough(only, len(letters), limit):
                    break
        return sorted(letters[:limit], key=lambda letter: letter.sent_at)

    def redrive(
        self,
        *,
        only: DeadLetterFilter = EVERY_LETTER,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Send dead letters to the queue, then delete them; see `QueueAdmin.redrive`.

        Each becomes a new message with an id of its own. Message groups of a FIFO queue keep their
        order; other letters come in about the order in which SQS hands them out.
        """
        return self._treat(self._move, f"moved to {self.url}", only, limit, progress)

    def delete(
        self,
        *,
        only: DeadLetterFilter = EVERY_LETTER,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Delete dead letters; see `QueueAdmin.delete`."""

        def delete(
            letters: Sequence[ReceivedMessage], visit: Visit
        ) -> Mapping[str, LetsGoQueueError]:
            return visit.delete(letters)

        return self._treat(delete, "deleted", only, limit, progress)

    def close(self) -> None:
        """Close the client's connections."""
        self._queue.close()

    def _treat(
        self,
        treat: _Treat,
        how: str,
        only: DeadLetterFilter,
        limit: int | None,
        progress: Progress | None,
    ) -> int:
        """Redrive or delete letters, and return how many."""
        check_limit(limit)
        done = 0
        errors: dict[str, LetsGoQueueError] = {}
        with self._visit(CHANGE_VISIBILITY_SECONDS) as visit:
            for letters in self._chosen(visit, only, limit):
                failed = treat(letters, visit)
                errors |= failed
                done += len(letters) - len(failed)
                if progress is not None:
                    for letter in letters:
                        progress(_result(letter, failed))
                if any(self._ends_it(error) for error in failed.values()):
                    break
        if errors:
            message_id, error = next(iter(errors.items()))
            raise DeadLettersLeft(
                f"{done} dead letters were {how}, {len(errors)} were not; the first is message "
                f"{message_id} ({type(error).__name__}): {error} These are dead letters still. "
                "Settle the cause before you try again.",
                done=done,
                errors=errors,
            )
        return done

    def _chosen(
        self, visit: Visit, only: DeadLetterFilter, limit: int | None
    ) -> Iterator[Sequence[ReceivedMessage]]:
        """Yield the letters that the filter chooses, as many at a time as one request takes."""
        now = datetime.fromtimestamp(visit.began_before, UTC)
        chosen = 0
        for batch in visit.batches():
            letters = [
                letter
                # A FIFO queue hands letters out in order, whatever their times are.
                for letter in (batch if self._queue.fifo else _oldest_first(batch))
                # Later letters were redriven by this visit, and are dead again.
                if letter.sent_at < visit.began_before
                and (only is EVERY_LETTER or only.matches(dead_letter(letter), now))
            ][: None if limit is None else limit - chosen]
            # A letter that fails holds up the rest of its message group.
            yield from _fitting(letters, 1 if self._queue.fifo else MAX_BATCH)
            chosen += len(letters)
            if _is_enough(only, chosen, limit):
                return

    def _move(
        self, letters: Sequence[ReceivedMessage], visit: Visit
    ) -> Mapping[str, LetsGoQueueError]:
        """Send letters, and delete them; see `_Treat`."""
        visit.wait_until_begun()
        outcomes = self._send([self._outgoing(letter) for letter in letters])
        errors: dict[str, LetsGoQueueError] = {
            letter.message_id: outcome
            for letter, outcome in zip(letters, outcomes, strict=True)
            if isinstance(outcome, LetsGoQueueError)
        }
        sent = [letter for letter in letters if letter.message_id not in errors]
        doubled = {
            message_id: QueueUnavailable(
                f"it is on {self.url} again, and a dead letter still: {error} Delete the dead "
                "letter. Another redrive would send it twice.",
                retryable=error.retryable,
            )
            for message_id, error in visit.delete(sent).items()
        }
        return {**errors, **doubled}

    def _send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | LetsGoQueueError]:
        if messages[0].trace_header is None:
            return self._queue.send_batch(messages)
        try:
            return [self._queue.send(message) for message in messages]  # one: see `_fitting`
        except LetsGoQueueError as error:
            return [error]

    def _outgoing(self, letter: ReceivedMessage) -> OutgoingMessage:
        return OutgoingMessage(
            type=type_in(letter.body) or "",
            body=letter.body.encode(),
            attributes=without_failure(letter.attributes),
            group_id=letter.group_id,
            trace_header=letter.trace_header,
            # With its old id SQS would drop it, for five minutes after it was first sent.
            deduplication_id=uuid.uuid4().hex if self._queue.fifo else None,
        )

    def _ends_it(self, error: LetsGoQueueError) -> bool:
        """Whether an error stops the other letters too."""
        return self._queue.fifo or error.retryable or isinstance(error, QueueNotFound)

    def _visit(self, visibility_timeout: int) -> Visit:
        described = self._describe(self.url, ["QueueArn", "RedrivePolicy"])
        url = dead_letter_url(self.url, described.attributes)
        if url is None:
            raise QueueNotFound(
                f"queue {self.url} has no dead-letter queue. `letsgo-queue queue create` makes a "
                "queue with one. To give this queue one, set its RedrivePolicy."
            )
        return Visit(
            self._queue.client,
            url,
            source=described.attributes["QueueArn"],
            began_before=described.at,
            visibility_timeout=visibility_timeout,
        )

    def _describe(self, url: str, names: Sequence[QueueAttributeNameType]) -> _Described:
        with asking(url, "its attributes could not be read"):
            answer = self._queue.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        told = time_of(answer)
        return _Described(
            cast("Mapping[str, str]", answer.get("Attributes", {})),
            # The header leaves out the fraction of the second.
            (time.time() if told is None else told) + 1,
        )


def _is_enough(only: DeadLetterFilter, found: int, limit: int | None) -> bool:
    """Whether the filter can choose no more letters."""
    return found == limit or (only.ids is not None and found >= len(only.ids))


def _result(letter: ReceivedMessage, failed: Mapping[str, LetsGoQueueError]) -> LetterResult:
    described = dead_letter(letter)
    return LetterResult(
        message_id=letter.message_id,
        type=described.type,
        error=failed.get(letter.message_id),
    )


def _oldest_first(letters: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
    return sorted(letters, key=lambda letter: letter.sent_at)


def _fitting(letters: Sequence[ReceivedMessage], most: int) -> Iterator[Sequence[ReceivedMessage]]:
    """Split letters into runs that one request takes.

    A letter with a trace is a run of its own: emulators lose the trace of an entry of a batch.
    """
    run: list[ReceivedMessage] = []
    run_size = 0
    for letter in letters:
        size = len(letter.body.encode()) + attributes_size(letter.attributes)
        full = len(run) == most or run_size + size > MAX_BATCH_BYTES
        if run and (full or letter.trace_header or run[-1].trace_header):
            yield run
            run, run_size = [], 0
        run.append(letter)
        run_size += size
    if run:
        yield run
