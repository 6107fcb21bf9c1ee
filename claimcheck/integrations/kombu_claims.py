"""The claims of the messages that kombu sends to SQS and receives from it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from claimcheck.core.opened import Opened
from claimcheck.errors import ClaimInProgress
from claimcheck.integrations import sqs
from claimcheck.integrations.base import Carrier, extend_lease
from letsgo_queue.calls import make_all
from letsgo_queue.daemon_threads import DaemonThreads
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = get_logger(__name__)

_BEATS = 2
"""How often a message is hidden anew while the queue hides it once."""

_THREADS = 8
"""Leases that are extended at once."""

_MARGIN_SECONDS = 60
"""SQS counts the 12 hours by its own clock."""

HOLDING = "claimcheck-kombu-holding"
"""The name of threads that keep messages hidden."""

Outcome: TypeAlias = Literal["waiting", "opened", "over", "left"]
"""A message is not opened yet; kombu may have it; it was a duplicate; it stays on the queue."""


@dataclass(slots=True)
class _Held:
    """A delivery whose claim is not settled yet. Its times are monotonic seconds.

    Attributes:
        opened: Settles the claim.
        body: The body as it travelled.
        client: Returns the client that makes calls now.
        queue: The queue's URL.
        hidden: For how many seconds the queue hides a message.
        ends: When the message is visible again.
        latest: Until when SQS lets it be hidden.
        due: When it is hidden for longer.
        calling: Held during that call, so that settling the claim comes after it.
        extending: Whether a thread extends its lease.
    """

    opened: Opened
    body: str = field(repr=False)
    client: Callable[[], SQSClient]
    queue: str
    hidden: float
    ends: float
    latest: float
    due: float
    calling: threading.Lock = field(default_factory=threading.Lock)
    extending: bool = False


class Claims:
    """The claims of a connection's messages, and the attributes of its queues.

    A message that has a claim stays hidden, and its claim held, until it is settled. One thread
    keeps all of them hidden. Others extend the leases, so that a store that does not answer makes
    no message visible.
    """

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._beats = False
        self._leases = DaemonThreads(_THREADS, "claimcheck-kombu-leases")
        self._queues = sqs.QueueFacts()

    def send(
        self,
        client: SQSClient,
        request: dict[str, Any],
        *,
        name: str | None,
        as_text: Callable[[], str],
    ) -> object:
        """SendMessage, with a body that the queue accepts.

        Args:
            client: Makes the call.
            request: The arguments of kombu's call.
            name: The name of the task, for events.
            as_text: Makes a body of the same message that compresses better.
        """
        url = request["QueueUrl"]
        return self._carrier.send_encoded(
            request["MessageBody"],
            lambda body: client.send_message(**{**request, "MessageBody": body}),
            as_text=as_text,
            queue=url,
            name=name,
            queue_limit=lambda: sqs.max_message_bytes(self._ask(client, url)),
            attributes_size=sqs.attributes_size(request.get("MessageAttributes")),
            delay_seconds=request.get("DelaySeconds", 0),
        )

    def asks_store(self, message: MessageTypeDef) -> bool:
        """Whether opening a message takes a call to the store."""
        return self._carrier.asks_store(_text_of(message))

    def open(
        self,
        message: MessageTypeDef,
        *,
        client: Callable[[], SQSClient],
        queue: str,
        arrived: float,
        has_record: bool,
    ) -> Outcome:
        """Put the original body in place of a message's sealed one, and acquire its claim.

        Args:
            message: The message as SQS delivered it.
            client: Returns the client that makes calls now. It deletes a duplicate, and hides a
                message that another delivery has.
            queue: The queue's URL.
            arrived: When it was received (monotonic seconds).
            has_record: Whether opening it asks the store.
        """
        handle, body = message["ReceiptHandle"], _text_of(message)
        count = sqs.receive_count(message.get("Attributes"))
        try:
            hidden, lease = 0.0, None
            if has_record:
                hidden = sqs.visibility_timeout(self._ask(client(), queue))
                lease = sqs.lease_seconds(hidden, waited=time.monotonic() - arrived)
            opened = self._carrier.open(
                body,
                queue=queue,
                name=None,
                message_id=message["MessageId"],
                receive_count=count,
                lease_seconds=lease,
            )
            if opened is None:
                client().delete_message(QueueUrl=queue, ReceiptHandle=handle)
                return "over"
        except ClaimInProgress as error:
            logger.info("%s", error)
            hide(client, queue, handle, sqs.pause_after(error, count))
            return "left"
        except (LetsGoError, BotoCoreError, ClientError) as error:
            logger.error(  # noqa: TRY400  what it says is enough
                "%s Message %s stays on queue %s until its visibility timeout ends.",
                error,
                message["MessageId"],
                queue,
            )
            return "left"
        except Exception:  # a fault of ours must not end the consumer
            logger.exception("a message could not be opened, and stays on queue %s", queue)
            return "left"
        message["Body"] = opened.body
        if has_record:
            opened.body = ""  # it may be large, and kombu has it
            self._hold(
                handle,
                _Held(
                    opened,
                    body,
                    client,
                    queue,
                    hidden,
                    ends=arrived + hidden,
                    latest=arrived + MAX_VISIBILITY_SECONDS,
                    due=arrived + hidden / _BEATS,
                ),
            )
        return "opened"

    def body_of(self, message: MessageTypeDef) -> str:
        """The body of a message as it travelled."""
        held = self._held.get(message["ReceiptHandle"])
        return _text_of(message) if held is None else held.body

    def settle(self, receipt_handle: str, *, succeeded: bool) -> None:
        """Complete the claim of a delivery, or release it, unless that was done."""
        with self._changed:
            held = self._held.pop(receipt_handle, None)
            if not self._held:
                self._changed.notify()
        if held is not None:
            with held.calling:
                held.opened.settle(succeeded=succeeded)

    def release(self, receipt_handles: Iterable[str]) -> None:
        """Release the claims of deliveries, several at once, as a store may be slow."""
        releases = [partial(self.settle, each, succeeded=False) for each in receipt_handles]
        make_all(releases, self._leases)

    def close(self) -> None:
        """Release the claims that are left: nobody can acknowledge their messages any more."""
        self.release([*self._held])

    def extend(self, receipt_handle: str, seconds: float) -> None:
        """Hold the claim of a delivery for as long as its message is hidden from now."""
        held = self._held.get(receipt_handle)
        if held is None:
            return
        now = time.monotonic()
        held.ends, held.due = now + seconds, now + seconds / _BEATS
        extend_lease(held.opened, seconds, asked=now)

    def _hold(self, receipt_handle: str, held: _Held) -> None:
        with self._changed:
            self._held[receipt_handle] = held
            self._changed.notify()
            starts, self._beats = not self._beats, True
        if starts:
            threading.Thread(target=self._beat, name=HOLDING, daemon=True).start()

    def _beat(self) -> None:
        """Hide messages for longer when it is time, until none is left."""
        while True:
            with self._changed:
                if not self._held:
                    self._beats = False
                    return
                handle, held = min(self._held.items(), key=lambda each: each[1].due)
                if (pause := held.due - time.monotonic()) > 0:
                    self._changed.wait(min(pause, threading.TIMEOUT_MAX))
                    continue
            try:
                self._hide_longer(handle, held)
            except Exception:  # a fault of ours must not let go of the others
                logger.exception("a message of queue %s keeps its visibility timeout", held.queue)

    def _hide_longer(self, handle: str, held: _Held) -> None:
        with held.calling:
            now = time.monotonic()
            seconds = int(min(held.hidden, held.latest - _MARGIN_SECONDS - now))
            if handle not in self._held or now >= held.ends or seconds < 1:
                held.due = math.inf  # it is settled, or SQS will not hide it
                return
            held.due = now + held.hidden / _BEATS / _BEATS  # unless the call does better
            if not hide(held.client, held.queue, handle, seconds):
                return
            held.ends, held.due = now + seconds, now + seconds / _BEATS
        if held.extending:
            return
        held.extending = True
        extend = partial(self._extend_lease, held, seconds, now)
        try:
            self._leases.submit(extend)
        except RuntimeError:  # the machine has no more threads
            extend()

    def _extend_lease(self, held: _Held, seconds: float, asked: float) -> None:
        try:
            extend_lease(held.opened, seconds, asked=asked)
        except Exception:  # a fault of ours must not end the thread
            logger.exception("the lease of claim %s was not extended", held.opened.claim_id)
        finally:
            held.extending = False

    def prepare(self, queue: str) -> None:
        """Make the claim check now, so that a wrong setting shows before the first message.

        Raises:
            SettingsInvalid: A setting cannot be used.
        """
        self._carrier.prepare(queue)

    def _ask(self, client: SQSClient, queue: str) -> Mapping[str, str]:
        """The attributes of a queue, asked for once; none if reading them is not permitted."""
        return self._queues.of(client, queue)


def hide(client: Callable[[], SQSClient], queue: str, receipt_handle: str, seconds: int) -> bool:
    """Make a message visible after so many seconds; without an answer, when SQS decides.

    Returns:
        Whether SQS agreed.
    """
    try:
        client().change_message_visibility(
            QueueUrl=queue, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds
        )
    except (BotoCoreError, ClientError) as error:
        logger.info("a message of queue %s keeps its visibility timeout: %s", queue, error)
        return False
    return True


def _text_of(message: MessageTypeDef) -> str:
    body: str | bytes = message["Body"]
    return body if isinstance(body, str) else body.decode()
