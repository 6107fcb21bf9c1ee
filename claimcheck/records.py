"""Opens the SQS records that functions work on: one record, or all records of a Lambda event.

    not sealed             to the function, as it is
    opened                 to the function, with its original body
    a duplicate            left out, and not reported: Lambda deletes it
    cannot be opened       left out, and reported in `batchItemFailures`: it comes again
    FIFO, behind a failed  the same, so that its group keeps its order

The function's own `batchItemFailures` decide which claims are released; the others are completed.
A malformed answer releases all claims, since Lambda counts it as a failure of the whole batch:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from claimcheck.at_once import at_once
from claimcheck.core.opened import Opened
from claimcheck.errors import ClaimInProgress, RecordUnsupported
from claimcheck.events import DuplicateSuppressed
from claimcheck.opening import Opener, in_unknown_envelope
from letsgo_queue.envelope import holds_sealed, type_in
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import PROCESS_LISTENERS
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import ReceivedMessage

if TYPE_CHECKING:  # a program that only sends does not load these
    from letsgo_queue.aws_lambda.batches import Batch, Invocation
    from letsgo_queue.aws_lambda.records import SqsRecord

logger = get_logger(__name__)

SOONEST_RETURN_SECONDS = 5
"""A message that is handled elsewhere comes again no sooner, even if the other lease ends sooner:
each delivery costs a receive."""

FAILURES: Final = "batchItemFailures"
IDENTIFIER: Final = "itemIdentifier"


class Work(Protocol):
    """The opened records of one call of a function."""

    @property
    def argument(self) -> object:
        """The argument for the function, in place of the sealed one."""
        ...

    @property
    def nothing_left(self) -> bool:
        """Whether there is nothing to call the function for."""
        ...

    def succeeded(self, answer: object) -> object:
        """Settle the claims, and return the answer to give in place of the function's."""
        ...

    def failed(self) -> None:
        """Release every claim."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """The record of a per-record function.

    Attributes:
        argument: The record with its original body.
        opened: The hold on its claim; None for a duplicate, which is acknowledged.
    """

    argument: object = field(repr=False)
    opened: Opened | None

    @property
    def nothing_left(self) -> bool:
        """Whether it is a duplicate."""
        return self.opened is None

    def succeeded(self, answer: object) -> object:
        """Complete the claim."""
        self._settle(succeeded=True)
        return answer

    def failed(self) -> None:
        """Release the claim."""
        self._settle(succeeded=False)

    def _settle(self, *, succeeded: bool) -> None:
        if self.opened is not None:
            self.opened.settle(succeeded=succeeded)


def must_open(opener: Opener, record: SqsRecord) -> bool:
    """Whether a record has to be opened.

    Raises:
        RecordUnsupported: It was parsed before it could be opened, is in an envelope that is not
            known, or has no id where `once` needs it.
    """
    if opener.once and record.message_id is None:
        raise RecordUnsupported(
            f"message {record.name}: its record has no message id, which tells its deliveries from "
            "those of others. Give the record its messageId, or leave `once` out."
        )
    must = (
        opener.once
        or record.is_sealed
        or opener.refuses_unsealed(record.queue_url)
        or opener.opens_pointer(record.body, record.queue_url)
    )
    # A parsed small message is refused too: a large one may have lost its claim check, unnoticed.
    if (must or record.is_certain) and not isinstance(record.body, str | None):
        raise RecordUnsupported(
            f"message {record.name}: the body of its record ({type(record.original).__name__}) was "
            "parsed before it could be opened. Decorate the Lambda handler with "
            "@unwrap_claim_check, above any decorator that parses."
        )
    if not record.is_sealed and holds_sealed(record.body):
        raise in_unknown_envelope(record.name)
    return must


def open_record(opener: Opener, record: SqsRecord, invocation: Invocation) -> OpenedRecord:
    """Open a record.

    Args:
        opener: How messages are opened.
        record: The record.
        invocation: Tells how much time is left for it.

    Raises:
        ClaimCheckError: It could not be opened; see `ClaimCheck.open`. A message that is being
            handled elsewhere becomes visible again when the lease there ends, if SQS can be told.
        RecordUnsupported: It cannot be copied with its original body; the claim is released.
        MessageInvalid: It is not a record of SQS.
    """
    received = record.received()
    try:
        opened = opener.open(
            received.body,
            queue=record.queue_url,
            message_id=record.message_id,
            lease_seconds=invocation.seconds_left,
            fields=record.sealed_fields,
            settled_by=(
                "Lambda deletes it."
                if record.source_arn
                else "Acknowledge it: its function is not called."
            ),
        )
    except ClaimInProgress as error:
        _come_back(received, record.queue_url, error.retry_after or 0)
        raise
    if opened is None:
        PROCESS_LISTENERS.emit(
            DuplicateSuppressed(
                type=type_in(received.body),
                queue=record.queue_url or "",
                message_id=received.message_id,
                receive_count=received.receive_count,
            )
        )
        return OpenedRecord(None, None)
    if opened.route == "inline":
        return OpenedRecord(record.original, opened)
    try:
        return OpenedRecord(record.with_body(opened.body), opened)
    except TypeError as error:
        opened.settle(succeeded=False)
        raise RecordUnsupported(
            f"message {record.name}: its record ({type(record.original).__name__}) cannot be "
            f"copied with its original body ({type(error).__name__}). Give the function a dict, or "
            "decorate the Lambda handler with @unwrap_claim_check."
        ) from None
    except BaseException:
        opened.settle(succeeded=False)
        raise


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """An event whose records are opened.

    Attributes:
        argument: The event for the function.
        nothing_left: Whether no record is left for the function.
        opened: The records that were opened for the function, each with its hold.
        batch: All records, and those that could not be opened.
    """

    argument: object = field(repr=False)
    nothing_left: bool
    opened: Sequence[tuple[SqsRecord, OpenedRecord]]
    batch: Batch

    @property
    def left_out(self) -> int:
        """How many records could not be opened, or wait behind such a record."""
        return len(self.batch.response()[FAILURES])

    def succeeded(self, answer: object) -> object:
        """Settle each claim by the function's report; add the records that could not be opened."""
        known = {each.message_id for each in self.batch.records}
        reported = _reported(answer, known)
        if reported is None:
            logger.error(
                "the function's answer names an item that is not in the batch, or none: Lambda "
                "takes that for the failure of all %d records, and every claim is released.",
                len(known),
            )
            self.failed()
            return answer
        at_once(
            lambda each: (
                each[1].failed() if each[0].message_id in reported else each[1].succeeded(None)
            ),
            self.opened,
        )
        failed = self.batch.response()[FAILURES]
        ours = [item for item in failed if item[IDENTIFIER] not in reported]
        if not ours and not self.nothing_left:
            return answer
        theirs = answer if isinstance(answer, Mapping) else {}
        return {**theirs, FAILURES: [*(theirs.get(FAILURES) or ()), *ours]}

    def failed(self) -> None:
        """Release every claim."""
        at_once(lambda each: each[1].failed(), self.opened)


