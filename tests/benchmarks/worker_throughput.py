"""Empties a queue of small messages: `Worker` with a handler that does nothing, or boto3 alone.

With boto3 alone, each thread receives up to ten messages, does not parse them, and deletes them
with one request.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import boto3
from botocore.config import Config

from claimcheck import unwrap_claim_check
from letsgo_queue import Event, MessageHandled, Worker
from tests.benchmarks.payloads import TYPE

THREADS = 10
BATCH = 10
WAIT_SECONDS = 1


class _Countdown:
    """Counts handled messages, on any thread, and times them from the first on.

    So connections, the claim check and imports, which are made on first use, do not count.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self._began = 0.0
        self._timed = 0
        self.over = threading.Event()
        self.per_second = 0.0

    def done(self, count: int) -> None:
        with self._lock:
            now = time.perf_counter()
            if not self._began:
                self._began, self._timed = now, self._left - count
            self._left -= count
            if self._left == 0:
                self.per_second = self._timed / (now - self._began)
                self.over.set()


def main() -> None:
    """Empty the queue, and print the messages per second."""
    task = json.loads(sys.argv[1])
    countdown = _Countdown(task["messages"])
    if task["with"] == "claimcheck":
        _with_worker(countdown)
    else:
        _with_boto3(countdown)
    print(json.dumps(countdown.per_second), flush=True)


def _with_worker(countdown: _Countdown) -> None:
    worker = Worker(concurrency=THREADS, wait_seconds=WAIT_SECONDS)

    @worker.handler(TYPE)
    @unwrap_claim_check
    def on_message(message: dict[str, Any]) -> None: ...

    def listen(event: Event) -> None:
        if isinstance(event, MessageHandled):
            countdown.done(1)
            if countdown.over.is_set():
                worker.stop()

    worker.add_listener(listen)
    worker.run()


def _with_boto3(countdown: _Countdown) -> None:
    queue_url = os.environ["LETSGO_QUEUE_URL"]
    sqs = boto3.client("sqs", config=Config(max_pool_connections=THREADS))

    def loop() -> None:
        while not countdown.over.is_set():
            answer = sqs.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS
            )
            if received := answer.get("Messages"):
                sqs.delete_message_batch(
                    QueueUrl=queue_url,
                    Entries=[
                        {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]}
                        for at, message in enumerate(received)
                    ],
                )
                countdown.done(len(received))

    threads = [threading.Thread(target=loop) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
