"""Zstandard, and the limits that keep a hostile frame from costing memory.

A frame is inflated only if its header states the size that was promised, so the memory it takes is
known before any is spent. What it inflates to is checked by zstd's own checksum.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import zstandard

from claimcheck.errors import ClaimCorrupted

Encoding: TypeAlias = Literal["zstd", "identity"]
"""How a body is kept: compressed, or as it is where compressing does not pay."""

LEVEL = 3
"""zstd's own default: about 4 ms for 1 MB of JSON."""


def encode(body: bytes) -> tuple[Encoding, bytes]:
    """Compress `body`, or leave it where that gains nothing."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    compressed = compressor.compress(body)
    return ("zstd", compressed) if len(compressed) < len(body) else ("identity", body)


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
