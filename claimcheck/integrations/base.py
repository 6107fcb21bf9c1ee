"""Seals and opens messages for every integration.

seal    ├── sent         nothing more to do
        ├── not sent     `discard`: nothing is on the queue, so nothing stays in the store
        └── unknown      nothing: the claim expires if nobody receives the message

open    acquires the claim; the user's code runs after it
        ├── handled      `opened.settle(succeeded=True)`, then acknowledge the message
        ├── failed       `opened.settle(succeeded=False)`
        └── a duplicate  None: acknowledge it, and do not run the user's code
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from claimcheck.core.holds import Hold
from claimcheck.core.notes import HoldNote
from claimcheck.core.opened import Opened
from claimcheck.core.sealing import AskQueue, Sealed
from claimcheck.errors import ClaimCheckError, ClaimInProgress, ClaimStoreError, SettingsInvalid
from claimcheck.events import (
    DuplicateSuppressed,
    MessageNotOpened,
    MessageOpened,
    MessageSealed,
)
from claimcheck.integrations import sqs
from claimcheck.opening import Opener
from letsgo_queue.aws_pointers import IN_EVERY_POINTER
from letsgo_queue.envelope import mentions_claim_check
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import PROCESS_LISTENERS
from letsgo_queue.limits import ANY_QUEUE_BYTES, SQS_UNIT_BYTES
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

ResultT = TypeVar("ResultT")


def log_left(
    error: LetsGoError, *, message_id: str, queue: str, receive_count: int, hidden: float
) -> int:
    """Log that a message was not opened and stays on its queue.

    Args:
        error: Why.
        message_id: The id that the queue gave it.
        queue: The queue's URL.
        receive_count: How often it was received, this time included.
        hidden: The most seconds that the queue hides it.

    Returns:
        Seconds to hide it, before it is tried again.
    """
    pause = min(sqs.pause_after(error, receive_count), int(hidden))
    log = logger.info if isinstance(error, ClaimInProgress) else logger.error
    log(
        "%s Message %s stays on queue %s, and is tried again in %s s.",
        error,
        message_id,
        queue,
        pause,
    )
    return pause


def extend_lease(opened: Opened, seconds: float, *, asked: float) -> None:
    """Hold a claim for as long as its message is hidden. If that fails, it is logged.

    Args:
        opened: The opened message.
        seconds: For how long the queue hides it.
        asked: When the queue was asked to hide it (monotonic seconds).
    """
    left = sqs.lease_seconds(seconds, waited=time.monotonic() - asked)
    if left <= 0:
        return
    try:
        opened.extend(left)
    except ClaimCheckError as error:
        logger.warning("the lease of claim %s was not extended: %s", opened.claim_id, error)


class Carrier:
    """Seals and opens the messages of a queue client. Safe to share between threads."""

    def __init__(self, opener: Opener) -> None:
        """Take an opener, which knows the claim check; no store is opened yet."""
        self.opener = opener

    def seal(
        self,
        body: str | bytes,
        *,
        queue: str,
        name: str | None,
        attributes_size: int = 0,
        queue_limit: AskQueue | None = None,
        delay_seconds: float = 0,
        shared: bool = False,
        room: int | None = None,
        adds_attributes: bool = False,
    ) -> Sealed:
        """Make a body small enough for its queue.

        Args:
            body: The body that the client is about to send.
            queue: The queue's URL.
            name: For events: the message's type, or the name of its task.
            attributes_size: Bytes of the message attributes.
            queue_limit: Asks the queue how many bytes it accepts; None if it will not say.
            delay_seconds: Seconds until the message can be received.
            shared: Whether several queues get the message.
            room: Bytes left for it in a batch.
            adds_attributes: Whether the client sends `Sealed.attributes`.

        Raises:
            ClaimCheckError: See `ClaimCheck.seal`.
            SettingsInvalid: The claim check cannot be made from the environment, or it sends
                pointers of AWS's clients, and this client cannot.
        """
        started = time.perf_counter()
        claim_check = self.opener.claim_check_for(queue)
        if claim_check.write == "aws-pointer" and not adds_attributes:
            raise SettingsInvalid(
                "write='aws-pointer' (CLAIMCHECK_WRITE): a pointer needs a message attribute, and "
                "this client sends none. boto3's clients and claimcheck.enqueue do."
            )
        sealed = claim_check.seal(
            body,
            attributes_size=attributes_size,
            queue_limit=queue_limit,
            delay_seconds=delay_seconds,
            shared=shared,
            room=room,
        )
        if PROCESS_LISTENERS:
            PROCESS_LISTENERS.emit(
                MessageSealed(
                    type=name,
                    queue=queue,
                    route=sealed.route,
                    size=sealed.size + attributes_size,
                    sent_size=len(sealed.body) + attributes_size,
                    stored_size=sealed.stored,
                    claim_id=sealed.claim_id,
                    duration=time.perf_counter() - started,
                )
            )
        return sealed

    def send_encoded(
        self,
        body: str,
        send: Callable[[str], ResultT],
        *,
        as_text: Callable[[], str],
        queue: str,
        name: str | None,
        queue_limit: AskQueue,
        surely: int = ANY_QUEUE_BYTES,
        attributes_size: int = 0,
        delay_seconds: float = 0,
    ) -> ResultT:
        """Send a body that a client has written in base64, which compresses badly.

        A large body is sealed as text. A body that need not be sealed travels as the client wrote
        it, or as text if only that fits the queue.

        Args:
            body: The body that the client wrote.
            send: Sends a body.
            as_text: Makes text of the same message.
            queue: The queue's URL.
            name: As for `seal`.
            queue_limit: Asks the queue how many bytes it accepts; None if it will not say.
            surely: Bytes that it accepts for certain.
            attributes_size: Bytes of the message attributes.
            delay_seconds: Seconds until the message can be received.

        Raises:
            ClaimCheckError: See `seal`.
            BotoCoreError: Or `ClientError`: the message was not sent, or nobody knows.
        """
        sealed = self.seal(
            body if len(body) <= SQS_UNIT_BYTES else as_text(),
            queue=queue,
            name=name,
            attributes_size=attributes_size,
            queue_limit=queue_limit,
            delay_seconds=delay_seconds,
        )
        size = len(body) + attributes_size
        fits = size <= surely or size <= (queue_limit() or 0)
        if sealed.route != "inline" or not fits:
            body = sealed.body.decode()
        try:
            return send(body)
        except (BotoCoreError, ClientError) as error:
            if sqs.was_certainly_not_sent(error):
                self.discard(sealed, queue=queue)
            raise

    def leaves_alone(self, body: str, *, queue: str, attributes_size: int) -> bool:
        """Whether a body certainly goes as it is, and nobody listens. If not, `seal` it."""
        return not PROCESS_LISTENERS and self.asks_nobody(
            body, queue=queue, attributes_size=attributes_size
        )

    def asks_nobody(self, body: str, *, queue: str, attributes_size: int) -> bool:
        """Whether a body certainly goes as it is, so that `seal` asks neither queue nor store."""
        return self.opener.claim_check_for(queue).leaves_alone(
            body, attributes_size=attributes_size
        )

    def asks_store(self, body: str) -> bool:
        """Whether opening a message may wait for a store, as AWS's pointers do too."""
        return self.opener.once or mentions_claim_check(body) or IN_EVERY_POINTER in body

    def discard(self, sealed: Sealed, *, queue: str) -> None:
        """Remove the claim of a message that is certainly not on the queue; a refusal is logged."""
        try:
            self.opener.claim_check_for(queue).discard(sealed)
        except ClaimStoreError as error:
            logger.warning(
                "claim %s, of a message that was not sent, could not be removed and expires: %s",
                sealed.claim_id,
                error,
            )

    def open(
        self,
        body: str,
        *,
        queue: str,
        name: str | None,
        message_id: str,
        receive_count: int,
        lease_seconds: float | None,
    ) -> Opened | None:
        """Open a message, sealed or not, and acquire its claim.

        Args:
            body: The body from the queue.
            queue: The queue's URL.
            name: As for `seal`.
            message_id: The id that the queue gave it.
            receive_count: How often it was received, this time included.
            lease_seconds: How long it stays invisible from now.

        Returns:
            The message; None if it is a duplicate.

        Raises:
            ClaimCheckError: See `ClaimCheck.open`; the message must not be acknowledged.
            SettingsInvalid: The claim check cannot be made from the environment.
        """
        started = time.perf_counter()
        try:
            opened = self.opener.open(
                body,
                queue=queue,
                message_id=message_id,
                lease_seconds=lease_seconds,
            )
        except LetsGoError as error:
            PROCESS_LISTENERS.emit(
                MessageNotOpened(
                    type=name,
                    queue=queue,
                    message_id=message_id,
                    receive_count=receive_count,
                    error=error,
                )
            )
            raise
        if not PROCESS_LISTENERS:
            return opened
        if opened is None:
            PROCESS_LISTENERS.emit(
                DuplicateSuppressed(
                    type=name, queue=queue, message_id=message_id, receive_count=receive_count
                )
            )
        else:
            PROCESS_LISTENERS.emit(
                MessageOpened(
                    type=name,
                    queue=queue,
                    message_id=message_id,
                    route=opened.route,
                    size=opened.size,
                    claim_id=opened.claim_id,
                    duration=time.perf_counter() - started,
                )
            )
        return opened

    def prepare(self, queue: str) -> None:
        """Make the claim check now, so that a wrong setting shows before the first message.

        Raises:
            SettingsInvalid: A setting cannot be used.
        """
        self.opener.claim_check_for(queue)

    def check_elsewhere(self, queue: str) -> None:
        """Make the claim check now, for messages that another process may settle.

        Raises:
            SettingsInvalid: The claim check cannot be made from the environment, or its `purge`
                would keep contents in this process only.
        """
        if (self.opener.purge or self.opener.claim_check_for(queue).purge) == "before":
            raise SettingsInvalid(
                "purge='before' keeps the contents in the process that received a message, and "
                "another may settle it. Use purge='after' or 'never' with this client."
            )

    def write_down(self, opened: Opened, *, queue: str) -> HoldNote | None:
        """Write the hold down, for this process or another; see `ClaimCheck.write_down`."""
        return self.opener.claim_check_for(queue).write_down(opened)

    def take_up(self, note: HoldNote, *, queue: str) -> Hold:
        """Return a hold that this process, or another, wrote down; see `ClaimCheck.take_up`."""
        return self.opener.claim_check_for(queue).take_up(note)
