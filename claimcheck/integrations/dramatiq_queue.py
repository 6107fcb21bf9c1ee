"""A queue of dramatiq_sqs, as boto3 has it: seals messages, and opens those that are received.

Messages are opened on threads beside dramatiq's consumer, so that a store that does not answer
holds only the messages that need it.
"""

from __future__ import annotations

import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from claimcheck.core.opened import Opened
from claimcheck.integrations import sqs
from claimcheck.integrations.base import Carrier, log_left
from letsgo_queue.calls import make_all
from letsgo_queue.daemon_threads import DaemonThreads
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from mypy_boto3_sqs.service_resource import Message, Queue

logger = get_logger(__name__)

_THREADS = 8
"""Messages that a consumer opens at once."""

_MOST_OPENING = 2 * _THREADS
"""Messages that are opened, or wait for it, beside those that dramatiq has."""

_TRIES = 5
"""Receives after which a message that can never be opened goes to dramatiq's dead-letter queue."""

SENDING: ContextVar[str | None] = ContextVar("sending", default=None)
"""The actor whose message is on its way to SQS."""


class Owner(Protocol):
    """The parts of a broker that this module needs.

    Attributes:
        carrier: Seals and opens.
        most_bytes: The bytes that the broker's owner lets a message have.
    """

    carrier: Carrier
    most_bytes: int


class _Wrapper:
    """One of boto3's resources, with some methods of ours."""

    def __init__(self, wrapped: object) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class SealingQueue(_Wrapper):
    """A queue as boto3 has it, which seals the messages that are sent to it."""

    def __init__(self, queue: Queue, broker: Owner) -> None:
        super().__init__(queue)
        self._queue = queue
        self._broker = broker
        self._facts = sqs.QueueFacts()

    @property
    def facts(self) -> Mapping[str, str]:
        """The queue's attributes, asked for once; none if reading them is not permitted."""
        return self._facts.of(self._queue.meta.client, self._queue.url)

    def send_message(self, **request: Any) -> object:
        """Send a message as dramatiq_sqs encoded it, in base64."""
        encoded: str = request["MessageBody"]
        return self._broker.carrier.send_encoded(
            encoded,
            lambda body: self._queue.send_message(**{**request, "MessageBody": body}),
            as_text=lambda: _as_text(encoded),
            queue=self._queue.url,
            name=SENDING.get(),
            queue_limit=self._limit,
            surely=min(ANY_QUEUE_BYTES, self._broker.most_bytes),
            delay_seconds=request.get("DelaySeconds", 0),
        )

    def _limit(self) -> int:
        return min(sqs.max_message_bytes(self.facts) or ANY_QUEUE_BYTES, self._broker.most_bytes)


class Received(_Wrapper):
    """A message as boto3 has it, opened.

    Attributes:
        not_followed: Why a message that was to follow it was not sent: its retry, say.
    """

    def __init__(self, message: Message, opened: Opened) -> None:
        super().__init__(message)
        self._message = message
        self._opened = opened
        self._lock = threading.Lock()
        self._is_settled = False
        self.not_followed: LetsGoError | None = None
        self._to_decode: str | None = _as_base64(opened.body)
        opened.body = ""  # it may be large, and dramatiq has it

    @property
    def body(self) -> str:
        """The opened body in base64, for dramatiq_sqs; after one read, the body that travelled.

        The latter goes to its dead-letter queue, and to its log if decoding failed: so the log gets
        nothing that was sealed.
        """
        decoded, self._to_decode = self._to_decode, None
        return self._message.body if decoded is None else decoded

    def settle(self, *, succeeded: bool) -> None:
        """Complete the claim, or release it, unless that was done."""
        with self._lock:
            settled, self._is_settled = self._is_settled, True
        if not settled:
            self._opened.settle(succeeded=succeeded)

    def delete(self) -> None:
        """Complete the claim, then delete the message."""
        self.settle(succeeded=True)
        self._message.delete()


