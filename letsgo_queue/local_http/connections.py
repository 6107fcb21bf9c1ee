"""HTTP, for the worker's end of LetsGo's local mode: one request on each connection.

    accept ──> read the head ──> read the body ──> answer 201 ──> take what was posted

A connection has some seconds for its request, and a request some bytes. Once all places are taken,
the oldest connection loses its place to the next. So nobody keeps others out, or fills the memory.
Each answer closes its connection: an idle one would take a place.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeAlias, cast

import h11

from letsgo_queue.log import get_logger

logger = get_logger(__name__)

MAX_CONNECTIONS = 500
"""Connections at once. Others wait in the system's backlog, and a request takes milliseconds. Linux
gives a process 1,024 files, and Windows cannot watch over 512."""

REQUEST_SECONDS = 10.0
"""How long a request may take to arrive."""

CROWDED_SECONDS = 1.0
"""How long a connection keeps its place while another waits for one; and how long a sender that was
refused has to read why, before it has sent everything."""

MAX_HEAD_BYTES = 16_384
BACKLOG = 1_024
_PIECE_BYTES = 65_536
_LOOK_SECONDS = 0.05  # how often it looks whether it should stop
_RETRY_SECONDS = 1.0  # after a connection could not be taken

Take: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        status: The status of the answer.
        message: What was wrong, for the sender.
    """

    status: HTTPStatus
    message: str


class Site(Protocol):
    """Checks and reads the requests that come to an address."""

    def check(self, head: h11.Request) -> Refusal | None:
        """Say whether a request is refused, before its body is read."""
        ...

    def read(self, body: bytes) -> Refusal | Take:
        """Read a body. Return a function that takes its messages, once the sender is answered."""
        ...


