"""Refuses requests of a boto3 session as AWS does, and lets the others through to a server.

So the library itself, its retries and its worker meet the limits, on an emulator that has none.
"""

from __future__ import annotations

import io
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from tests.benchmarks.billing import item_size
from tests.benchmarks.scale.limits import Limits

if TYPE_CHECKING:
    import boto3.session
    from botocore.awsrequest import AWSPreparedRequest

_DYNAMODB_ERROR = json.dumps(
    {
        "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException",
        "message": "Throughput exceeds the current capacity of your table or index.",
    }
).encode()
_S3_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class Throttle:
    """Refuses what is over the limits.

    Attributes:
        refused: How many requests were refused.
        let_through: How many were not.
    """

    def __init__(
        self,
        session: boto3.session.Session,
        limits: Limits,
        *,
        first_gap: float = math.inf,
    ) -> None:
        """Stand before every request of a session's clients to DynamoDB and S3.

        Args:
            session: The session.
            limits: What is let through.
            first_gap: The most seconds that seem to pass between two requests until one is
                refused: a slow machine meets the limits too.
        """
        self.refused = 0
        self.let_through = 0
        self._limits = limits
        self._first_gap = first_gap
        self._now = 0.0
        self._last_request = time.monotonic()
        self._lock = threading.Lock()
        self._kilobytes: dict[str, int] = {}
        # What a hook returns is taken for the answer, which the stubs do not know.
        events = cast("Any", session.events)
        events.register("before-send.dynamodb", self._before_dynamodb)
        events.register("before-send.s3", self._before_s3)

    def _before_dynamodb(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        operation = request.headers["X-Amz-Target"]
        name = (operation.decode() if isinstance(operation, bytes) else operation).split(".")[1]
        asked: Mapping[str, Any] = json.loads(cast("bytes", request.body))
        key: str = asked.get("Item", asked.get("Key", {}))["id"]["S"]
        with self._lock:
            now = self._tick()
            if name == "GetItem":
                units = math.ceil(self._kilobytes.get(key, 0) / 4) / 2
                passes = self._limits.table_reads.admits(key, units, now)
            else:
                size = item_size(asked["Item"]) if name == "PutItem" else 0
                kilobytes = max(math.ceil(size / 1024), self._kilobytes.get(key, 1))
                passes = self._limits.table_writes.admits(key, kilobytes, now)
                if passes and name != "DeleteItem":
                    self._kilobytes[key] = kilobytes
            self._count(passes)
        return None if passes else _answer(request, 400, _DYNAMODB_ERROR)

    def _before_s3(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        key = urlsplit(request.url).path
        reads = request.method in {"GET", "HEAD"}
        spread = self._limits.bucket_reads if reads else self._limits.bucket_writes
        with self._lock:
            passes = spread.admits(key, 1, self._tick())
            self._count(passes)
        return None if passes else _answer(request, 503, _S3_ERROR)

    def _tick(self) -> float:
        """The time of a request."""
        before, self._last_request = self._last_request, time.monotonic()
        gap = self._last_request - before
        self._now += gap if self.refused else min(gap, self._first_gap)
        return self._now

    def _count(self, passes: bool) -> None:
        self.let_through += passes
        self.refused += not passes


class _Raw(io.BytesIO):
    """A body as urllib3 has it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """All of it."""
        while chunk := self.read(65_536):
            yield chunk


def _answer(request: AWSPreparedRequest, status: int, body: bytes) -> AWSResponse:
    headers = HTTPHeaders()
    headers["Content-Length"] = str(len(body))
    return AWSResponse(request.url, status, headers, _Raw(body))
