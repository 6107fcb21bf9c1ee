"""Sending many small messages: `enqueue_many`, or `send_message_batch` written by hand.

A process of its own. For each line of its input it sends all messages, the two ways in turn, and
prints the cost.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from claimcheck import enqueue_many
from tests.benchmarks.measuring import cost_of
from tests.benchmarks.peers.base import Message

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10


def main() -> None:
    """Send, and print the costs."""
    task = json.loads(sys.argv[1])
    message: Message = json.loads(Path(task["message"]).read_text())
    messages = [message] * task["messages"]
    sqs = boto3.client("sqs")
    queue_url = os.environ["LETSGO_QUEUE_URL"]
    ways = (
        lambda: enqueue_many(messages),
        lambda: _by_hand(sqs, queue_url, messages),
    )
    enqueue_many(messages[:BATCH])
    _by_hand(sqs, queue_url, messages[:BATCH])
    for _, way in zip(sys.stdin, cycle(ways), strict=False):
        print(json.dumps(asdict(cost_of(way))), flush=True)
    print("{}", flush=True)


def _by_hand(sqs: SQSClient, queue_url: str, messages: Sequence[Message]) -> None:
    for start in range(0, len(messages), BATCH):
        answer = sqs.send_message_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": str(at), "MessageBody": json.dumps(message)}
                for at, message in enumerate(messages[start : start + BATCH])
            ],
        )
        if answer.get("Failed"):
            raise RuntimeError(f"not sent: {answer['Failed']}")


if __name__ == "__main__":
    main()
