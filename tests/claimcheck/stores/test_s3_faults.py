"""`S3Contents` when S3, or the network before it, does not do as it was asked."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

import pytest

from claimcheck import ClaimBucketMissing, ClaimCorrupted, ClaimStoreError, ClaimStoreUnavailable
from claimcheck.stores.base import ClaimFacts
from claimcheck.stores.s3_contents import LARGEST_PUT, S3Contents

CLAIM = "c" * 24
DATA = b"0123456789"
METADATA = {"ETag": '"e"', "x-amz-meta-expires-at": "5"}


class Answer(NamedTuple):
    """What the server answers; bytes that are missing are announced and never come."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = {}
    missing: int = 0


def error(status: int, code: str, said: str = "the test says so", **headers: str) -> Answer:
    xml = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>"
    return Answer(status, xml.encode(), {k.replace("_", "-"): v for k, v in headers.items()})


def checked(content: bytes, *, as_if: bytes) -> Answer:
    """An object with the checksum that other bytes have."""
    crc32 = b64encode(zlib.crc32(as_if).to_bytes(4, "big")).decode()
    return Answer(200, content, {**METADATA, "x-amz-checksum-crc32": crc32})


class S3:
    """A server that answers each method as the test says: the answers in turn, then the last."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, method: str) -> Answer:
        self.asked.append(method)
        answers = self.answers.get(method, [Answer(200)])
        return answers.pop(0) if len(answers) > 1 else answers[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, s3: S3, *args: object) -> None:
        self._s3 = s3
        super().__init__(*args)  # type: ignore[arg-type]  # what the HTTP server passes

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self._s3.answer(self.command)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content) + answer.missing))
        self.end_headers()
        self.wfile.write(answer.content)
        self.close_connection = bool(answer.missing)

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the server's own name
        """Tests say what happened themselves."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with closing(S3()) as s3:
        yield s3


@pytest.fixture
def contents(s3: S3) -> Iterator[S3Contents]:
    made = S3Contents("claims", store="s3://claims", region="eu-west-1", endpoint_url=s3.url)
    with closing(made):
        yield made


def write(contents: S3Contents, size: int = len(DATA)) -> None:
    data = DATA if size == len(DATA) else bytes(size)
    facts = ClaimFacts(
        id=CLAIM, type="a:b", parts=1, size=size, stored=size, created_at=1, expires_at=5
    )
    contents.write(facts, [data])


def read(contents: S3Contents) -> bytes | None:
    found = contents.read(CLAIM, 1, stored=len(DATA)).result()
    return None if found is None else b"".join(part or b"" for part in found.parts)


BEGUN = Answer(
    200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
)

OPERATIONS: Mapping[str, Callable[[S3Contents], object]] = {
    "PUT": write,
    "GET": read,
    "DELETE": lambda contents: contents.remove(CLAIM, 1),
}


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(
    "answer",
    [
        error(503, "SlowDown"),
        error(500, "InternalError"),
        Answer(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
    ],
    ids=["SlowDown", "InternalError", "a proxy's"],
)
def test_what_passes_is_tried_again_and_then_unavailable(
    s3: S3, contents: S3Contents, method: str, answer: Answer
) -> None:
    s3.answers[method] = [answer]

    with pytest.raises(
        ClaimStoreUnavailable, match=f"s3://claims: claim {CLAIM} was not"
    ) as refused:
        OPERATIONS[method](contents)

    assert refused.value.retryable
    assert s3.asked.count(method) == 5
    assert s3.asked.count("DELETE") == (method == "PUT")  # a lost answer may hide a write


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(
    "answer",
    [
        error(400, "ExpiredToken"),
        error(400, "RequestTimeout"),
        error(400, "BadDigest"),
        error(409, "OperationAborted"),
    ],
    ids=["ExpiredToken", "RequestTimeout", "BadDigest", "OperationAborted"],
)
def test_a_refusal_that_passes_may_be_tried_again(
    s3: S3, contents: S3Contents, method: str, answer: Answer
) -> None:
    s3.answers[method] = [answer]

    with pytest.raises(ClaimStoreUnavailable) as refused:
        OPERATIONS[method](contents)

    assert refused.value.retryable


@pytest.mark.parametrize(
    "damaged",
    [Answer(200, DATA[:5], METADATA, missing=5), checked(b"0123456780", as_if=DATA)],
    ids=["cut off", "changed on its way"],
)
def test_what_was_damaged_on_its_way_is_read_again(
    s3: S3, contents: S3Contents, damaged: Answer
) -> None:
    s3.answers["GET"] = [damaged, checked(DATA, as_if=DATA)]
    assert read(contents) == DATA

    s3.answers["GET"] = [damaged]
    with pytest.raises(ClaimStoreUnavailable, match="was not read") as refused:
        read(contents)
    assert refused.value.retryable


def test_a_replaced_object_is_corrupted(s3: S3, contents: S3Contents) -> None:
    s3.answers["GET"] = [Answer(200, bytes(999), METADATA)]

    with pytest.raises(
        ClaimCorrupted, match="999 bytes in the store, and 10 in its ticket"
    ) as refused:
        read(contents)

    assert not refused.value.retryable


def test_a_missing_bucket_is_an_error_of_its_own(s3: S3, contents: S3Contents) -> None:
    s3.answers["PUT"] = [error(404, "NoSuchBucket")]

    with pytest.raises(ClaimBucketMissing, match="bucket claims does not exist") as refused:
        write(contents)

    assert refused.value.retryable
    assert s3.asked == ["PUT"]


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("PUT", Answer(404)),  # of a server that has no buckets
        ("PUT", error(404, "NoSuchKey")),
        ("PUT", Answer(412)),
        ("PUT", error(409, "ConditionalRequestConflict")),
        ("DELETE", Answer(412)),
        ("DELETE", error(409, "ConditionalRequestConflict")),
    ],
)
def test_a_condition_that_nobody_set_cannot_fail(
    s3: S3, contents: S3Contents, method: str, answer: Answer
) -> None:
    """A message whose contents were not written must not be sent: no reader could open it."""
    s3.answers[method] = [answer]

    with pytest.raises(ClaimStoreError, match=CLAIM):
        OPERATIONS[method](contents)


