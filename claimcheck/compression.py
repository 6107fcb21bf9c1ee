"""Zstandard, and the limits that keep a hostile frame from costing memory.

A frame is inflated only if its header states the size that was promised, so the memory it takes is
known before any is spent. What it inflates to is checked by zstd's own checksum.

A frame is made in the parts that a store keeps, and a text from small pieces of it: no second copy
of a large body is made.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

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


def decode(encoding: Encoding, data: bytes, size: int) -> str:
    """Undo `encode`, and decode the text.

    Args:
        encoding: How `data` is encoded.
        data: The encoded bytes.
        size: Bytes that the text must have.

    Raises:
        ClaimCorrupted: The data does not hold exactly `size` bytes, or is damaged.
        UnicodeDecodeError: It is no text.
    """
    if encoding == "identity":
        if len(data) != size:
            raise ClaimCorrupted(f"{len(data):,} bytes are there, {size:,} were sealed")
        return data.decode()
    # Decoded at once, it would be there twice more: as bytes, and as text of a narrower kind.
    decode_piece = codecs.getincrementaldecoder("utf-8")().decode
    text = [decode_piece(piece) for piece in _inflate(data, size)]
    text.append(decode_piece(b"", final=True))
    return "".join(text)


def _inflate(frame: bytes, size: int) -> Iterator[bytes]:
    """Inflate a frame in pieces, none of which goes beyond `size`."""
    try:
        if zstandard.get_frame_parameters(frame).content_size != size:
            raise ClaimCorrupted(
                f"the zstd frame does not state the {size:,} bytes that were sealed"
            )
        if _end_of(frame) != len(frame):
            raise ClaimCorrupted("the zstd frame is cut short, or something follows it")
        left = size
        with zstandard.ZstdDecompressor().stream_reader(frame) as reader:
            while piece := reader.read(_PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
    except zstandard.ZstdError as error:
        raise ClaimCorrupted(f"the zstd frame is damaged ({error})") from None
    if left:
        raise ClaimCorrupted("the zstd frame does not hold the bytes that it states")


def _end_of(frame: bytes) -> int:
    """Where a frame ends, by its own account: zstandard reads on, and stops short, without a word.

    https://datatracker.ietf.org/doc/html/rfc8878#name-blocks
    """
    at = zstandard.frame_header_size(frame)
    last = 0
    while not last and at < len(frame):
        header = int.from_bytes(frame[at : at + _BLOCK_HEADER_BYTES], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += _BLOCK_HEADER_BYTES + (1 if kind == _RUN_LENGTH_BLOCK else size)
    return at + _CHECKSUM_BYTES * zstandard.get_frame_parameters(frame).has_checksum
