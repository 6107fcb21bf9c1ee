"""The proxy before the emulator: shapes the network, counts calls and bytes, and meters units.

A process of its own, so that it takes nothing from the client that is measured:

    python -m tests.benchmarks.proxy 127.0.0.1:4566 AWS-like

It prints the port of each service as a line of JSON, takes commands as lines (`start`, `meter` or
`stop`), answers each with one line, and ends with its standard input. `start` and `meter` begin to
count anew; `meter` also reads what the bodies say, which takes time that a measured run must not
pay for. `stop` answers with the traffic since then, as `Traffic` has it.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import sys
from dataclasses import asdict

from tests.benchmarks.billing import Meter
from tests.benchmarks.framing import Head, read_body, read_head
from tests.benchmarks.networks import SERVICES, SHAPES, Shape
from tests.benchmarks.traffic import Traffic

CHUNK_BYTES = 128_000
"""What one connection sends before another has its turn on the link: 2 ms at 70 MB/s."""

BUFFER_BYTES = 1_000_000
"""What is read ahead on one connection."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Link:
    """One direction of the network: carries so many bytes a second, for all connections."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def carry(self, size: int, now: float) -> float:
        """When the last of `size` bytes, handed over now, has arrived."""
        self._free_at = max(now, self._free_at) + size / self._bytes_per_second
        return self._free_at


class _Upstream:
    """A connection to the emulator, made again when the emulator has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, head: bytes, body: bytes, *, method: str) -> tuple[Head, bytes]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(*self._address, limit=BUFFER_BYTES)
        reader, writer = self._streams
        writer.write(head)
        writer.write(body)
        await writer.drain()
        answer = await read_head(reader)
        if answer is None:
            raise ConnectionResetError("the emulator hung up")
        content = await read_body(reader, answer, may_have=method != "HEAD")
        if answer.get("connection").lower() == "close":
            self.close()
        return answer, content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class ShapingProxy:
    """Listens on one port for each service, since all that tells them apart is where they go."""

    def __init__(self, host: str, port: int, shape: Shape) -> None:
        self._server = (host, port)
        self._shape = shape
        self._up = _Link(shape.bytes_per_second)
        self._down = _Link(shape.bytes_per_second)
        self._meter: Meter | None = None
        self._traffic = Traffic()

    async def listen(self) -> dict[str, int]:
        """Start to listen; the port of each service."""
        ports = {}
        for service in SERVICES:
            server = await asyncio.start_server(
                lambda reader, writer, service=service: self._serve(service, reader, writer),
                "127.0.0.1",
                0,
                limit=BUFFER_BYTES,
            )
            ports[service] = server.sockets[0].getsockname()[1]
        return ports

    def start(self, *, metered: bool) -> None:
        """Count anew."""
        self._traffic = Traffic()
        self._meter = Meter() if metered else None

    def stop(self) -> Traffic:
        """What went through since then."""
        if self._meter is not None:
            self._traffic.units = self._meter.units
            self._meter = None
        return self._traffic

    async def _serve(
        self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream = _Upstream(*self._server)
        try:
            while (head := await read_head(reader)) is not None:
                began = asyncio.get_running_loop().time()
                if head.get("expect"):
                    writer.write(_CONTINUE)
                body = await read_body(reader, head)
                await self._exchange(service, head, body, began, upstream, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, the emulator or whoever measures has gone: so do the others
        finally:
            upstream.close()
            writer.close()

    async def _exchange(
        self,
        service: str,
        head: Head,
        body: bytes,
        began: float,
        upstream: _Upstream,
        writer: asyncio.StreamWriter,
    ) -> None:
        clock = asyncio.get_running_loop().time
        arrived = max(self._up.carry(len(head.raw) + len(body), began), clock())
        method = head.first_line[0]
        answer, content = await upstream.ask(head.without("expect"), body, method=method)
        answered = clock()
        due = arrived + self._shape.latency(service, max(len(body), len(content)))
        operation = head.get("x-amz-target").rpartition(".")[2] or method
        traffic = self._traffic
        call = f"{service} {operation}"
        traffic.calls[call] = traffic.calls.get(call, 0) + 1
        traffic.sent += len(head.raw) + len(body)
        traffic.received += len(answer.raw) + len(content)
        if answered > due:
            traffic.late_calls += 1
            traffic.late_seconds += answered - due
        if self._meter is not None:
            self._meter.add(service, operation, body, content)
        await self._send(writer, answer.raw + content, max(due, answered))

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, when: float) -> None:
        clock = asyncio.get_running_loop().time
        await _sleep_until(when)
        view = memoryview(data)
        for start in range(0, len(view), CHUNK_BYTES):
            chunk = view[start : start + CHUNK_BYTES]
            await _sleep_until(self._down.carry(len(chunk), clock()))
            writer.write(chunk)
        await writer.drain()


async def _sleep_until(when: float) -> None:
    wait = when - asyncio.get_running_loop().time()
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
    """One that wakes in time: epoll, asyncio's own choice, sleeps whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_precise_loop) as runner:
        runner.run(_main(sys.argv[1], SHAPES[sys.argv[2]]))
