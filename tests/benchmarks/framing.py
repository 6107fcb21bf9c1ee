"""The part of HTTP/1.1 that a proxy needs: where a message ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cached_property

BLANK_LINE = b"\r\n\r\n"

_NO_BODY = {"204", "304"}


@dataclass(frozen=True)
class Head:
    """The first line and the headers of a request or an answer, unchanged.

    Attributes:
        raw: All bytes, with the blank line at the end.
    """

    raw: bytes

    @cached_property
    def _lines(self) -> list[str]:
        return self.raw[: -len(BLANK_LINE)].decode("latin-1").split("\r\n")

    @property
    def first_line(self) -> list[str]:
        """Method, target and version of a request; version, status and reason of an answer."""
        return self._lines[0].split(" ", 2)

    @cached_property
    def _headers(self) -> dict[str, str]:
        pairs = (line.partition(":") for line in self._lines[1:])
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def get(self, name: str) -> str:
        """The value of a header, by its name in lower case; empty if there is none."""
        return self._headers.get(name, "")

    def without(self, name: str) -> bytes:
        """The head, but without one of its headers."""
        kept = [line for line in self._lines if line.partition(":")[0].strip().lower() != name]
        return "\r\n".join(kept).encode("latin-1") + BLANK_LINE


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head; None at the end of the connection."""
    try:
        return Head(await reader.readuntil(BLANK_LINE))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def read_body(reader: asyncio.StreamReader, head: Head, *, may_have: bool = True) -> bytes:
    """The body that follows a head, as it is on the wire: chunks keep their framing.

    Args:
        reader: Where it comes from.
        head: The head before it.
        may_have: False for the answer to a HEAD request, which has no body whatever its head says.
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