class Connections:
    """Listens at an address, and hands each request to a site."""

    def __init__(self, host: str, port: int, site: Site, *, max_body_bytes: int) -> None:
        """Listen; nothing is answered before `serve`.

        Args:
            host: The name or address. A name may have several addresses.
            port: The port; 0 for any free port.
            site: Checks and reads the requests.
            max_body_bytes: Bytes of a body at most.

        Raises:
            OSError: It cannot listen there.
            UnicodeError: The host is no name.
        """
        self._site = site
        self._max_body_bytes = max_body_bytes
        self._open: dict[asyncio.Task[None], float] = {}
        self._listeners: list[socket.socket] = []
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                name = (address[0], port, *address[2:])
                listener = socket.create_server(name, family=family, backlog=BACKLOG)
                self._listeners.append(listener)
                listener.setblocking(False)
                port = listener.getsockname()[1]
        except OSError:
            self.close()
            raise
        self.addresses: Sequence[tuple[str, int]] = [
            each.getsockname()[:2] for each in self._listeners
        ]

    def close(self) -> None:
        """Stop listening."""
        for each in self._listeners:
            each.close()

    def serve(self, stopping: threading.Event) -> None:
        """Answer requests until told to stop. Then go on for a moment with those that arrive."""
        # Only this kind of loop says, on every system, that a listener has a connection.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve(stopping))

    async def _serve(self, stopping: threading.Event) -> None:
        accepting = [asyncio.create_task(self._accept(each)) for each in self._listeners]
        while not stopping.is_set():
            ended, _ = await asyncio.wait(
                accepting, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for each in ended:
                each.result()
        for each in accepting:
            each.cancel()
        await asyncio.wait(accepting)
        self.close()
        if self._open:
            await asyncio.wait(self._open, timeout=CROWDED_SECONDS)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            while len(self._open) >= MAX_CONNECTIONS:
                await self._make_room(listener)
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                await _readable(listener)
            except ConnectionError:
                continue  # it has gone already
            except OSError as error:  # this process may open no more files
                if self._open:
                    await self._make_room(listener)
                else:
                    logger.warning("a connection cannot be taken: %s", error)
                    await asyncio.sleep(_RETRY_SECONDS)
            else:
                conversation = asyncio.create_task(self._converse(connection))
                self._open[conversation] = asyncio.get_running_loop().time()
                conversation.add_done_callback(self._open.pop)

    async def _make_room(self, listener: socket.socket) -> None:
        """Wait for another connection. Then wait for the oldest, and cancel it after its time."""
        await _readable(listener)
        if not self._open:
            return
        oldest, since = next(iter(self._open.items()))
        left = since + CROWDED_SECONDS - asyncio.get_running_loop().time()
        ended, _ = await asyncio.wait([oldest], timeout=max(0.0, left))
        if not ended:
            oldest.cancel()
            await asyncio.wait([oldest])

    async def _converse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # it has gone, and nobody is there to tell
            connection.setblocking(False)
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    read = await self._read(connection)
            except TimeoutError:
                late = f"The request took over {REQUEST_SECONDS:.0f} seconds to arrive."
                read = Refusal(HTTPStatus.REQUEST_TIMEOUT, late)
            except h11.RemoteProtocolError as error:
                read = Refusal(HTTPStatus(error.error_status_hint), f"This is not HTTP: {error}.")
            if isinstance(read, Refusal):
                await _refuse(connection, read)
            else:
                # The answer goes first: it must not wait for a handler, which may end this process.
                # A sender that has gone may have got its answer, so its messages are taken as well.
                try:
                    await _answer(connection, HTTPStatus.CREATED)
                finally:
                    read()

    async def _read(self, connection: socket.socket) -> Refusal | Take:
        """Read the request on a connection."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        head = cast("h11.Request", await _next_event(http, connection))  # always the first event
        if refusal := self._site.check(head):
            return refusal
        if _length(head) > self._max_body_bytes:
            return self._too_large()
        if http.they_are_waiting_for_100_continue:
            await _send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        while isinstance(event := await _next_event(http, connection), h11.Data):
            if len(body) + len(event.data) > self._max_body_bytes:
                return self._too_large()
            body += event.data
        return self._site.read(bytes(body))

    def _too_large(self) -> Refusal:
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body has over {self._max_body_bytes:,} bytes. Post fewer messages at once.",
        )


async def _readable(listener: socket.socket) -> None:
    """Wait for a connection. `loop.sock_accept` would lose a connection if it is cancelled."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(listener, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(listener)


async def _next_event(http: h11.Connection, connection: socket.socket) -> object:
    loop = asyncio.get_running_loop()
    while (event := http.next_event()) is h11.NEED_DATA:
        if not (piece := await loop.sock_recv(connection, _PIECE_BYTES)):
            raise ConnectionAbortedError
        http.receive_data(piece)
    return event


def _length(head: h11.Request) -> int:
    """The length that a head says; h11 has checked that it is a number."""
    return next((int(value) for name, value in head.headers if name == b"content-length"), 0)


async def _refuse(connection: socket.socket, refusal: Refusal) -> None:
    """Answer, and read on for a moment: after a close at once the sender might miss the answer."""
    logger.warning("a request is refused with %d: %s", refusal.status, refusal.message)
    answer = {"statusCode": refusal.status.value, "message": refusal.message}
    await _answer(connection, refusal.status, json.dumps(answer).encode())
    connection.shutdown(socket.SHUT_WR)
    with suppress(TimeoutError):
        async with asyncio.timeout(CROWDED_SECONDS):
            while await asyncio.get_running_loop().sock_recv(connection, _PIECE_BYTES):
                pass


async def _answer(connection: socket.socket, status: HTTPStatus, body: bytes = b"") -> None:
    head = [f"HTTP/1.1 {status.value} {status.phrase}", "Connection: close"]
    head += [f"Content-Length: {len(body)}", "Content-Type: application/json"][: 2 if body else 1]
    await _send(connection, "\r\n".join([*head, "\r\n"]).encode() + body)


async def _send(connection: socket.socket, what: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, what)
