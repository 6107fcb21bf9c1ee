"""Opening messages: what the middleware and `@unwrap_claim_check` share.

`Opener` opens a message of any queue, with the claim check that belongs to it. `open_record` opens
an SQS record, `open_batch` those of a Lambda event:

    not sealed             to the function, as it is
    opened                 to the function, with its original body
    a duplicate            left out, and not reported: Lambda deletes it
    cannot be opened       left out, and reported in `batchItemFailures`: it comes again
    FIFO, behind such one  the same, so that its group keeps its order

The function's own `batchItemFailures` decide which claims are released; the others are completed.
Lambda takes a malformed answer for the failure of the whole batch, and so does this:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, get_args
from urllib.parse import urlsplit

from claimcheck.core.claim_check import ClaimCheck, Opened
from claimcheck.core.life import Purge, check_purge
from claimcheck.errors import (
    ClaimAlreadyProcessed,
    ClaimInProgress,
    RecordUnsupported,
    SettingsInvalid,
)
from claimcheck.events import DuplicateSuppressed
from claimcheck.settings import claim_check_for
from letsgo_queue.body import holds_sealed, type_in
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import Listeners
from letsgo_queue.log import get_logger
from letsgo_queue.settings import url_in_environment
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS, ReceivedMessage

if TYPE_CHECKING:  # a program that only sends does not load these
    from letsgo_queue.aws_lambda.batches import Batch, Invocation
    from letsgo_queue.aws_lambda.records import SqsRecord

logger = get_logger(__name__)

OnDuplicate: TypeAlias = Literal["acknowledge", "raise"]
"""What becomes of a delivery of a message that was handled before."""

MAX_THREADS = 8
"""How many records are opened, or settled, at a time."""

SOONEST_RETURN_SECONDS = 5
"""A message that is handled elsewhere stays away at least so long, also when the lease there is
about to end: each look costs a receive."""

FAILURES = "batchItemFailures"
IDENTIFIER = "itemIdentifier"

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")

_process = Listeners()
"""Without listeners of its own: only `listen_to_all` hears it."""


class Opener:
    """Opens messages of any queue. Safe to share between threads."""

    def __init__(
        self,
        claim_check: ClaimCheck | None = None,
        *,
        purge: Purge | None = None,
        on_duplicate: OnDuplicate | None = None,
        once: bool | None = None,
    ) -> None:
        """Make an opener; no store is opened yet.

        Args:
            claim_check: By default made from the environment, on first use.
            purge: When contents are removed, in place of the claim check's own setting.
            on_duplicate: `acknowledge` a delivery of a message that was handled before, without
                running the handler (the default), or `raise` `ClaimAlreadyProcessed`.
            once: Whether every message gets a record, also one without a claim; by default not.

        Raises:
            SettingsInvalid: `purge` or `on_duplicate` is not known.
        """
        if purge is not None:
            check_purge(purge)
        if on_duplicate is not None and on_duplicate not in get_args(OnDuplicate):
            raise SettingsInvalid(f"on_duplicate={on_duplicate!r}: give 'acknowledge' or 'raise'.")
        self._claim_check = claim_check
        self._purge = purge
        self._on_duplicate = on_duplicate
        self._once = once
        self._by_queue: dict[str | None, ClaimCheck] = {}

    def inside(self, outer: Opener) -> Opener:
        """An opener with these options, and those of `outer` that are unset here."""
        opener = Opener(
            self._claim_check or outer._claim_check,
            purge=self._purge or outer._purge,
            on_duplicate=self._on_duplicate or outer._on_duplicate,
            once=outer._once if self._once is None else self._once,
        )
        opener._by_queue = outer._by_queue  # the environment is the same for both
        return opener

    @property
    def once(self) -> bool:
        """Whether every message gets a record."""
        return bool(self._once)

    def signs_every_message(self, queue: str | None) -> bool:
        """Whether a message of a queue that is not sealed must be refused; see `ClaimCheck`."""
        return self.claim_check_for(queue).signs_every_message

    def claim_check_for(self, queue: str | None) -> ClaimCheck:
        """The claim check for the messages of a queue.

        Args:
            queue: Its URL; None where a message does not say, for that of the environment.

        Raises:
            SettingsInvalid: A setting cannot be used.
        """
        if self._claim_check is not None:
            return self._claim_check
        if queue not in self._by_queue:
            self._by_queue[queue] = claim_check_for(queue or url_in_environment() or "")
        return self._by_queue[queue]

    def open(
        self,
        body: str,
        *,
        queue: str | None,
        message_id: str | None,
        lease_seconds: float | None,
        lease_id: str | None = None,
        fields: Mapping[str, Any] | None = None,
        is_tick: bool = False,
        settled_by: str = "It is acknowledged.",
    ) -> Opened | None:
        """Open a message; the arguments are those of `ClaimCheck.open`, which says what it raises.

        A tick of a schedule gets a record always, since every worker of a fleet has it, and all but
        one of them find it handled.

        Args:
            body: What came from the queue.
            queue: URL of that queue, if it is known.
            message_id: The message's id; with `once=True` it must have one.
            lease_seconds: How long the message stays invisible, if that is known.
            lease_id: What this delivery holds the claim with.
            fields: The body's fields, where it is sealed and was parsed already.
            is_tick: Whether it is a tick of a schedule.
            settled_by: What becomes of a duplicate, for the log.

        Returns:
            The message; None if it is a duplicate, to acknowledge.
        """
        has_record = self.once or is_tick
        try:
            return self.claim_check_for(queue).open(
                body,
                message_id=message_id,
                lease_id=lease_id,
                lease_seconds=lease_seconds,
                purge=self._purge,
                once=_once_key(queue, message_id) if has_record and message_id else None,
                fields=fields,
            )
        except ClaimAlreadyProcessed as error:
            if is_tick:
                return None
            if self._on_duplicate == "raise":
                raise
            logger.warning("%s %s", error, settled_by)
            return None


def _once_key(queue: str | None, message_id: str) -> str:
    """Names a message on its queue, the same on a worker and in Lambda, whatever the URL."""
    name = urlsplit(queue or "").path.rstrip("/").rpartition("/")[2]
    return f"once/{name}/{message_id}@"


class Work(Protocol):
    """What one call of a function works on, opened."""

    @property
    def argument(self) -> object:
        """What the function gets in place of what it was called with."""
        ...

    @property
    def nothing_left(self) -> bool:
        """Whether there is nothing to call the function for."""
        ...

    def succeeded(self, answer: object) -> object:
        """Settle the claims; the answer to give in place of the function's."""
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
        RecordUnsupported: It was parsed before it could be opened, is in the envelope of another
            service, or has no id where `once` needs it.
    """
    if opener.once and record.message_id is None:
        raise RecordUnsupported(
            f"message {record.name}: its record has no message id, which tells its deliveries from "
            "those of others. Give the record its messageId, or leave `once` out."
        )
    must = opener.once or record.is_sealed or opener.signs_every_message(record.queue_url)
    if must and not isinstance(record.body, str | None):
        raise RecordUnsupported(
            f"message {record.name}: the body of its record ({type(record.original).__name__}) was "
            "parsed before it could be opened. Decorate the Lambda handler with "
            "@unwrap_claim_check, which comes before the parsing."
        )
    if not record.is_sealed and holds_sealed(record.body):
        raise RecordUnsupported(
            f"message {record.name}: its body wraps a claim check in an envelope of another "
            "service (SNS or EventBridge), which is not opened. For SNS, turn raw message delivery "
            "on for the subscription."
        )
    return must


def open_record(opener: Opener, record: SqsRecord, invocation: Invocation) -> OpenedRecord:
    """Open a record.

    Args:
        opener: How messages are opened.
        record: The record.
        invocation: How much time there is for it.

    Raises:
        ClaimCheckError: It could not be opened; see `ClaimCheck.open`. A message that is being
            handled elsewhere becomes visible again when the lease there ends, where SQS can be
            told.
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
        _process.emit(
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
        nothing_left: Whether no record is left for it.
        opened: What it works on.
        batch: All records, and which could not be opened.
    """

    argument: object = field(repr=False)
    nothing_left: bool
    opened: Sequence[tuple[SqsRecord, OpenedRecord]]
    batch: Batch

    @property
    def left_out(self) -> int:
        """How many records could not be opened, or wait for one of those."""
        return len(self.batch.response()["batchItemFailures"])

    def succeeded(self, answer: object) -> object:
        """Settle each claim by what the function reports, and report what could not be opened."""
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
        _on_threads(
            lambda each: (
                each[1].failed() if each[0].message_id in reported else each[1].succeeded(None)
            ),
            self.opened,
        )
        failed = self.batch.response()["batchItemFailures"]
        ours = [item for item in failed if item["itemIdentifier"] not in reported]
        if not ours and not self.nothing_left:
            return answer
        theirs = answer if isinstance(answer, Mapping) else {}
        return {**theirs, FAILURES: [*(theirs.get(FAILURES) or ()), *ours]}

    def failed(self) -> None:
        """Release every claim."""
        _on_threads(lambda each: each[1].failed(), self.opened)


def open_batch(
    opener: Opener, event: object, batch: Batch, invocation: Invocation
) -> OpenedBatch | None:
    """Open the records of an event; the event itself is not changed.

    Args:
        opener: How messages are opened.
        event: The event.
        batch: Its records.
        invocation: How much time there is for them.

    Returns:
        The batch; None where no record had to be opened.

    Raises:
        SettingsInvalid: The claim check cannot be made; no claim was acquired.
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
"""What became of a record; None if it need not be opened."""


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
            outcomes[position] = error

    def open_one(position: int) -> _Outcome:
        try:
            return open_record(opener, batch.records[position], invocation)
        except BaseException as error:  # noqa: BLE001
            # `_report` raises it, once the other threads have ended.
            return error

    for position, outcome in zip(to_open, _on_threads(open_one, to_open), strict=True):
        outcomes[position] = outcome
    return outcomes


def _sort_out(event: object, batch: Batch, outcomes: Sequence[_Outcome]) -> OpenedBatch:
    from letsgo_queue.aws_lambda.records import with_records

    left: list[object] = []
    opened: list[tuple[SqsRecord, OpenedRecord]] = []
    left_out: list[_Outcome] = []
    for record, outcome in zip(batch.records, outcomes, strict=True):
        if isinstance(outcome, OpenedRecord) and outcome.nothing_left:
            continue
        if isinstance(outcome, BaseException):
            _report(record, outcome)
            batch.fail(record)
        elif batch.is_behind_a_failure(record):
            logger.warning("message %s waits for an earlier one of its FIFO group", record.name)
            batch.fail(record)
            left_out.append(outcome)
        elif outcome is None:
            left.append(record.original)
        else:
            left.append(outcome.argument)
            opened.append((record, outcome))
    _release(left_out)
    return OpenedBatch(
        argument=with_records(event, left), nothing_left=not left, opened=opened, batch=batch
    )


def _report(record: SqsRecord, error: BaseException) -> None:
    """Log why a record was not opened.

    Raises:
        BaseException: `error`, where it is no failure of one record, or the record has no id.
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
    """The ids that a function reports; None where Lambda takes the whole batch for failed.

    An answer that says nothing of failures, or names none, means that all succeeded.
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
    _on_threads(OpenedRecord.failed, [o for o in outcomes if isinstance(o, OpenedRecord)])


def _on_threads(work: Callable[[_ItemT], _ResultT], items: Sequence[_ItemT]) -> list[_ResultT]:
    """Do the same for each item, several at a time."""
    if len(items) < 2:  # noqa: PLR2004  one needs no thread
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(len(items), MAX_THREADS)) as pool:
        return list(pool.map(work, items))


def _come_back(received: ReceivedMessage, queue: str | None, seconds: float) -> None:
    """Have the message delivered again when the other delivery's lease ends."""
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
