"""Zstandard, and the limits that keep a hostile frame from costing memory.

A frame is inflated only if its header states the size that was promised, so the memory it takes is
known before any is spent. What it inflates to is checked by zstd's own checksum.

A frame is made in the parts that a store keeps: no second copy of a large body is made.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def decode(encoding: Encoding, data: bytes, size: int) -> bytes:
    """Undo `encode`.

    Args:
        encoding: How `data` is encoded.
        data: The encoded bytes.
        size: Bytes that the result must have.

    Raises:
        ClaimCorrupted: The data does not hold exactly `size` bytes, or is damaged.
    """
    if encoding == "identity":
        if len(data) != size:
            raise ClaimCorrupted(f"{len(data):,} bytes are there, {size:,} were sealed")
        return data
    try:
        stated = zstandard.get_frame_parameters(data).content_size
        if stated != size:
            raise ClaimCorrupted(
                f"the zstd frame does not state the {size:,} bytes that were sealed"
            )
        return zstandard.ZstdDecompressor().decompress(
            data, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ClaimCorrupted(f"the zstd frame is damaged ({error})") from None
