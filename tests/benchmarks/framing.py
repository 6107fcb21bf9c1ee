"""HTTP/1.1 as far as a proxy has to understand it: where a message ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cached_property

BLANK_LINE = b"\r\n\r\n"

_NO_BODY = {"204", "304"}


@dataclass(frozen=True)
class Head:
    """The first line and the headers of a request or an answer, as they came.

    Attributes:
        raw: All bytes, up to and with the blank line.
    """

    raw: bytes

    @cached_property
    def _lines(self) -> list[str]:
        return self.raw[: -len(BLANK_LINE)].decode("latin-1").split("\r\n")

    @property
    def first_line(self) -> list[str]:
        """Of a request: method, target, version. Of an answer: version, status, reason."""
        return self._lines[0].split(" ", 2)

    @cached_property
    def _headers(self) -> dict[str, str]:
        pairs = (line.partition(":") for line in self._lines[1:])
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def get(self, name: str) -> str:
        """A header, by its name in lower case; empty if it is not there."""
        return self._headers.get(name, "")

    def without(self, name: str) -> bytes:
        """The head without a header."""
        kept = [line for line in self._lines if line.partition(":")[0].strip().lower() != name]
        return "\r\n".join(kept).encode("latin-1") + BLANK_LINE


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None where the other end is done."""
    try:
        return Head(await reader.readuntil(BLANK_LINE))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def read_body(reader: asyncio.StreamReader, head: Head, *, may_have: bool = True) -> bytes:
    """The body that follows a head, as it is on the wire (chunks keep their framing).

    Args:
        reader: Where it comes from.
        head: What announced it.
        may_have: False for the answer to a HEAD request, which announces what does not come.
    """
    if not may_have or head.first_line[1] in _NO_BODY:
        return b""
    if head.get("transfer-encoding").lower() == "chunked":
        return await _read_chunks(reader)
    return await reader.readexactly(int(head.get("content-length") or 0))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while True:
        size_line = await reader.readuntil(b"\r\n")
        size = int(size_line.partition(b";")[0], 16)
        pieces += [size_line, await reader.readexactly(size + 2)]
        if size == 0:
            return b"".join(pieces)