class Inbox(_Wrapper):
    """A queue as boto3 has it, which opens the messages that are received from it."""

    def __init__(
        self,
        carrier: Carrier,
        queue: SealingQueue,
        dead_letters: Queue | None,
        visibility_timeout: int | None,
    ) -> None:
        super().__init__(queue)
        self._carrier = carrier
        self._queue = queue
        self._dead_letters = dead_letters
        self._visibility_timeout = visibility_timeout
        self._pool = DaemonThreads(_THREADS, "claimcheck-dramatiq")
        self._changed = threading.Condition()
        self._opening = 0
        self._opened: list[Received] = []
        self._is_closed = False

    def receive_messages(self, **request: Any) -> Sequence[Received]:
        """Receive messages, and return those that are open.

        While messages are being opened, this waits for the first of them, and not for SQS.
        """
        seconds: int = request["WaitTimeSeconds"]
        with self._changed:
            under_way = self._opening + len(self._opened)
        room = min(request["MaxNumberOfMessages"], _MOST_OPENING - under_way)
        if room > 0:
            request |= {
                "MaxNumberOfMessages": room,
                "WaitTimeSeconds": 0 if under_way else seconds,
                "AttributeNames": [sqs.RECEIVE_COUNT],
            }
            arrived = time.monotonic()
            for message in self._queue.receive_messages(**request):
                self._take(message, arrived)
        with self._changed:
            if self._opening and not self._opened:
                self._changed.wait(seconds)
            opened, self._opened = self._opened, []
        return opened

    def leave(self, received: Received, error: LetsGoError) -> None:
        """Leave a message that must be handled again on its queue, or to the dead letters."""
        received.settle(succeeded=False)
        self._leave(received, error)

    def release(self, messages: Iterable[Received]) -> None:
        """Release the claims of messages that go back to the queue, several at once."""
        make_all([partial(each.settle, succeeded=False) for each in messages], self._pool)

    def close(self) -> None:
        """Give back the messages that dramatiq does not have."""
        with self._changed:
            self._is_closed = True
            opened, self._opened = self._opened, []
        make_all([partial(self._give_back, each) for each in opened], self._pool)
        self._pool.close(wait=False)

    def _take(self, message: Message, arrived: float) -> None:
        with self._changed:
            self._opening += 1
        open_it = partial(self._open, message, arrived)
        if not self._carrier.asks_store(message.body):
            open_it()
            return
        try:
            self._pool.submit(open_it)
        except RuntimeError:  # the machine has no more threads
            open_it()

    def _open(self, message: Message, arrived: float) -> None:
        received = None
        try:
            if not self._is_closed:
                received = self._try_to_open(message, arrived)
            else:
                self._hide(message, 0)
        except Exception:  # a fault of ours must not end the consumer
            logger.exception(
                "a message could not be opened, and stays on queue %s", self._queue.url
            )
        finally:
            with self._changed:
                self._opening -= 1
                gone = self._is_closed
                if received is not None and not gone:
                    self._opened.append(received)
                self._changed.notify()
        if received is not None and gone:
            self._give_back(received)

    def _try_to_open(self, message: Message, arrived: float) -> Received | None:
        hidden = self._hidden()
        try:
            opened = self._carrier.open(
                message.body,
                queue=self._queue.url,
                name=None,
                message_id=message.message_id,
                receive_count=sqs.receive_count(message.attributes),
                lease_seconds=sqs.lease_seconds(hidden, waited=time.monotonic() - arrived),
            )
            if opened is not None:
                return Received(message, opened)
            message.delete()
        except LetsGoError as error:
            self._leave(message, error)
        except (BotoCoreError, ClientError) as error:
            logger.warning("a duplicate stays on queue %s: %s", self._queue.url, error)
        return None

    def _hidden(self) -> float:
        """For how many seconds the queue hides a message."""
        return self._visibility_timeout or sqs.visibility_timeout(self._queue.facts)

    def _leave(self, message: Message | Received, error: LetsGoError) -> None:
        """Leave a message that could not be opened on its queue, or to the dead letters."""
        count = sqs.receive_count(message.attributes)
        hopeless = not error.retryable and count >= _TRIES
        if hopeless and self._dead_letters is not None:
            self._dead_letters.send_message(MessageBody=message.body)
            message.delete()
            logger.error(
                "%s Message %s was moved to queue %s.",
                error,
                message.message_id,
                self._dead_letters.url,
            )
            return
        pause = log_left(
            error,
            message_id=message.message_id,
            queue=self._queue.url,
            receive_count=count,
            hidden=self._hidden(),
        )
        self._hide(message, pause)

    def _give_back(self, received: Received) -> None:
        received.settle(succeeded=False)
        self._hide(received, 0)

    def _hide(self, message: Message | Received, seconds: int) -> None:
        try:
            message.change_visibility(VisibilityTimeout=seconds)
        except (BotoCoreError, ClientError) as error:
            logger.info("a message of %s keeps its visibility timeout: %s", self._queue.url, error)


def _as_text(encoded: str) -> str:
    """A message as dramatiq encoded it, if that is JSON; else in base64, as it came."""
    data = b64decode(encoded)
    if not data.startswith(b"{"):
        return encoded
    try:
        return data.decode()
    except UnicodeDecodeError:
        return encoded


def _as_base64(text: str) -> str:
    """Undo `_as_text`: no base64 starts with a brace."""
    return b64encode(text.encode()).decode() if text.startswith("{") else text
