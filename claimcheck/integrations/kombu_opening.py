"""Opens what kombu has received: at once, or on threads beside its event loop.

    receive ── a queue's messages ─┬─ ask no store, or FIFO ── opened here, in order ─┐
                                   └─ the others ── threads ── a bell ── the loop ────┴─ kombu

A message that kombu does not get is given back to the queue.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from claimcheck.integrations.kombu_claims import Claims, Outcome, hide
from letsgo_queue.daemon_threads import DaemonThreads

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

_THREADS = 8
"""Messages that a worker opens at once."""


class Channel(Protocol):
    """The parts of kombu's channel that this module needs.

    Attributes:
        claims: The claims of the connection's messages.
        closed: Whether it is closed; then it has no clients.
        opening: How many messages are being opened on threads.
    """

    claims: Claims
    closed: bool
    opening: int

    def client_for(self, queue: str) -> SQSClient:
        """The client that makes calls for a queue."""
        ...

    def has_consumer(self, queue: str) -> bool:
        """Whether somebody still takes the messages of a queue."""
        ...

    def hand_over(self, message: MessageTypeDef, url: str, queue: str) -> None:
        """Have kombu deliver a message that was opened."""
        ...


class Received:
    """A message on its way from SQS to kombu."""

    def __init__(self, channel: Channel, message: MessageTypeDef, url: str, queue: str) -> None:
        self.channel = channel
        self.message = message
        self.asks_store = channel.claims.asks_store(message)
        self.is_fifo = url.endswith(".fifo")
        self._client = channel.client_for(queue)
        self._url = url
        self._queue = queue
        self._arrived = time.monotonic()
        self._outcome: Outcome = "waiting"

    def open(self) -> Outcome:
        """Open it."""
        self._outcome = self.channel.claims.open(
            self.message,
            client=self._client_now,
            queue=self._url,
            arrived=self._arrived,
            has_record=self.asks_store,
        )
        return self._outcome

    def deliver(self) -> None:
        """Hand it to kombu, if it was opened and there is a consumer."""
        if not self.channel.has_consumer(self._queue):
            self.give_back()
        elif self._outcome == "opened":
            self.channel.hand_over(self.message, self._url, self._queue)

    def give_back(self) -> None:
        """Leave it to another consumer."""
        if self._outcome in {"waiting", "opened"}:
            handle = self.message["ReceiptHandle"]
            self.channel.claims.settle(handle, succeeded=False)
            hide(self._client_now, self._url, handle, 0)

    def _client_now(self) -> SQSClient:
        """The client for calls to its queue: kombu replaces it when its credentials expire."""
        if not self.channel.closed:
            self._client = self.channel.client_for(self._queue)
        return self._client


def opened_in_order(received: Sequence[Received]) -> Iterator[Received]:
    """Open messages here and now, and yield those that kombu may have."""
    waiting = deque(received)
    while waiting:
        message = waiting.popleft()
        outcome = message.open()
        if outcome == "opened":
            yield message
        elif outcome == "left" and message.is_fifo:
            for behind in waiting:  # in its group none may overtake it
                behind.give_back()
            return


class Threads:
    """Opens messages beside the event loop of kombu, which delivers them."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._pool = DaemonThreads(_THREADS, "claimcheck-kombu")
        self._opened: deque[Received] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        loop.add_reader(self._bell.fileno(), self._deliver)

    def open(self, message: Received) -> None:
        """Have a message opened, and then delivered."""
        message.channel.opening += 1
        try:
            self._pool.submit(partial(self._open, message))
        except RuntimeError:  # the machine has no more threads
            self._open(message)

    def close(self) -> None:
        """Give back the messages that were not delivered."""
        with self._lock:
            self._closed = True
        self._pool.close(wait=False)
        self._loop.remove_reader(self._bell.fileno())
        self._bell.close()
        self._button.close()
        for message in self._opened:
            message.give_back()

    def _open(self, message: Received) -> None:
        if not self._closed:
            message.open()
        with self._lock:
            if not self._closed:
                self._opened.append(message)
                self._ring()
                return
        message.give_back()

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            self._button.send(b"\0")

    def _deliver(self) -> None:
        with suppress(BlockingIOError):
            while self._bell.recv(4096):
                pass
        try:
            while self._opened:
                message = self._opened.popleft()
                message.channel.opening -= 1
                message.deliver()
        finally:
            if self._opened:  # a consumer's error must not stop the others
                self._ring()
