from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from claimcheck import ClaimCorrupted
from claimcheck.core import compression
from claimcheck.core.claim_check import DEFAULT_MAX_SIZE
from claimcheck.core.compression import (
    BILLED_LEVEL,
    LEVEL,
    Encoding,
    Parts,
    decode,
    encode,
    size_of,
)
from claimcheck.stores.base import PART_BYTES
from tests.claimcheck.support import noise

TEXT = b"an order, and another order, and another order. " * 100
RECORDS = json.dumps(
    [{"id": n, "at": n * 37 % 1009, "what": f"order {n * n % 4099}"} for n in range(5_000)]
).encode()
FRAME = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)


@pytest.fixture(autouse=True, params=["small bodies", "large bodies"], scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Inflate the bodies of these tests as small ones, and as large ones."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "large bodies":
            patch.setattr(compression, "_SMALL_BYTES", 0)
        yield


def frame(data: bytes, *, level: int = LEVEL, write_content_size: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(
        level=level, write_content_size=write_content_size, write_checksum=True
    )
    return compressor.compress(data)


def claiming(size: int) -> bytes:
    """A frame that inflates to 4,000,000 bytes and states another size."""
    real = 4_000_000
    honest = frame(b"\0" * real)
    assert honest.count(struct.pack("<I", real)) == 1
    return honest.replace(struct.pack("<I", real), struct.pack("<I", size))


def cut(data: bytes, part_bytes: int) -> Parts:
    return [data[at : at + part_bytes] for at in range(0, len(data), part_bytes)]


def test_text_gets_smaller() -> None:
    encoding, parts = encode(TEXT, part_bytes=100)
    data = b"".join(parts)

    assert encoding == "zstd"
    assert len(data) < len(TEXT) / 10
    assert decode(encoding, [data], len(TEXT)).encode() == TEXT


@pytest.mark.parametrize("body", [b"x", b"short", b"\xf0\x9f\x90\x98"])
def test_what_does_not_get_smaller_stays_as_it_is(body: bytes) -> None:
    assert encode(body, part_bytes=100) == ("identity", [body])
    assert decode("identity", [body], len(body)).encode() == body


def test_every_part_but_the_last_is_full() -> None:
    body = noise(50_000).encode()

    _, parts = encode(body, part_bytes=1_000)

    assert {len(part) for part in parts[:-1]} == {1_000}
    assert decode("zstd", [*map(bytes, parts)], len(body)).encode() == body


def test_plain_bytes_come_in_parts_too() -> None:
    assert encode(b"0123456789", part_bytes=4) == ("identity", [b"0123", b"4567", b"89"])


@pytest.mark.parametrize(
    ("reach", "harder"), [(0, False), (0.5, False), (0.9, True), (0.99, True), (1, False)]
)
def test_compresses_harder_where_little_is_missing(reach: float, *, harder: bool) -> None:
    usual = size_of(encode(RECORDS, part_bytes=PART_BYTES)[1])

    _, parts = encode(RECORDS, part_bytes=PART_BYTES, aim=int(usual * reach))

    assert (size_of(parts) < usual) is harder
    assert decode("zstd", [*map(bytes, parts)], len(RECORDS)).encode() == RECORDS


def test_compresses_harder_where_each_byte_counts_if_that_gains_much() -> None:
    harder = frame(RECORDS, level=BILLED_LEVEL)
    random_text = noise(50_000).encode()

    _, parts = encode(RECORDS, part_bytes=PART_BYTES, each_byte_counts=True)
    _, noisy = encode(random_text, part_bytes=PART_BYTES, each_byte_counts=True)

    assert size_of(parts) == len(harder) < 0.95 * size_of(encode(RECORDS, part_bytes=PART_BYTES)[1])
    assert noisy == encode(random_text, part_bytes=PART_BYTES)[1]
    assert decode("zstd", [*map(bytes, parts)], len(RECORDS)).encode() == RECORDS


def test_every_frame_states_its_size_and_has_a_checksum() -> None:
    parameters = zstandard.get_frame_parameters(b"".join(encode(TEXT, part_bytes=100)[1]))

    assert parameters.content_size == len(TEXT)
    assert parameters.has_checksum


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(b"", 5, id="nothing"),
        pytest.param(b"no frame", 5, id="no frame"),
        pytest.param(FRAME[:3], len(TEXT), id="half a header"),
        pytest.param(FRAME[:-1], len(TEXT), id="truncated"),
        pytest.param(FRAME[:-1] + bytes([FRAME[-1] ^ 1]), len(TEXT), id="checksum"),
        pytest.param(FRAME, len(TEXT) - 1, id="larger than promised"),
        pytest.param(FRAME, len(TEXT) + 1, id="smaller than promised"),
        pytest.param(frame(TEXT, write_content_size=False), len(TEXT), id="no size in the frame"),
        pytest.param(FRAME + FRAME, len(TEXT), id="second frame"),
        pytest.param(FRAME + b"x", len(TEXT), id="trailing byte"),
        pytest.param(b"\x50\x2a\x4d\x18\x04\0\0\0skip" + FRAME, len(TEXT), id="skippable frame"),
        pytest.param(FRAME + frame(b""), len(TEXT), id="second frame, empty"),
        pytest.param(FRAME + b"\x50\x2a\x4d\x18\0\0\0\0", len(TEXT), id="skippable frame after"),
        pytest.param(frame(b""), 1, id="empty frame"),
        pytest.param(claiming(3_999_999), 3_999_999, id="inflates past what it states"),
        pytest.param(claiming(4_000_001), 4_000_001, id="states more than it inflates to"),
        pytest.param(claiming(300_000), 4_000_000, id="states less than promised"),
    ],
)
def test_refuses_a_frame_that_is_not_what_was_sealed(data: bytes, size: int) -> None:
    with pytest.raises(ClaimCorrupted, match="frame"):
        decode("zstd", [data], size)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 1_000_000, id="runs"),
        pytest.param(noise(500_000), id="noise"),
        pytest.param("é€𐐷" * 60_000, id="wide characters at every border"),
        pytest.param("x" * 200_000 + noise(200_000) + "€" * 100_000, id="blocks of every kind"),
    ],
)
@pytest.mark.parametrize("level", [-5, 3, 19])
def test_inflates_what_another_zstd_compressed(text: str, level: int) -> None:
    body = text.encode()

    data = zstandard.ZstdCompressor(level=level).compress(body)

    assert decode("zstd", [data], len(body)) == text
    for damaged in (data[:-1], data + b"x", data + data, data[:-1] + b"x"):
        with suppress(ClaimCorrupted):
            # Without a checksum, another last byte may make another text.
            assert len(decode("zstd", [damaged], len(body)).encode()) == len(body)
            assert len(damaged) == len(data)


