"""Zstandard, and the limits that keep a hostile frame from costing memory.

A frame is inflated only if its header states the size that was promised, so the memory it takes is
known before any is spent. Zstd's own checksum covers the result.

A frame is made in the parts that a store keeps. A large one is inflated from them in small pieces,
so that no second copy of the body is made; a small one in a single call, which takes half the time.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import zstandard

from claimcheck.errors import ClaimCorrupted

Encoding: TypeAlias = Literal["zstd", "identity"]
"""How a body is kept: compressed, or as it is where compressing does not pay."""

Parts: TypeAlias = list[bytes | memoryview]
"""Encoded bytes, in the pieces that a store keeps. Readers take out a piece when they are done."""

LEVEL = 3
"""zstd's own default: about 2 ms for 1 MB of JSON. Level 1 saves a sixth of that, and costs a tenth
more bytes, which take longer to travel."""

HARD_LEVEL = 9
"""About 10 ms for 1 MB of JSON, for a fifth fewer bytes."""

HARD_REACH = 1.2
"""How far over its aim a body may be for `HARD_LEVEL` to be worth a try."""

BILLED_LEVEL = 6
"""About 7 ms for 1 MB of JSON, for a sixth fewer bytes. Higher levels have tables of 10 MB."""

BILLED_RATIO = 0.5
"""The ratio at `LEVEL` below which `BILLED_LEVEL` gains much. Random bytes as base64 have 0.75."""

_PROBE_BYTES = 256 * 1024
"""Bytes at the beginning of a body that are compressed to estimate the rest."""

_FAR = 2
"""If the estimate is over so many times the aim, `LEVEL` is not tried first. Not 1, as the
beginning may mislead."""

_TEXT_BYTES = 4_096
"""Bytes decoded at once: few, since one wide character makes all of a piece wide."""

_INPUT_BYTES = 512
"""Bytes inflated at once. A hostile block of 4 bytes inflates to 128 KB, so this bounds how far a
frame gets beyond its size before it is stopped: 16 MB."""

_WRITE_BYTES = 16_384

_SMALL_BYTES = 4 * 1024 * 1024
"""Bytes of a body up to which its frame is inflated in one call, at the price of a copy or two."""

_LONGEST_FRAME_HEADER = 18


def encode(
    body: bytes, *, part_bytes: int, aim: int = 0, each_byte_counts: bool = False
) -> tuple[Encoding, Parts]:
    """Compress `body`, or leave it as it is if that gains nothing.

    Args:
        body: The bytes to compress.
        part_bytes: Bytes of each part but the last.
        aim: Bytes that the result should not exceed. If it is a little over, it is compressed
            harder.
        each_byte_counts: Whether to compress harder also if it is far over and that gains much.
            DynamoDB bills each KB, at hundreds of times what the CPU time costs.

    Returns:
        How it is encoded, and the encoded bytes in parts.
    """
    if each_byte_counts and _is_far_over(body, aim):
        parts = _compress(body, BILLED_LEVEL, part_bytes)
    else:
        parts = _compress(body, LEVEL, part_bytes)
        size = size_of(parts)
        is_near = size <= aim * HARD_REACH
        if size > aim and (is_near or (each_byte_counts and size < len(body) * BILLED_RATIO)):
            # Data that hardly compresses may get a little larger at the higher level.
            parts = min(parts, _compress(body, HARD_LEVEL, part_bytes), key=size_of)
    if size_of(parts) < len(body):
        return "zstd", parts
    view = memoryview(body)
    return "identity", [view[at : at + part_bytes] for at in range(0, len(body), part_bytes)]


def recut(parts: Parts, part_bytes: int | None, *, was: int | None) -> Parts:
    """Cut parts again, for a store with parts of another size.

    Args:
        parts: The parts.
        part_bytes: Bytes of each part but the last; None if any will do.
        was: Bytes that they have now; None if they are pieces for a store that takes any.
    """
    if part_bytes is None or part_bytes == was:
        return parts
    view = memoryview(b"".join(parts))
    return [view[at : at + part_bytes] for at in range(0, len(view), part_bytes)]


def size_of(parts: Sequence[bytes | memoryview]) -> int:
    """Bytes of all parts."""
    return sum(map(len, parts))


def _is_far_over(body: bytes, aim: int) -> bool:
    """Whether a body, by its beginning, compresses well and is still far over its aim."""
    if len(body) <= aim:
        return False
    probe = body[:_PROBE_BYTES]
    ratio = len(zstandard.ZstdCompressor(level=LEVEL).compress(probe)) / len(probe)
    return ratio < BILLED_RATIO and ratio * len(body) > aim * _FAR


def _compress(body: bytes, level: int, part_bytes: int) -> Parts:
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    # In one call, zstandard would first allocate as much memory as the body takes.
    chunker = compressor.chunker(size=len(body), chunk_size=part_bytes)
    parts: Parts = list(chunker.compress(body))
    parts.extend(chunker.finish())  # type: ignore[no-untyped-call]  # the stub forgot its types
    return parts


def decode(encoding: Encoding, parts: Parts, size: int) -> str:
    """Undo `encode`, and decode the text.

    Args:
        encoding: How the parts are encoded.
        parts: The encoded bytes. Taken out of the list one by one, so that each may be freed as
            soon as it is read.
        size: Bytes that the text must have.

    Raises:
        ClaimCorrupted: The parts do not hold exactly `size` bytes, or are damaged.
        UnicodeDecodeError: The bytes are no text.
    """
    if encoding == "zstd" and size <= _SMALL_BYTES:
        return _inflate_whole(parts, size).decode()
    pieces = _inflate(parts, size) if encoding == "zstd" else _as_they_are(parts, size)
    # Decoded at once, it would be there twice more: as bytes, and as text of a narrower kind.
    decode_piece = codecs.getincrementaldecoder("utf-8")().decode
    text = [decode_piece(piece) for piece in pieces]
    text.append(decode_piece(b"", final=True))
    return "".join(text)


def _as_they_are(parts: Parts, size: int) -> Iterator[memoryview]:
    if size_of(parts) != size:
        raise ClaimCorrupted(f"{size_of(parts):,} bytes are there, {size:,} were sealed")
    yield from _pieces(parts, _TEXT_BYTES)


def _inflate_whole(parts: Parts, size: int) -> bytes:
    """Inflate one frame that states `size`: in one call zstandard writes no more than that."""
    try:
        _check_stated(parts, size)
        data = b"".join(parts)
        parts.clear()
        inflated = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ClaimCorrupted(f"the zstd frame is damaged ({error})") from None
    if len(inflated) != size:
        raise ClaimCorrupted("the zstd frame does not hold the bytes that it states")
    return inflated


def _check_stated(parts: Parts, size: int) -> None:
    # `frame_content_size` reads the header only.
    if zstandard.frame_content_size(b"".join(_first_bytes(parts))) != size:
        raise ClaimCorrupted(f"the zstd frame does not state the {size:,} bytes that were sealed")


def _inflate(parts: Parts, size: int) -> Iterator[memoryview]:
    """Inflate one frame that states `size`, and that ends with the last part."""
    left = size
    frame = zstandard.ZstdDecompressor().decompressobj(write_size=_WRITE_BYTES)
    try:
        _check_stated(parts, size)
        for piece in _pieces(parts, _INPUT_BYTES):
            if frame.eof:
                raise ClaimCorrupted("something follows the zstd frame")
            inflated = frame.decompress(piece)
            if inflated:  # most pieces are the inside of a block, and give nothing
                left -= len(inflated)
                if left < 0:
                    break
                yield from _slices(inflated, _TEXT_BYTES)
    except zstandard.ZstdError as error:
        raise ClaimCorrupted(f"the zstd frame is damaged ({error})") from None
    if left:
        raise ClaimCorrupted("the zstd frame does not hold the bytes that it states")
    if not frame.eof:
        raise ClaimCorrupted("the zstd frame is cut short")
    if frame.unused_data:
        raise ClaimCorrupted("something follows the zstd frame")


def _first_bytes(parts: Parts) -> Iterator[bytes | memoryview]:
    """Enough for the header of a frame, which parts that are too small may share."""
    wanted = _LONGEST_FRAME_HEADER
    for part in parts:
        yield part[:wanted]
        wanted -= len(part)
        if wanted <= 0:
            return


def _pieces(parts: Parts, size: int) -> Iterator[memoryview]:
    """Small pieces of the parts. A part leaves the list when its turn comes."""
    while parts:
        yield from _slices(parts.pop(0), size)


def _slices(data: bytes | memoryview, size: int) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), size):
        yield view[start : start + size]
