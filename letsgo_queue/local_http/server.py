"""LetsGo's local mode, the worker's end: messages are posted to it, and handled at once.

    POST / ──> 201 ──> a thread handles each record, or it waits for a free thread

The answer comes before the handlers run, and nothing is kept: a message that fails is logged and
dropped, and what was accepted is lost when the process ends. LetsGo's own local worker does the
same: https://github.com/47chapters/letsgo/blob/main/apps/worker/src/server.ts
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import h11

from letsgo_queue.aws_lambda.records import SqsRecord, is_scheduled
from letsgo_queue.envelope import read_json
from letsgo_queue.errors import (
    HandlerMissing,
    LetsGoQueueError,
    MessageInvalid,
    QueueUnavailable,
    SettingsInvalid,
)
from letsgo_queue.failure import Failure
from letsgo_queue.local_http.callers import Callers
from letsgo_queue.local_http.connections import Connections, Refusal, Take
from letsgo_queue.local_http.transport import MAX_POST_BYTES, LocalHttpTransport
from letsgo_queue.log import get_logger
from letsgo_queue.text import counted
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.worker.processing import Processor
from letsgo_queue.worker.signals import wait_until

logger = get_logger(__name__)

AcceptedT = TypeVar("AcceptedT")

MAX_RECORDS = 100
"""The most records of one post. Our client posts ten at most, and LetsGo's one. Each may write to
the log."""


class LocalDeliveries(LocalHttpTransport):
    """The worker's own address as a queue. Its messages have been received when they are posted."""

    def delete(self, message: ReceivedMessage) -> None:
        """Nothing to do: no queue has the message."""

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Nothing to do: no queue has the messages."""
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Not possible: local mode has no dead-letter queue.

        Raises:
            QueueUnavailable: Always.
        """
        _no_retries(message, "moved to the dead letters")

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Not possible: no queue could deliver the message again.

        Raises:
            QueueUnavailable: Always.
        """
        _no_retries(message, "delivered again later")


class LocalHttpServer:
    """Takes messages by HTTP and hands each to a thread, until stopped.

    Attributes:
        url: The address, with the port that it listens on.
    """

    def __init__(
        self,
        processor: Processor,
        *,
        host: str,
        port: int,
        allowed_hosts: Collection[str],
        concurrency: int,
        stopping: threading.Event,
    ) -> None:
        """Listen; nothing is answered before `run`.

        Args:
            processor: Handles the messages, and scheduled events.
            host: The name or address to listen on.
            port: The port; 0 for any free port.
            allowed_hosts: Names and addresses that senders may use, beside `host` and those of
                loopback.
            concurrency: The most messages handled at once; the others wait, in order.
            stopping: Set when no more messages should be taken.

        Raises:
            SettingsInvalid: The address cannot be used, or an allowed host is no host.
        """
        self._callers = Callers(host, allowed_hosts)
        try:
            self._connections = Connections(host, port, self, max_body_bytes=MAX_POST_BYTES)
        except (OSError, UnicodeError) as error:
            raise SettingsInvalid(
                f"a worker cannot listen on {host}:{port} "
                f"({getattr(error, 'strerror', None) or error}). If another worker runs there, "
                "stop it or choose another port."
            ) from error
        self.url, *self._other_urls = [_url(*each) for each in self._connections.addresses]
        self._processor = processor
        self._stopping = stopping
        self._transport = LocalDeliveries(self.url)
        self._variables = copy_context()  # of the caller of `serve`; each message has a copy
        self._pool = ThreadPoolExecutor(concurrency, "letsgo-worker")
        self._accepted: set[Future[None]] = set()

    def run(self) -> None:
        """Take messages until stopped, then finish those that were accepted.

        A KeyboardInterrupt meanwhile drops the messages that have not begun.
        """
        logger.info("worker running on %s", " and ".join([self.url, *self._other_urls]))
        try:
            # A thread of its own: the caller's may have an event loop already.
            with ThreadPoolExecutor(1, "letsgo-worker-http") as thread:
                served = thread.submit(self._connections.serve, self._stopping)
                _wait_for({served})
                served.result()
            # Not for the threads: after an interrupt Python 3.11 and 3.12 take a thread for ended.
            _wait_for(self._accepted.copy())
        except KeyboardInterrupt:
            self._pool.shutdown(wait=False, cancel_futures=True)
            logger.warning("interrupted again: what was accepted and has not begun is dropped")
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening, and wait for the handlers that run."""
        self._connections.close()
        self._pool.shutdown()

    def check(self, head: h11.Request) -> Refusal | None:
        """See `Site.check`. LetsGo's worker answers 400 to another method, and to another path."""
        if (head.method, head.target) != (b"POST", b"/"):
            return _bad("Messages are posted to /, with the method POST.")
        return self._callers.check(head)

    def read(self, body: bytes) -> Refusal | Take:
        """See `Site.read`. LetsGo's worker takes any JSON, and ignores what it does not know."""
        try:
            event = read_json(body)
        except MessageInvalid:
            return _bad("The body is not JSON.")
        records = event.get("Records") if isinstance(event, dict) else None
        if is_scheduled(event):
            return partial(self._accept, self._handle_scheduled, event)
        if not isinstance(records, list):
            return partial(logger.warning, "a post that has no Records is dropped")
        if len(records) > MAX_RECORDS:
            return _bad(f"The body has {len(records):,} records. Post {MAX_RECORDS} at most.")
        return partial(self._take, records)

    def _take(self, records: Sequence[object]) -> None:
        errors = []
        for record in records:
            try:
                received = _received(record)
            except MessageInvalid as error:
                errors.append(error)
            else:
                self._accept(self._handle, received)
        if errors:
            logger.warning(
                "%d of the %s of a post cannot be read. Dropped, the first because: %s",
                len(errors),
                counted(len(records), "record"),
                errors[0],
            )

    def _accept(self, handle: Callable[[AcceptedT], None], what: AcceptedT) -> None:
        handling = self._pool.submit(self._variables.copy().run, handle, what)
        self._accepted.add(handling)
        handling.add_done_callback(self._accepted.discard)

    def _handle(self, received: ReceivedMessage) -> None:
        settled = self._processor.run_to_end(
            self._transport, received, wait=lambda held: not self._stopping.wait(held.seconds)
        )
        if not settled:
            logger.warning(
                "message %s is dropped: LetsGo's local mode has no retries",
                received.message_id,
                extra={"message_id": received.message_id, "queue": self.url},
            )

    def _handle_scheduled(self, event: Mapping[str, Any]) -> None:
        try:
            self._processor.run_scheduled(event)
        except HandlerMissing as error:
            logger.warning("%s", error)
        except Exception:  # the handler's own; there is nobody else to tell
            logger.exception("the handler of scheduled events failed")


def _wait_for(futures: Collection[Future[None]]) -> None:
    wait_until(lambda seconds: not wait(futures, seconds).not_done)


def _received(record: object) -> ReceivedMessage:
    posted = SqsRecord(record if isinstance(record, dict) else {})
    if posted.message_id is None:
        raise MessageInvalid("a record that was posted has no messageId.")
    return posted.received()


def _url(host: str, port: object) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bad(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def _no_retries(message: ReceivedMessage, what: str) -> NoReturn:
    raise QueueUnavailable(
        f"message {message.message_id} cannot be {what}: LetsGo's local mode has no queue that "
        "keeps it and does not retry. Use a sqlite:// queue for that.",
        retryable=False,
    )