def open_batch(
    opener: Opener, event: object, batch: Batch, invocation: Invocation
) -> OpenedBatch | None:
    """Open the records of an event; the event itself is not changed.

    Args:
        opener: How messages are opened.
        event: The event.
        batch: Its records.
        invocation: Tells how much time is left for them.

    Returns:
        The batch; None if no record had to be opened.

    Raises:
        SettingsInvalid: The claim check cannot be made; no claim was acquired.
        RecordUnsupported: The body of a record was parsed before; no claim was acquired.
        LetsGoError: A record that cannot be opened has no id to report; no claim is held.
    """
    outcomes = _open_all(opener, batch, invocation)
    if all(outcome is None for outcome in outcomes):
        return None
    try:
        return _sort_out(event, batch, outcomes)
    except BaseException:
        _release(outcomes)
        raise


_Outcome: TypeAlias = OpenedRecord | BaseException | None
"""An opened record, or why it was not opened; None if it need not be opened."""


def _open_all(opener: Opener, batch: Batch, invocation: Invocation) -> Sequence[_Outcome]:
    outcomes: list[_Outcome] = [None] * len(batch.records)
    to_open: list[int] = []
    for position, record in enumerate(batch.records):
        try:
            if must_open(opener, record):
                # A wrong setting fails the whole event, before any claim is acquired.
                opener.claim_check_for(record.queue_url)
                to_open.append(position)
        except RecordUnsupported as error:
            if not isinstance(record.body, str | None):
                raise  # the function has its records parsed: that fails the whole event too
            outcomes[position] = error

    def open_one(position: int) -> None:
        try:
            outcomes[position] = open_record(opener, batch.records[position], invocation)
        except BaseException as error:  # noqa: BLE001
            # `_report` raises it, once the other threads have ended.
            outcomes[position] = error

    try:
        at_once(open_one, to_open)
    except BaseException:  # an interrupt: the threads have ended
        _release(outcomes)
        raise
    return outcomes


