"""Zstandard, and the limits that keep a hostile frame from costing memory.

A frame is inflated only if its header states the size that was promised, so the memory it takes is
known before any is spent. What it inflates to is checked by zstd's own checksum.

A frame is made in the parts that a store keeps, and inflated from them, and a text is made of small
pieces: no second copy of a large body is made.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import IO, Literal, TypeAlias, cast

import zstandard

from claimcheck.errors import ClaimCorrupted

Encoding: TypeAlias = Literal["zstd", "identity"]
"""How a body is kept: compressed, or as it is where compressing does not pay."""

LEVEL = 3
"""zstd's own default: about 2 ms for 1 MB of JSON. Level 1 saves a sixth of that, and costs a tenth
more bytes, which take longer to travel."""

HARD_LEVEL = 9
"""About 10 ms for 1 MB of JSON, for a fifth fewer bytes."""

HARD_REACH = 1.2
"""How far over its aim a body may be for `HARD_LEVEL` to be worth a try."""

_PIECE_BYTES = 4_096
"""Small, since one wide character makes all of a piece wide."""

_LONGEST_FRAME_HEADER = 18
_BLOCK_HEADER_BYTES = 3
_RUN_LENGTH_BLOCK = 1
_CHECKSUM_BYTES = 4


def encode(
    body: bytes, *, part_bytes: int, aim: int = 0
) -> tuple[Encoding, Sequence[bytes | memoryview]]:
    """Compress `body`, or leave it where that gains nothing.

    Args:
        body: What to compress.
        part_bytes: Bytes of each part but the last.
        aim: Bytes that it should not exceed: one that does by little is compressed harder.

    Returns:
        How it is encoded, and the encoded bytes in parts.
    """
    parts = _compress(body, LEVEL, part_bytes)
    if aim < size_of(parts) <= aim * HARD_REACH:
        # Of what hardly compresses, the higher level may make a little more.
        parts = min(parts, _compress(body, HARD_LEVEL, part_bytes), key=size_of)
    if size_of(parts) < len(body):
        return "zstd", parts
    view = memoryview(body)
    return "identity", [view[at : at + part_bytes] for at in range(0, len(body), part_bytes)]


def size_of(parts: Sequence[bytes | memoryview]) -> int:
    """Bytes of all parts."""
    return sum(map(len, parts))


def _compress(body: bytes, level: int, part_bytes: int) -> Sequence[bytes]:
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    # In one call, zstandard would first allocate as much as the body has.
    chunker = compressor.chunker(size=len(body), chunk_size=part_bytes)
    parts = list(chunker.compress(body))
    parts.extend(chunker.finish())  # type: ignore[no-untyped-call]  # the stub forgot its types
    return parts


def decode(encoding: Encoding, parts: list[bytes], size: int) -> str:
    """Undo `encode`, and decode the text.

    Args:
        encoding: How the parts are encoded.
        parts: The encoded bytes. Taken out of the list one by one, so that each may be freed as
            soon as it is read.
        size: Bytes that the text must have.

    Raises:
        ClaimCorrupted: The parts do not hold exactly `size` bytes, or are damaged.
        UnicodeDecodeError: It is no text.
    """
    pieces = _inflate(parts, size) if encoding == "zstd" else _as_they_are(parts, size)
    # Decoded at once, it would be there twice more: as bytes, and as text of a narrower kind.
    decode_piece = codecs.getincrementaldecoder("utf-8")().decode
    text = [decode_piece(piece) for piece in pieces]
    text.append(decode_piece(b"", final=True))
    return "".join(text)


class _Source:
    """Parts as one file to read from; each is taken out of its list when its turn comes."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts
        self._part = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Up to so many of the next bytes; none at the end."""
        while self._at == len(self._part) and self._parts:
            self._part, self._at = self._parts.pop(0), 0
        found = self._part[self._at : self._at + size]
        self._at += len(found)
        return found


def _as_they_are(parts: list[bytes], size: int) -> Iterator[bytes]:
    if size_of(parts) != size:
        raise ClaimCorrupted(f"{size_of(parts):,} bytes are there, {size:,} were sealed")
    source = _Source(parts)
    while piece := source.read(_PIECE_BYTES):
        yield piece


def _inflate(parts: list[bytes], size: int) -> Iterator[bytes]:
    """Inflate a frame in pieces, none of which goes beyond `size`."""
    try:
        header = _bytes_at(parts, 0, 0, _LONGEST_FRAME_HEADER)
        if zstandard.get_frame_parameters(header).content_size != size:
            raise ClaimCorrupted(
                f"the zstd frame does not state the {size:,} bytes that were sealed"
            )
        if _end_of(parts, header) != size_of(parts):
            raise ClaimCorrupted("the zstd frame is cut short, or something follows it")
        left = size
        # It asks of a file no more than `read`.
        source = cast("IO[bytes]", _Source(parts))
        with zstandard.ZstdDecompressor().stream_reader(source) as reader:
            while piece := reader.read(_PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
    except zstandard.ZstdError as error:
        raise ClaimCorrupted(f"the zstd frame is damaged ({error})") from None
    if left:
        raise ClaimCorrupted("the zstd frame does not hold the bytes that it states")


def _end_of(parts: Sequence[bytes], header: bytes) -> int:
    """Where a frame ends, by its own account: zstandard reads on, and stops short, without a word.

    https://datatracker.ietf.org/doc/html/rfc8878#name-blocks
    """
    at = zstandard.frame_header_size(header)
    last, length = 0, size_of(parts)
    number, begins = 0, 0  # the part in which `at` is
    while not last and at < length:
        while at >= begins + len(parts[number]):
            begins += len(parts[number])
            number += 1
        header_bytes = _bytes_at(parts, number, at - begins, _BLOCK_HEADER_BYTES)
        block = int.from_bytes(header_bytes, "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += _BLOCK_HEADER_BYTES + (1 if kind == _RUN_LENGTH_BLOCK else size)
    return at + _CHECKSUM_BYTES * zstandard.get_frame_parameters(header).has_checksum


def _bytes_at(parts: Sequence[bytes], number: int, at: int, count: int) -> bytes:
    """`count` bytes from there in that part on, or as many as there are."""
    found = b""
    while len(found) < count and number < len(parts):
        found += parts[number][at : at + count - len(found)]
        number, at = number + 1, 0
    return found
