"""Answers of SQS that no emulator gives on request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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


def _answer(request: AWSPreparedRequest, status: int, fields: Mapping[str, str]) -> AWSResponse:
    headers: Any = {"content-type": "application/x-amz-json-1.0"}
    raw: Any = _Body(json.dumps(fields).encode())
    return AWSResponse(request.url, status, headers, raw)


class Refusals:
    """Refuses an operation with each of these statuses and codes in turn; then SQS answers.

    Attributes:
        asked: How often it was asked.
    """

    def __init__(self, client: SQSClient, operation: str, *answers: tuple[int, str]) -> None:
        self._left = list(answers)
        self.asked = 0
        _answer_with(client, operation, self._send)

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        self.asked += 1
        if not self._left:
            return None
        status, code = self._left.pop(0)
        return _answer(request, status, {"__type": f"com.amazonaws.sqs#{code}", "message": "no"})


def always_answer(client: SQSClient, operation: str, fields: Mapping[str, str]) -> None:
    """Have an operation succeed with the same answer, without a server."""

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        return _answer(request, 200, fields)

    _answer_with(client, operation, send)


def _answer_with(client: SQSClient, operation: str, send: Any) -> None:
    """Register a handler that answers, which the stubs do not know."""
    client.meta.events.register(f"before-send.sqs.{operation}", send)
