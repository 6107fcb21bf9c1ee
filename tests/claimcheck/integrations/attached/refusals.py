"""Answers of SQS that no emulator gives on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class _Body:
    """That of an answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


class Refusals:
    """Refuses an operation with each of these statuses and codes in turn; then SQS answers.

    Attributes:
        asked: How often it was asked.
    """

    def __init__(self, client: SQSClient, operation: str, *answers: tuple[int, str]) -> None:
        self._left = list(answers)
        self.asked = 0
        send: Any = self._send  # the stubs know no handler that answers
        client.meta.events.register(f"before-send.sqs.{operation}", send)

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        self.asked += 1
        if not self._left:
            return None
        status, code = self._left.pop(0)
        body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"})
        headers: Any = {"content-type": "application/x-amz-json-1.0"}
        raw: Any = _Body(body.encode())
        return AWSResponse(request.url, status, headers, raw)
