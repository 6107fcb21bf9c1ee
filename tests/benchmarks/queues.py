"""Fills a queue for a worker."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.benchmarks.emulator import Emulator
from tests.benchmarks.payloads import PayloadFile

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

_BATCH = 10


def fill(
    emulator: Emulator,
    queue: str,
    message: PayloadFile,
    count: int,
    *,
    groups: int | None = None,
) -> None:
    """Put a message on a queue `count` times, not through the proxy.

    Args:
        emulator: The servers.
        queue: Its name.
        message: The message.
        count: How often.
        groups: For a FIFO queue: how many groups take turns.
    """
    sqs = emulator.server.sqs()
    url = emulator.place(queue, "loopback").queue_url
    body = message.path.read_text()
    for start in range(0, count, _BATCH):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[_entry(at, body, groups) for at in range(start, min(start + _BATCH, count))],
        )


def _entry(at: int, body: str, groups: int | None) -> SendMessageBatchRequestEntryTypeDef:
    if groups is None:
        return {"Id": str(at), "MessageBody": body}
    return {
        "Id": str(at),
        "MessageBody": body,
        "MessageGroupId": f"group-{at % groups}",
        "MessageDeduplicationId": uuid.uuid4().hex,
    }
