"""Fills a queue for a worker."""

from __future__ import annotations

from tests.benchmarks.emulator import Emulator
from tests.benchmarks.payloads import PayloadFile

_BATCH = 10


def fill(emulator: Emulator, queue: str, message: PayloadFile, count: int) -> None:
    """Put a message on a queue `count` times, not through the proxy."""
    sqs = emulator.server.sqs()
    url = emulator.place(queue, "loopback").queue_url
    body = message.path.read_text()
    for start in range(0, count, _BATCH):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(at), "MessageBody": body}
                for at in range(start, min(start + _BATCH, count))
            ],
        )
