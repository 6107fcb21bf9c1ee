"""LetsGo's local mode, the worker's end: messages are posted to it, and handled at once.

    POST / ──> 201 ──> a thread handles each record, or it waits for a free thread

The answer comes before the handlers run, and nothing is kept: a message that fails is logged and
dropped, and what was accepted is lost when the process ends. LetsGo's own local worker does the
same: https://github.com/47chapters/letsgo/blob/main/apps/worker/src/server.ts
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from letsgo_queue.aws_lambda.records import SqsRecord, is_scheduled
from letsgo_queue.errors import (
    HandlerMissing,
    LetsGoQueueError,
    MessageInvalid,
    QueueUnavailable,
    SettingsInvalid,
)
from letsgo_queue.local_http.transport import LocalHttpTransport
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.worker.processing import Processor

if TYPE_CHECKING:
    import socket
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = get_logger(__name__)

AcceptedT = TypeVar("AcceptedT")

_LOOK_SECONDS = 0.2
"""How often the server looks whether it should stop."""


class LocalDeliveries(LocalHttpTransport):
    """The worker's own address as a queue: what was posted there has been received already."""

    def delete(self, message: ReceivedMessage) -> None:
        """Nothing to do: no queue has the message."""

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Nothing to do: no queue has the messages."""
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, reason: str) -> bool:
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
        url: The address, with the port that was found where any would do.
    """

    def __init__(
        self,
        processor: Processor,
        *,
        host: str,
        port: int,
        concurrency: int,
        stopping: threading.Event,
    ) -> None:
        """Listen; nothing is answered before `run`.

        Args:
            processor: Handles the messages, and scheduled events.
            host: The name or address to listen on.
            port: The port; 0 for any free port.
            concurrency: Messages in process at once; the rest waits, in order.
            stopping: Set when no more messages should be taken.

        Raises:
            SettingsInvalid: waitress is not installed, or the address cannot be used.
        """
        try:
            from waitress import wasyncore
            from waitress.server import MultiSocketServer, create_server
        except ModuleNotFoundError as missing:
            raise SettingsInvalid(
                f"LetsGo's local mode needs {missing.name}: pip install 'letsgo-claimcheck[local]'"
            ) from None
        self._wasyncore = wasyncore
        self._sockets: dict[int, socket.socket] = {}
        try:
            self._server = create_server(self._answer, self._sockets, host=host, port=port)
        except (OSError, ValueError) as error:
            wasyncore.close_all(self._sockets)
            raise SettingsInvalid(
                f"a worker cannot listen on {host}:{port} "
                f"({getattr(error, 'strerror', None) or error}). If another worker runs there, "
                "stop it or choose another port."
            ) from error
        listening: Sequence[tuple[str, object]] = (
            self._server.effective_listen  # of a name with several addresses
            if isinstance(self._server, MultiSocketServer)
            else [self._server.getsockname()]
        )
        self.url, *self._other_urls = [_url(*each) for each in listening]
        self._processor = processor
        self._stopping = stopping
        self._transport = LocalDeliveries(self.url)
        self._variables = copy_context()  # of the caller of `serve`; each message has a copy
        self._pool = ThreadPoolExecutor(concurrency, "letsgo-worker")
        self._accepted: set[Future[None]] = set()

    def run(self) -> None:
        """Take messages until stopped, then finish those that were accepted."""
        logger.info("worker running on %s", " and ".join([self.url, *self._other_urls]))
        try:
            while not self._stopping.is_set():
                self._wasyncore.loop(timeout=_LOOK_SECONDS, map=self._sockets, count=1)
        finally:
            self.close()

    def close(self) -> None:
        """Answer what is being asked, stop listening, and finish what was accepted.

        A KeyboardInterrupt meanwhile drops what has not begun.
        """
        try:
            self._server.task_dispatcher.shutdown()
            self._wasyncore.close_all(self._sockets)
            # Not for the threads: an interrupt has Python 3.11 and 3.12 think that one has ended.
            wait(self._accepted.copy())
            self._pool.shutdown()
        except KeyboardInterrupt:
            self._pool.shutdown(wait=False, cancel_futures=True)
            logger.warning("interrupted again: what was accepted and has not begun is dropped")
            raise

    def _answer(self, request: WSGIEnvironment, start_response: StartResponse) -> Sequence[bytes]:
        if (request["REQUEST_METHOD"], _target(request)) != ("POST", "/"):
            return _refuse(start_response, "Bad request. Only POST / is accepted.")
        try:
            event = json.loads(request["wsgi.input"].read())
        except (ValueError, RecursionError):
            return _refuse(start_response, "Bad request. Body must be JSON.")
        answered = threading.Event()
        try:
            # Before the answer, so that what a sender posts next comes after it.
            self._take(event, answered)
            write = start_response("201 Created", [("Content-Length", "0")])
            # Sends the answer now: it must not wait for a handler, which may end this process.
            write(b"")
        finally:
            # Also where the client has gone: it may think that the message was accepted.
            answered.set()
        return []

    def _take(self, event: object, answered: threading.Event) -> None:
        """Hand on what was posted: SQS records, or the event of a scheduler."""
        fields = event if isinstance(event, dict) else {}
        records = fields.get("Records")
        if is_scheduled(fields):
            self._accept(self._handle_scheduled, fields, answered)
        elif isinstance(records, list):
            for record in records:
                self._take_record(record, answered)
        else:
            logger.warning("a post that has no Records is dropped")

    def _take_record(self, record: object, answered: threading.Event) -> None:
        try:
            received = _received(record)
        except MessageInvalid as error:
            logger.warning("%s It is dropped.", error)
        else:
            self._accept(self._handle, received, answered)

    def _accept(
        self,
        handle: Callable[[AcceptedT, threading.Event], None],
        what: AcceptedT,
        answered: threading.Event,
    ) -> None:
        handling = self._pool.submit(self._variables.copy().run, handle, what, answered)
        self._accepted.add(handling)
        handling.add_done_callback(self._accepted.discard)

    def _handle(self, received: ReceivedMessage, answered: threading.Event) -> None:
        answered.wait()
        settled = self._processor.process(
            self._transport, received, wait=lambda hold: not self._stopping.wait(hold.seconds)
        )
        if not settled:
            logger.warning(
                "message %s is dropped: LetsGo's local mode has no retries",
                received.message_id,
                extra={"message_id": received.message_id, "queue": self.url},
            )

    def _handle_scheduled(self, event: Mapping[str, Any], answered: threading.Event) -> None:
        answered.wait()
        try:
            self._processor.run_scheduled(event)
        except HandlerMissing as error:
            logger.warning("%s", error)
        except Exception:  # the handler's own; there is nobody else to tell
            logger.exception("the handler of scheduled events failed")


def _received(record: object) -> ReceivedMessage:
    posted = SqsRecord(record if isinstance(record, dict) else {})
    if posted.message_id is None:
        raise MessageInvalid("a record that was posted has no messageId.")
    return posted.received()


def _url(host: str, port: object) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _target(request: WSGIEnvironment) -> str:
    query = request.get("QUERY_STRING")
    return f"{request['PATH_INFO']}?{query}" if query else str(request["PATH_INFO"])


def _refuse(start_response: StartResponse, message: str) -> Sequence[bytes]:
    """Answer as LetsGo's worker does."""
    answer = json.dumps({"statusCode": 400, "message": message}, indent=2).encode()
    start_response(
        "400 Bad Request",
        [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))],
    )
    return [answer]


def _no_retries(message: ReceivedMessage, what: str) -> NoReturn:
    raise QueueUnavailable(
        f"message {message.message_id} cannot be {what}: LetsGo's local mode has no queue that "
        "keeps it and does not retry. Use a sqlite:// queue for that.",
        retryable=False,
    )