def test_an_answer_that_is_not_of_s3_says_where_to_look(s3: S3, contents: S3Contents) -> None:
    s3.answers["PUT"] = [Answer(404, b"<html>Not Found</html>", {"Content-Type": "text/html"})]

    with pytest.raises(ClaimStoreError, match=r"HTTP status 404 .* check AWS_ENDPOINT_URL\."):
        write(contents)


def test_the_bucket_of_another_region_is_named_and_not_followed(
    s3: S3, contents: S3Contents
) -> None:
    s3.answers["GET"] = [error(301, "PermanentRedirect", x_amz_bucket_region="us-east-2")]

    with pytest.raises(
        ClaimStoreError, match=r"is in region us-east-2, .* to region eu-west-1"
    ) as refused:
        read(contents)

    assert not refused.value.retryable
    assert s3.asked == ["GET"]


@pytest.mark.parametrize(
    ("method", "answer", "advice"),
    [
        (
            "PUT",
            error(403, "AccessDenied", "not allowed: kms:GenerateDataKey"),
            "allow senders kms",
        ),
        ("GET", error(400, "KMS.DisabledException"), "check that it is enabled"),
        ("GET", error(403, "AccessDenied"), "and s3:ListBucket"),
    ],
    ids=["no right on the key", "a disabled key", "no right on the object"],
)
def test_what_is_refused_says_what_to_allow(
    s3: S3, contents: S3Contents, method: str, answer: Answer, advice: str
) -> None:
    s3.answers[method] = [answer]

    with pytest.raises(ClaimStoreError, match=advice) as refused:
        OPERATIONS[method](contents)

    assert not refused.value.retryable


def test_a_broken_upload_of_parts_is_aborted(s3: S3, contents: S3Contents) -> None:
    s3.answers = {"POST": [BEGUN], "PUT": [error(503, "SlowDown")]}

    with pytest.raises(ClaimStoreUnavailable, match="SlowDown") as refused:
        write(contents, LARGEST_PUT + 1)

    assert refused.value.retryable
    assert s3.asked[0] == "POST"
    assert s3.asked[-2:] == ["DELETE", "DELETE"]  # the upload, and an object if one was made


def test_an_upload_that_fails_behind_a_good_status_is_aborted(s3: S3, contents: S3Contents) -> None:
    """S3 says 200 before it has put the parts together, and how that went in what follows."""
    failed = error(200, "InternalError")
    part = Answer(200, headers={"ETag": '"part"'})
    s3.answers = {"POST": [BEGUN, failed], "PUT": [part]}

    with pytest.raises(ClaimStoreUnavailable, match="InternalError") as refused:
        write(contents, LARGEST_PUT + 1)

    assert refused.value.retryable
    assert s3.asked[-2:] == ["DELETE", "DELETE"]