def _sort_out(event: object, batch: Batch, outcomes: Sequence[_Outcome]) -> OpenedBatch:
    from letsgo_queue.aws_lambda.records import with_records

    remaining: list[object] = []
    opened: list[tuple[SqsRecord, OpenedRecord]] = []
    behind: list[_Outcome] = []
    for record, outcome in zip(batch.records, outcomes, strict=True):
        if isinstance(outcome, OpenedRecord) and outcome.nothing_left:
            continue
        if isinstance(outcome, BaseException):
            _report(record, outcome)
            batch.fail(record)
        elif batch.is_behind_a_failure(record):
            logger.warning("message %s waits for an earlier one of its FIFO group", record.name)
            batch.fail(record)
            behind.append(outcome)
        elif outcome is None:
            remaining.append(record.original)
        else:
            remaining.append(outcome.argument)
            opened.append((record, outcome))
    _release(behind)
    return OpenedBatch(
        argument=with_records(event, remaining),
        nothing_left=not remaining,
        opened=opened,
        batch=batch,
    )


def _report(record: SqsRecord, error: BaseException) -> None:
    """Log why a record was not opened.

    Raises:
        BaseException: `error`, if it is not the failure of one record, or the record has no id.
    """
    if record.message_id is None or not isinstance(error, LetsGoError):
        raise error
    logger.log(
        logging.WARNING if error.retryable else logging.ERROR,
        "message %s is reported to Lambda as failed: %s",
        record.name,
        error,
    )


def _reported(answer: object, known: Collection[str | None]) -> Collection[str] | None:
    """Return the ids that a function reports; None if Lambda counts the whole batch as failed.

    An answer without failures means that all succeeded.
    """
    items = answer.get(FAILURES) if isinstance(answer, Mapping) else None
    if items is None:
        return ()
    if not isinstance(items, list | tuple):
        return None
    ids: set[str] = set()
    for item in items:
        found: object = item.get(IDENTIFIER) if isinstance(item, Mapping) else None
        if not isinstance(found, str) or found not in known:
            return None
        ids.add(found)
    return ids


def _release(outcomes: Sequence[_Outcome]) -> None:
    at_once(OpenedRecord.failed, [o for o in outcomes if isinstance(o, OpenedRecord)])


def _come_back(received: ReceivedMessage, queue: str | None, seconds: float) -> None:
    """Make SQS deliver the message again when the other delivery's lease ends."""
    from letsgo_queue.sending.default import default_client

    if queue is None or not received.receipt_handle:
        return
    try:
        default_client().transport(queue).change_visibility(
            received,
            max(SOONEST_RETURN_SECONDS, min(math.ceil(seconds), MAX_VISIBILITY_SECONDS)),
        )
    except LetsGoError as error:
        logger.info("message %s keeps its own visibility timeout: %s", received.message_id, error)
