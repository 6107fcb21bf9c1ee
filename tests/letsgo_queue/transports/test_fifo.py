"""FIFO queues: order within a group, through `run()`."""

from __future__ import annotations

import threading
import time

from letsgo_queue import Client, Delivery, Message, Worker
from tests.letsgo_queue.support import running, wait_for
from tests.support.servers import AwsServer


def test_a_group_is_handled_in_order_and_waits_for_one_that_failed(aws: AwsServer) -> None:
    url = aws.make_queue(FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout="6")
    client = Client(url)
    for number in range(4):
        client.enqueue({"type": "step", "payload": number}, group_id="one")
    handled: list[int] = []
    lock = threading.Lock()
    done = threading.Event()
    failed = threading.Event()
    worker = Worker(url, client=client, wait_seconds=1)

    @worker.handler("step")
    def step(message: Message[int]) -> None:
        number = message.payload
        if number == 1 and not failed.is_set():
            failed.set()
            raise ConnectionError
        with lock:
            handled.append(number)
        if number == 3:
            done.set()

    with running(worker):
        assert done.wait(30)

    assert handled == [0, 1, 2, 3]


def test_a_long_line_of_one_group_is_handled_once_each_by_two_workers(aws: AwsServer) -> None:
    """Those behind the first must not be received while they wait: their time would run out."""
    url = aws.make_queue(FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout="6")
    client = Client(url)
    for number in range(4):
        client.enqueue({"type": "step", "payload": number}, group_id="one")
    handled: list[tuple[int, int]] = []
    workers = [Worker(url, client=Client(url), wait_seconds=1) for _ in range(2)]
    for worker in workers:

        @worker.handler("step")
        def step(message: Message[int], delivery: Delivery) -> None:
            handled.append((message.payload, delivery.receive_count))
            time.sleep(4.2)

    with running(workers[0]), running(workers[1]):
        wait_for(lambda: len(handled) >= 4, "all of them")

    assert handled == [(number, 1) for number in range(4)]
