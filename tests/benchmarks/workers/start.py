"""How long a message takes from `enqueue` to its handler, with an idle worker in this process.

Beside it a bare long poll of boto3: from the answer of `send_message` to that of `receive_message`.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3

from letsgo_queue import Worker, enqueue
from tests.benchmarks.payloads import TYPE
from tests.benchmarks.workers import CONCURRENCY

IDLE_SECONDS = 0.15
"""So long the worker is left alone before each message: its poll is open again."""

WAIT_SECONDS = 20


def main() -> None:
    """Print the seconds of each message: ours, and the bare poll's."""
    task = json.loads(sys.argv[1])
    message = json.loads(Path(task["message"]).read_text())
    ours = _with_worker(message, task["count"])
    theirs = _with_boto3(json.dumps(message), task["count"])
    print(json.dumps({"ours": ours, "theirs": theirs}), flush=True)


def _with_worker(message: dict[str, Any], count: int) -> list[float]:
    started: queue.SimpleQueue[float] = queue.SimpleQueue()
    worker = Worker(concurrency=CONCURRENCY, wait_seconds=WAIT_SECONDS)

    @worker.handler(TYPE)
    def on_message(message: dict[str, Any]) -> None:
        started.put(time.perf_counter())

    thread = threading.Thread(target=worker.run)
    thread.start()
    took = []
    for _ in range(count):
        time.sleep(IDLE_SECONDS)
        enqueue(message)
        sent = time.perf_counter()
        took.append(max(started.get() - sent, 0.0))
    worker.stop()
    thread.join()
    return took


def _with_boto3(body: str, count: int) -> list[float]:
    url = os.environ["LETSGO_QUEUE_URL"]
    sender, receiver = boto3.client("sqs"), boto3.client("sqs")
    received: queue.SimpleQueue[float] = queue.SimpleQueue()

    def poll() -> None:
        left = count
        while left:
            answer = receiver.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=WAIT_SECONDS
            )
            for each in answer.get("Messages", []):
                received.put(time.perf_counter())
                receiver.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
                left -= 1

    thread = threading.Thread(target=poll)
    thread.start()
    took = []
    for _ in range(count):
        time.sleep(IDLE_SECONDS)
        sender.send_message(QueueUrl=url, MessageBody=body)
        sent = time.perf_counter()
        took.append(max(received.get() - sent, 0.0))
    thread.join()
    return took


if __name__ == "__main__":
    main()
