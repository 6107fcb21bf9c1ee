"""The proxy in front of the emulator: shapes the network, counts calls and bytes, meters units.

It does not count polls that find nothing: how often a consumer asks an empty queue is not part of
the price of a message.

It is a process of its own, so it takes no CPU time from the client:

    python -m tests.benchmarks.proxy 127.0.0.1:4566 AWS-like

It prints the port of each service as a line of JSON. Each line of its standard input is a command,
and gets a line as its answer; the end of the input ends the proxy. `start` counts from zero, and so
does `meter`, which also reads the bodies: that takes time, so a timed run must not use it. `stop`
answers with the `Traffic`.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from dataclasses import asdict, dataclass
from functools import partial

from tests.benchmarks.billing import Meter
from tests.benchmarks.framing import Head, read_body, read_head
from tests.benchmarks.networks import SERVICES, SHAPES, Link, ServiceName, Shape
from tests.benchmarks.traffic import Traffic
from tests.support.calls import operation_in

CHUNK_BYTES = 128_000
"""A connection sends so many, then the next has its turn: 2 ms at 70 MB/s."""

BUFFER_BYTES = 1_000_000
"""Bytes that are read ahead on a connection."""

MOST_WITHOUT_MESSAGES = 100
"""Only an answer of at most so many bytes may have no messages."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _Request:
    """A request.

    Attributes:
        service: The service that it goes to.
        head: Its head.
        body: Its body.
        began: When its head was there.
    """

    service: ServiceName
    head: Head
    body: bytes
    began: float

    @property
    def method(self) -> str:
        return self.head.first_line[0]

    @property
    def operation(self) -> str:
        """The name that its service has for it."""
        return operation_in(self.method, self.head.first_line[1], self.head.get("x-amz-target"))

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.head.raw) + len(self.body)


class _Upstream:
    """A connection to the emulator. It is opened again after the emulator has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: _Request) -> tuple[Head, bytes]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(*self._address, limit=BUFFER_BYTES)
        reader, writer = self._streams
        writer.write(request.head.without("expect"))
        writer.write(request.body)
        await writer.drain()
        answer = await read_head(reader)
        if answer is None:
            raise ConnectionResetError("the emulator hung up")
        content = await read_body(reader, answer, may_have=request.method != "HEAD")
        if answer.get("connection").lower() == "close":
            self.close()
        return answer, content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class ShapingProxy:
    """Listens on a port for each service: requests do not say which service they are for."""

    def __init__(self, host: str, port: int, shape: Shape) -> None:
        self._server = (host, port)
        self._shape = shape
        self._up = Link(shape.bytes_per_second)
        self._down = Link(shape.bytes_per_second)
        self._meter: Meter | None = None
        self._traffic = Traffic()

    async def listen(self) -> dict[str, int]:
        """Start to listen, and return the port of each service."""
        ports: dict[str, int] = {}
        for service in SERVICES:
            server = await asyncio.start_server(
                partial(self._serve, service),
                "127.0.0.1",
                0,
                limit=BUFFER_BYTES,
            )
            ports[service] = server.sockets[0].getsockname()[1]
        return ports

    def start(self, *, metered: bool) -> None:
        """Count from zero."""
        self._traffic = Traffic()
        self._meter = Meter() if metered else None

    def stop(self) -> Traffic:
        """The traffic since `start`."""
        if self._meter is not None:
            self._traffic.units = self._meter.units
            self._meter = None
        return self._traffic

    async def _serve(
        self, service: ServiceName, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream = _Upstream(*self._server)
        try:
            while (head := await read_head(reader)) is not None:
                began = _now()
                if head.get("expect"):
                    writer.write(_CONTINUE)
                request = _Request(service, head, await read_body(reader, head), began)
                await self._exchange(request, upstream, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, the emulator or the measuring process has gone
        finally:
            upstream.close()
            writer.close()

    async def _exchange(
        self, request: _Request, upstream: _Upstream, writer: asyncio.StreamWriter
    ) -> None:
        arrived = max(self._up.carry(request.size, request.began), _now())
        answer, content = await upstream.ask(request)
        answered = _now()
        larger = max(len(request.body), len(content))
        due = arrived + self._shape.latency(request.service, larger)
        if not _found_nothing(request, content):
            self._count(request, len(answer.raw), content, late=max(0.0, answered - due))
        await _sleep_until(due)
        await self._send(writer, answer.raw + content)

    def _count(self, request: _Request, head_size: int, content: bytes, *, late: float) -> None:
        traffic = self._traffic
        call = f"{request.service} {request.operation}"
        traffic.calls[call] = traffic.calls.get(call, 0) + 1
        traffic.sent += request.size
        traffic.received += head_size + len(content)
        traffic.late_calls += late > 0
        traffic.late_seconds += late
        if self._meter is not None:
            self._meter.add(request.service, request.operation, request.body, content)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), CHUNK_BYTES):
            chunk = view[start : start + CHUNK_BYTES]
            await _sleep_until(self._down.carry(len(chunk), _now()))
            writer.write(chunk)
        await writer.drain()


def _found_nothing(request: _Request, content: bytes) -> bool:
    """Whether it is a poll of an empty queue."""
    if request.operation != "ReceiveMessage" or len(content) > MOST_WITHOUT_MESSAGES:
        return False
    return not json.loads(content).get("Messages")


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _sleep_until(when: float) -> None:
    wait = when - _now()
    if wait > 0:
        await asyncio.sleep(wait)


async def _main(address: str, shape: Shape) -> None:
    host, _, port = address.partition(":")
    proxy = ShapingProxy(host, int(port), shape)
    print(json.dumps(await proxy.listen()), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while command := (await commands.readline()).decode().strip():
        match command:
            case "start" | "meter":
                proxy.start(metered=command == "meter")
                print("{}", flush=True)
            case "stop":
                print(json.dumps(asdict(proxy.stop())), flush=True)
            case _:
                raise ValueError(f"{command!r} is no command")


def _precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes in time: epoll, asyncio's default, sleeps whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        runner.run(_main(sys.argv[1], SHAPES[sys.argv[2]]))
