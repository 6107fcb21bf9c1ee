"""Sends small messages: claimcheck with a pydantic model, against `json.dumps` and boto3.

A process of its own. Both take turns, call by call, so that other work of the machine is in both.
It prints the median cost of each block of calls.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import boto3
from pydantic import BaseModel

from claimcheck import enqueue
from letsgo_queue import Message
from tests.benchmarks.measuring import Cost, cost_of
from tests.benchmarks.payloads import TYPE

WARM_UP = 20
BLOCKS = 10


class Part(BaseModel):
    """A piece of an API model."""

    service: str
    kind: str
    name: str
    content: dict[str, Any]


class Parts(BaseModel):
    """The payload."""

    parts: list[Part]


class SmallMessage(Message[Parts]):
    """The message, as an application declares it."""

    type: Literal["bench:message"] = TYPE


def main() -> None:
    """Send, and print the costs."""
    task = json.loads(sys.argv[1])
    content = json.loads(Path(task["message"]).read_text())
    model = SmallMessage.model_validate(content)
    queue_url = os.environ["LETSGO_QUEUE_URL"]
    sqs = boto3.client("sqs")

    def with_boto3() -> None:
        sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(content))

    def with_claimcheck() -> None:
        enqueue(model)

    ours, theirs = in_turn(with_claimcheck, with_boto3, calls=task["calls"])
    print(
        json.dumps({"ours": [*map(asdict, ours)], "theirs": [*map(asdict, theirs)]}),
        flush=True,
    )


def in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], *, calls: int
) -> tuple[list[Cost], list[Cost]]:
    """Call both in turn, so many times each; the median cost of each in each block."""
    for _ in range(WARM_UP):
        ours()
        theirs()
    blocks: tuple[list[Cost], list[Cost]] = ([], [])
    for _ in range(BLOCKS):
        pairs = [(cost_of(ours), cost_of(theirs)) for _ in range(calls // BLOCKS)]
        for block, costs in zip(blocks, zip(*pairs, strict=True), strict=True):
            block.append(
                Cost(
                    statistics.median(cost.wall for cost in costs),
                    statistics.median(cost.cpu for cost in costs),
                )
            )
    return blocks


if __name__ == "__main__":
    main()
