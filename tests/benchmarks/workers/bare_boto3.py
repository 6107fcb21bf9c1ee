"""boto3 alone: threads that receive up to ten messages, parse each, and delete them together."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from tests.benchmarks.workers import WAIT_SECONDS

_BATCH = 10


def work(task: dict[str, Any], done: Callable[[], None]) -> None:
    queue_url = task["queue_url"]
    sqs = boto3.client("sqs", config=Config(max_pool_connections=task["concurrency"]))

    def loop() -> None:
        while True:
            answer = sqs.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=WAIT_SECONDS
            )
            received = answer.get("Messages", [])
            for message in received:
                json.loads(message["Body"])
                done()
            if received:
                sqs.delete_message_batch(
                    QueueUrl=queue_url,
                    Entries=[
                        {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                        for at, message in enumerate(received)
                    ],
                )

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(task["concurrency"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
