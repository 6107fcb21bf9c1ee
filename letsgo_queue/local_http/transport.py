"""LetsGo's local mode, the sending end: a message is posted to a worker on this machine.

There is no queue in between. The worker answers 201 once it has the message, handles it at once
whatever its delay, and drops it if that fails. `letsgo_queue.local_http.server` is the other end;
LetsGo's own worker and client, in TypeScript, speak the same.
https://github.com/47chapters/letsgo/blob/main/packages/queue/src/index.ts
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

from letsgo_queue.aws_lambda.records import local_record
from letsgo_queue.delays import without_due_time
from letsgo_queue.deployment import DEFAULT_REGION
from letsgo_queue.errors import LetsGoQueueError, SendFailed, SendUncertain, SettingsInvalid
from letsgo_queue.failure import Failure
from letsgo_queue.limits import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES
from letsgo_queue.log import get_logger
from letsgo_queue.settings import named_queue
from letsgo_queue.transports.base import (
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    one_by_one,
    too_large,
)

logger = get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
ANSWER_TIMEOUT_SECONDS = 30

MAX_POST_BYTES = 6 * MAX_BATCH_BYTES + 65_536
"""The most bytes of a post. The messages of one post fit a batch of SQS. JSON writes each
of their bytes as six at most (`\\u007f`), and the other fields of ten records are short."""

_MAX_ANSWER_BYTES = 65_536
_MAX_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a POST sent nothing, or may have sent nothing.

    Attributes:
        problem: What went wrong, and what to do.
        uncertain: Whether the worker may have the messages all the same.
        retryable: Whether the same POST may succeed later.
    """

    problem: str
    uncertain: bool = False
    retryable: bool = False

    def of(self, message: OutgoingMessage, message_id: str) -> SendFailed | SendUncertain:
        """The error of one message."""
        which = f"message {message_id} of type {message.type!r}"
        if self.uncertain:
            return SendUncertain(f"{which} may have been sent: {self.problem}")
        return SendFailed(f"{which} was not sent: {self.problem}", retryable=self.retryable)