@pytest.mark.parametrize("part_bytes", [1, 2, 3, 17, 1_000, 131_072])
@pytest.mark.parametrize("encoding", ["zstd", "identity"])
def test_wherever_it_is_cut_it_is_the_same(encoding: Encoding, part_bytes: int) -> None:
    long = "x" * 200_000 if encoding == "zstd" else ""  # so that there are several blocks
    text = long + noise(2_000) + "é€𐐷" * 1_000
    body = text.encode()
    data = frame(body) if encoding == "zstd" else body
    parts = cut(data, part_bytes)

    assert decode(encoding, parts, len(body)) == text

    assert parts == [], "the parts are still there"
    for damaged in (data[:-1], data + b"x"):
        with pytest.raises(ClaimCorrupted):
            decode(encoding, cut(damaged, part_bytes), len(body))


@pytest.mark.parametrize("encoding", ["zstd", "identity"])
def test_empty_parts_make_no_difference(encoding: Encoding) -> None:
    body = noise(2_000).encode()
    data = frame(body) if encoding == "zstd" else body

    parts: Parts = [b"", data[:24], b"", b"", data[24:], b""]

    assert decode(encoding, parts, len(body)).encode() == body


@given(st.data())
def test_a_damaged_frame_gives_no_other_text(data: st.DataObject) -> None:
    frame = encode(RECORDS[:60_000], part_bytes=PART_BYTES)[1][0]
    at = data.draw(st.integers(0, len(frame) - 1))
    middle = data.draw(st.binary(max_size=2))
    damaged = bytes(frame[:at]) + middle + bytes(frame[at + data.draw(st.integers(0, 2)) :])

    with suppress(ClaimCorrupted):
        assert decode("zstd", [damaged], 60_000).encode() == RECORDS[:60_000]


def test_refuses_text_that_ends_within_a_character() -> None:
    body = b"x" * 100_000 + b"\xe2\x82"

    with pytest.raises(UnicodeDecodeError):
        decode("zstd", [frame(body)], len(body))


def test_refuses_a_frame_that_needs_a_dictionary() -> None:
    dictionary = zstandard.train_dictionary(
        2_000, [f"order {n}: {noise(200, n)}".encode() for n in range(200)]
    )
    data = zstandard.ZstdCompressor(dict_data=dictionary).compress(TEXT)

    with pytest.raises(ClaimCorrupted, match="frame is damaged"):
        decode("zstd", [data], len(TEXT))


@pytest.mark.parametrize("size", [4, 6])
def test_refuses_plain_bytes_of_another_size(size: int) -> None:
    with pytest.raises(ClaimCorrupted, match=f"5 bytes are there, {size} were sealed"):
        decode("identity", [b"plain"], size)


@pytest.mark.parametrize("stated", [2**31 - 1, 5_000_000, 100])
def test_spends_no_memory_on_a_frame_that_lies(stated: int) -> None:
    bomb = claiming(stated)

    tracemalloc.start()
    try:
        with pytest.raises(ClaimCorrupted):
            decode("zstd", [bomb], 100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_spends_no_more_memory_than_was_promised() -> None:
    endless = frame(b"\0" * DEFAULT_MAX_SIZE * 2, write_content_size=False)
    assert len(endless) < 20_000

    tracemalloc.start()
    try:
        with pytest.raises(ClaimCorrupted):
            decode("zstd", [endless], DEFAULT_MAX_SIZE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < DEFAULT_MAX_SIZE
