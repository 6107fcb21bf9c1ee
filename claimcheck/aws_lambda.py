"""A batch of SQS records in AWS Lambda: all are opened, the function runs, all are settled.

What becomes of each record:

    not sealed             to the function, as it is
    opened                 to the function, with its original body
    a duplicate            left out, and not reported: Lambda deletes it
    cannot be opened       left out, and reported in `batchItemFailures`: it comes again
    FIFO, after such one   the same, so that its group keeps its order

The function's own `batchItemFailures` decide which claims are put back; those of the other records
are purged. Lambda takes a malformed answer for the failure of the whole batch, and so does this:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from claimcheck.errors import ClaimCheckError, RecordUnsupported
from claimcheck.opened_record import OpenedRecord, open_record
from claimcheck.opening import Opener
from claimcheck.records import (
    fields_of,
    group_of,
    is_sealed,
    message_id_of,
    records_in,
    with_records,
)
from letsgo_queue.aws_lambda.records import queue_url
from letsgo_queue.errors import LetsGoQueueError

logger = logging.getLogger(__name__)

MAX_THREADS = 8
"""How many records are opened, or settled, at a time."""

FAILURES = "batchItemFailures"
IDENTIFIER = "itemIdentifier"

_Outcome: TypeAlias = OpenedRecord | BaseException | None
"""What became of a record: None for one that is not sealed."""

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """An event whose records are opened.

    Attributes:
        argument: The event for the function.
        nothing_left: Whether no record is left for it.
        opened: What it works on, by message id.
        failures: Ids of the records that could not be opened.
        known: Ids of all records that came.
    """

    argument: object = field(repr=False)
    nothing_left: bool
    opened: Sequence[tuple[str | None, OpenedRecord]]
    failures: Sequence[str]
    known: Collection[str]

    def succeeded(self, answer: object) -> object:
        """Settle each claim by what the function reports, and report what could not be opened."""
        reported = _reported(answer, self.known)
        if reported is None:
            logger.error(
                "the function's answer names an item that is not in the batch, or none: Lambda "
                "takes that for the failure of all %d records, and every claim is put back.",
                len(self.known),
            )
            self.failed()
            return answer
        _on_threads(
            lambda item: item[1].failed() if item[0] in reported else item[1].succeeded(None),
            self.opened,
        )
        ours = [{IDENTIFIER: id} for id in self.failures if id not in reported]
        if not ours and not self.nothing_left:
            return answer
        theirs = answer if isinstance(answer, Mapping) else {}
        return {**theirs, FAILURES: [*(theirs.get(FAILURES) or ()), *ours]}

    def failed(self) -> None:
        """Put every claim back."""
        _on_threads(lambda item: item[1].failed(), self.opened)


def open_batch(opener: Opener, event: object, *, lease_until: float | None) -> OpenedBatch | None:
    """Open the records of an event; the event itself is not changed.

    Args:
        opener: How messages are opened.
        event: With `Records`, of any kind that `records` knows.
        lease_until: When the invocation ends (seconds since 1970); None for what the claim check
            has as its lease.

    Returns:
        The batch; None where no record had to be opened.

    Raises:
        SettingsInvalid: The claim check cannot be made; no claim was taken.
        ClaimCheckError: A record that cannot be opened has no id to report; no claim is held.
    """
    records = records_in(event)
    outcomes = _open_all(opener, records, lease_until)
    if all(outcome is None for outcome in outcomes):
        return None
    try:
        return _sorted_out(event, records, outcomes)
    except BaseException:
        _put_back(outcomes)
        raise


def _open_all(
    opener: Opener, records: Sequence[object], lease_until: float | None
) -> Sequence[_Outcome]:
    outcomes: list[_Outcome] = [None] * len(records)
    sealed: list[int] = []
    for position, record in enumerate(records):
        try:
            if is_sealed(record):
                # A wrong setting is no record's failure: it shows before anything is taken.
                opener.claim_check_for(queue_url(fields_of(record)))
                sealed.append(position)
        except RecordUnsupported as error:
            outcomes[position] = error

    def open_one(position: int) -> _Outcome:
        try:
            return open_record(opener, records[position], lease_until=lease_until)
        except BaseException as error:  # noqa: BLE001
            # Raised once the other threads have come to an end, and what they took is put back.
            return error

    outcomes_of_sealed = _on_threads(open_one, sealed)
    for position, outcome in zip(sealed, outcomes_of_sealed, strict=True):
        outcomes[position] = outcome
    return outcomes


def _sorted_out(
    event: object, records: Sequence[object], outcomes: Sequence[_Outcome]
) -> OpenedBatch:
    left: list[object] = []
    opened: list[tuple[str | None, OpenedRecord]] = []
    failures: list[str] = []
    left_out: list[_Outcome] = []
    broken_groups: set[str] = set()
    for record, outcome in zip(records, outcomes, strict=True):
        message_id, group = message_id_of(record), group_of(record)
        if isinstance(outcome, OpenedRecord) and outcome.nothing_left:
            continue
        if isinstance(outcome, BaseException):
            failures.append(_report(record, outcome))
            if group is not None:
                broken_groups.add(group)
        elif message_id is not None and group in broken_groups:
            logger.warning("message %s waits for an earlier one of its FIFO group", message_id)
            failures.append(message_id)
            left_out.append(outcome)
        elif outcome is None:
            left.append(record)
        else:
            left.append(outcome.argument)
            opened.append((message_id, outcome))
    _put_back(left_out)
    return OpenedBatch(
        argument=with_records(event, left),
        nothing_left=not left,
        opened=opened,
        failures=failures,
        known={id for record in records if (id := message_id_of(record))},
    )


def _report(record: object, error: BaseException) -> str:
    """Log why a record was not opened; its id, for the answer.

    Raises:
        BaseException: `error`, where it is no failure of one record, or that one has no id.
    """
    message_id = message_id_of(record)
    if message_id is None or not isinstance(error, ClaimCheckError | LetsGoQueueError):
        raise error
    logger.log(
        logging.WARNING if error.retryable else logging.ERROR,
        "message %s is reported to Lambda as failed: %s",
        message_id,
        error,
    )
    return message_id


def _reported(answer: object, known: Collection[str]) -> Collection[str] | None:
    """The ids that a function reports; None where Lambda takes the whole batch for failed.

    An answer that says nothing of failures, or names none, is that of a success.
    """
    items = answer.get(FAILURES) if isinstance(answer, Mapping) else None
    if items is None:
        return ()
    if not isinstance(items, list | tuple):
        return None
    ids: set[str] = set()
    for item in items:
        id: Any = item.get(IDENTIFIER) if isinstance(item, Mapping) else None
        if not isinstance(id, str) or id not in known:
            return None
        ids.add(id)
    return ids


def _put_back(outcomes: Sequence[_Outcome]) -> None:
    _on_threads(OpenedRecord.failed, [o for o in outcomes if isinstance(o, OpenedRecord)])


def _on_threads(work: Callable[[_ItemT], _ResultT], items: Sequence[_ItemT]) -> list[_ResultT]:
    """Do the same for each item, several at a time."""
    if len(items) < 2:  # noqa: PLR2004  one needs no thread
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(items), MAX_THREADS)) as pool:
        return list(pool.map(work, items))
