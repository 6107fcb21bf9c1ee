"""FIFO queues: order within a group, through `run()`."""

from __future__ import annotations

import threading

from letsgo_queue import (
    Client,
    Delivery,
    Message,
    MessageHandled,
    Retry,
    RetryPolicy,
    Worker,
)
from tests.letsgo_queue.support import DEADLINE_SECONDS, events_of, receive, running, wait_for
from tests.support.servers import AwsServer

GROUPS = ("g", "h")


def fifo_queue(aws: AwsServer) -> str:
    return aws.make_queue(
        FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout="600"
    )


def test_a_group_is_handled_in_order_and_waits_for_one_that_failed(aws: AwsServer) -> None:
    client = Client(fifo_queue(aws))
    for number in range(4):
        for group in GROUPS:
            client.enqueue({"type": "step", "payload": f"{group}-{number}"}, group_id=group)
    handled: list[str] = []
    worker = Worker(client=client, wait_seconds=1, retry_policy=RetryPolicy(base=0))

    @worker.handler("step")
    def step(message: Message[str], delivery: Delivery) -> None:
        handled.append(message.payload)
        if message.payload == "g-1" and delivery.receive_count == 1:
            raise ConnectionError

    with running(worker):
        wait_for(lambda: len(handled) == 9, "all of them")

    of_groups = [[step for step in handled if step.startswith(group)] for group in GROUPS]
    assert of_groups == [["g-0", "g-1", "g-1", "g-2", "g-3"], ["h-0", "h-1", "h-2", "h-3"]]
    client.close()


def test_messages_of_a_group_are_received_together_and_handled_in_order(aws: AwsServer) -> None:
    """What waits in the worker uses up no receive, and another worker gets none of it."""
    client = Client(fifo_queue(aws))
    for number in range(4):
        client.enqueue({"type": "step", "payload": number}, group_id="one")
    begun: list[tuple[int, int]] = []
    may_end = threading.Semaphore(0)
    workers = [Worker(client=client, wait_seconds=1) for _ in range(2)]
    for worker in workers:

        @worker.handler("step")
        def step(message: Message[int], delivery: Delivery) -> None:
            begun.append((message.payload, delivery.receive_count))
            assert may_end.acquire(timeout=2 * DEADLINE_SECONDS)

    with running(workers[0]), running(workers[1]):
        for count in range(1, 5):
            wait_for(lambda n=count: len(begun) == n, "the next one")  # type: ignore[misc]  # bound
            may_end.release()

    assert begun == [(number, 1) for number in range(4)]
    client.close()


def test_groups_are_handled_beside_each_other(aws: AwsServer) -> None:
    client = Client(fifo_queue(aws))
    for group in GROUPS:
        for number in range(2):
            client.enqueue({"type": "step", "payload": f"{group}-{number}"}, group_id=group)
    together = threading.Barrier(len(GROUPS))
    worker = Worker(client=client, wait_seconds=1)
    events = events_of(worker)
    worker.handler("step")(lambda _message: together.wait(DEADLINE_SECONDS))

    with running(worker):
        wait_for(lambda: len(events) == 4, "all of them")

    assert {type(event) for event in events} == {MessageHandled}
    client.close()


def test_the_rest_of_a_group_goes_back_unrun_where_one_fails(aws: AwsServer) -> None:
    client = Client(fifo_queue(aws))
    for number in range(4):
        client.enqueue({"type": "step", "payload": number}, group_id="one")
    begun: list[tuple[int, int]] = []
    worker = Worker(client=client, wait_seconds=1)
    transport = client.transport()

    @worker.handler("step")
    def step(message: Message[int], delivery: Delivery) -> None:
        begun.append((message.payload, delivery.receive_count))
        if begun == [(0, 1), (1, 1)]:
            raise Retry(delay=0)

    with running(worker):
        wait_for(lambda: len(begun) == 5, "all, and the one that failed again")

    assert [payload for payload, _ in begun] == [0, 1, 1, 2, 3]
    assert receive(transport) == []
    client.close()