class LocalHttpTransport:
    """A worker in LetsGo's local mode, reached by HTTP. It is for sending only."""

    fifo = False
    seconds_to_prove_empty = 0

    def __init__(self, url: str, *, region: str | None = None) -> None:
        """Name the worker; nothing is sent yet.

        Args:
            url: Its address: `http://localhost:3002`.
            region: The AWS region that messages name; by default LetsGo's own.

        Raises:
            SettingsInvalid: The URL names no host, or cannot be one.
        """
        parts = urlsplit(url)
        try:
            self._port = parts.port
        except ValueError as error:
            raise SettingsInvalid(f"{named_queue(url)}: not a URL ({error}).") from None
        if not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
            raise SettingsInvalid(
                f"{named_queue(url)}: a worker in LetsGo's local mode has an address like "
                "http://localhost:3002."
            )
        self.url = url
        self._host = parts.hostname
        self._secure = parts.scheme == "https"
        self._path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._region = region or DEFAULT_REGION
        self._sender = f"letsgo:local:{os.environ.get('USER') or 'unknown'}"
        self._warned_of_delay = False

    def max_receives(self) -> None:
        """There is no queue."""

    def content_based_deduplication(self) -> bool:
        """No: there is no queue that could deduplicate."""
        return False

    def max_message_bytes(self) -> int:
        """As much as SQS takes, so that local mode refuses the same messages."""
        return MAX_MESSAGE_BYTES

    def send(self, message: OutgoingMessage) -> str:
        """Post a message to the worker; see `Transport.send`."""
        (sent,) = self.send_batch([message])
        if isinstance(sent, Exception):
            raise sent
        return sent

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Post messages to the worker in one request; see `Transport.send_batch`."""
        sent: list[Sent] = [
            too_large(message, MAX_MESSAGE_BYTES)
            if message.size > MAX_MESSAGE_BYTES
            else str(uuid.uuid4())
            for message in messages
        ]
        posted = {
            message_id: without_due_time(message)
            for message_id, message in zip(sent, messages, strict=True)
            if isinstance(message_id, str)
        }
        failure = self._post(posted) if posted else None
        if failure is not None:
            return [
                failure.of(posted[each], each) if isinstance(each, str) else each for each in sent
            ]
        self._warn_of_delay(posted.values())
        return sent

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """Not possible at this end; see `receive`."""
        self._refuse()

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Not possible: messages are pushed to the worker.

        Raises:
            SettingsInvalid: Always; the text says how to run the worker.
        """
        self._refuse()

    def delete(self, message: ReceivedMessage) -> None:
        """Not possible at this end; see `receive`."""
        self._refuse()

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Not possible at this end; see `receive`."""
        self._refuse()

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Not possible at this end; see `receive`."""
        self._refuse()

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Not possible at this end; see `receive`."""
        self._refuse()

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Keep deliveries invisible; see `Transport`."""
        return one_by_one(self.change_visibility, changes)

    def close(self) -> None:
        """Nothing to release: each request has a connection of its own."""

    def _post(self, messages: Mapping[str, OutgoingMessage]) -> _Failure | None:
        """Post messages, by their ids."""
        body = self._body(messages)
        with closing(self._connection()) as connection:
            try:
                connection.connect()
            except (OSError, UnicodeError) as error:
                return _Failure(
                    f"nothing answers at {self.url} ({_reason(error)}). Start the worker: "
                    "letsgo-queue worker app:worker --local",
                    retryable=True,
                )
            connection.sock.settimeout(ANSWER_TIMEOUT_SECONDS)
            try:
                connection.request(
                    "POST", self._path, body, headers={"Content-Type": "application/json"}
                )
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                return _Failure(
                    f"the answer of {self.url} was lost ({_reason(error)}). Look in the worker's "
                    "log for the message before you send it again.",
                    uncertain=True,
                )
            if response.status == HTTPStatus.CREATED:
                return None
            return _Failure(
                f"{self.url} answered {response.status}{_said(response)}, and not 201. Check that "
                "it is the address of a worker in LetsGo's local mode, without a path.",
                retryable=response.status >= HTTPStatus.INTERNAL_SERVER_ERROR,
            )

    def _body(self, messages: Mapping[str, OutgoingMessage]) -> bytes:
        now = time.time()
        records = [
            local_record(
                message,
                message_id=message_id,
                receipt_handle=uuid.uuid4().hex,
                sender=self._sender,
                region=self._region,
                sent_at=now,
            )
            for message_id, message in messages.items()
        ]
        # ASCII: LetsGo's worker decodes each piece that it receives by itself, and would break a
        # character that two pieces share.
        return json.dumps({"Records": records}, separators=(",", ":"), ensure_ascii=True).encode()

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._host, self._port, timeout=CONNECT_TIMEOUT_SECONDS)

    def _warn_of_delay(self, messages: Iterable[OutgoingMessage]) -> None:
        longest = max((message.delay_seconds for message in messages), default=0)
        if longest and not self._warned_of_delay:
            self._warned_of_delay = True
            logger.warning(
                "queue %s: a delay of %d s was asked for, and LetsGo's local mode has none: "
                "messages are handled at once. A sqlite:// queue observes delays. This is said "
                "once.",
                self.url,
                longest,
            )

    def _refuse(self) -> NoReturn:
        raise SettingsInvalid(
            f"queue {self.url!r}: in LetsGo's local mode a worker does not receive messages: they "
            "are posted to it. Run worker.serve(), or: letsgo-queue worker app:worker --local"
        )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _said(response: HTTPResponse) -> str:
    """Return the reason in a refusal of LetsGo's worker; nothing that another server says."""
    with suppress(OSError, HTTPException, ValueError):
        answer = json.loads(response.read(_MAX_ANSWER_BYTES))
        if isinstance(answer, dict) and answer.keys() == {"statusCode", "message"}:
            return f" ({str(answer['message'])[:_MAX_REASON_LENGTH]!r})"
    return ""
