"""`S3Objects`: how bytes travel to S3 and back."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectionClosedError

from claimcheck.stores.base import ClaimFacts
from claimcheck.stores.pieces_file import PiecesFile
from claimcheck.stores.s3_contents import LARGEST_PUT, S3Contents
from claimcheck.stores.s3_objects import SENT_AT_ONCE_BYTES
from tests.support.servers import AwsServer

CLAIM = "c" * 24


@pytest.fixture
def session(ministack: AwsServer) -> boto3.Session:
    return boto3.Session("test", "test", region_name=ministack.region)


@pytest.fixture
def contents(ministack: AwsServer, session: boto3.Session) -> Iterator[S3Contents]:
    made = S3Contents(
        ministack.make_bucket(),
        store="s3://claims",
        endpoint_url=ministack.endpoint_url,
        session=session,
    )
    with closing(made):
        yield made


def write(contents: S3Contents, data: bytes) -> None:
    facts = ClaimFacts(
        id=CLAIM, type="a:b", parts=1, size=len(data), stored=len(data), created_at=1, expires_at=5
    )
    contents.write(facts, [data])


@pytest.mark.parametrize(
    ("size", "is_asked"), [(SENT_AT_ONCE_BYTES - 1, False), (SENT_AT_ONCE_BYTES, True)]
)
def test_s3_is_asked_whether_it_wants_a_body_only_where_that_is_large(
    contents: S3Contents, session: boto3.Session, size: int, is_asked: bool
) -> None:
    asked: list[bool] = []

    def look(request: Any, **_: object) -> None:
        asked.append("Expect" in request.headers)

    session.events.register("before-send.s3.PutObject", look)

    write(contents, bytes(size))

    assert asked == [is_asked]
    found = contents.read(CLAIM, 1, stored=size).result()
    assert found is not None
    assert b"".join(part or b"" for part in found.parts) == bytes(size)


@pytest.mark.parametrize("size", [1, 200_000, LARGEST_PUT])
def test_contents_in_one_request_come_with_their_sha_256(contents: S3Contents, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    write(contents, data[:size])

    found = contents.read(CLAIM, 1, stored=size).result()

    assert found is not None
    assert found.sha256 == hashlib.sha256(data[:size]).hexdigest()


def test_large_contents_go_in_pieces_and_no_copy_of_them_is_made(contents: S3Contents) -> None:
    data = random.Random(7).randbytes(LARGEST_PUT + 1_000_000)
    views = [memoryview(data)[at : at + 9_999_999] for at in range(0, len(data), 9_999_999)]
    facts = ClaimFacts(
        id=CLAIM, type="a:b", parts=1, size=1, stored=len(data), created_at=1, expires_at=5
    )
    write(contents, b"another")  # which loads modules

    tracemalloc.start()
    try:
        contents.write(facts, views)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    found = contents.read(CLAIM, 1, stored=len(data)).result()
    assert found is not None
    assert b"".join(part or b"" for part in found.parts) == data
    # All pieces are on their way at once, each with a block or two of 1 MB.
    assert peak < LARGEST_PUT / 4


def test_pieces_are_read_as_the_file_that_they_are_together() -> None:
    pieces: list[bytes | memoryview] = [b"01", memoryview(b"x234x")[1:4], b"5", b"6789"]
    file, whole = PiecesFile(pieces), io.BytesIO(b"0123456789")

    assert file.read() == whole.read()
    for start, size in itertools.product(range(12), range(1, 12)):
        assert file.seek(start) == whole.seek(start)
        assert b"".join(iter(partial(file.read, size), b"")) == whole.read()
        assert file.tell() == max(start, 10)
    assert file.seek(0, os.SEEK_END) == 10
    assert file.seek(-3, os.SEEK_CUR) == 7
    assert file.read(None) == b"789"


def test_what_broke_off_on_its_way_is_sent_again_from_its_beginning(
    contents: S3Contents, session: boto3.Session
) -> None:
    data = random.Random(7).randbytes(SENT_AT_ONCE_BYTES)
    broke_off: list[bytes] = []

    def break_off(request: Any, **_: object) -> None:
        if not broke_off:
            broke_off.append(request.body.read(1_000))
            raise ConnectionClosedError(endpoint_url=request.url)

    session.events.register("before-send.s3.PutObject", break_off)

    write(contents, data)

    found = contents.read(CLAIM, 1, stored=len(data)).result()
    assert found is not None
    assert b"".join(part or b"" for part in found.parts) == data
    assert broke_off == [data[:1_000]]
