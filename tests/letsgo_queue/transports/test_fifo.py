"""FIFO queues: what they promise, on SQS and on the embedded queues.

Order within a group, one message of it in flight, deduplication, and what is refused.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from letsgo_queue import (
    Client,
    Delivery,
    EnqueueOptions,
    Message,
    MessageHandled,
    MessageInvalid,
    Middleware,
    Retry,
    RetryPolicy,
    SendContext,
    Worker,
)
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Transport
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    events_of,
    numbered,
    order,
    receive,
    running,
)
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

GROUPS = ("g", "h")

MakeQueue: TypeAlias = Callable[..., str]
"""Makes a FIFO queue that deduplicates by content, or not (`by_content=False`); gives its URL."""


def take_all(transport: Transport) -> list[ReceivedMessage]:
    """Receive what there is; each message is deleted, so that its group goes on."""
    taken = []
    while messages := receive(transport, wait_seconds=1):
        for message in messages:
            taken.append(message)
            transport.delete(message)
    return taken


class FifoContract(ABC):
    """What every FIFO queue does."""

    @pytest.fixture
    @abstractmethod
    def make_queue(self) -> object: ...

    def test_a_group_is_handled_in_order_and_waits_for_one_that_failed(
        self, make_queue: MakeQueue
    ) -> None:
        client = Client(make_queue())
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

    def test_messages_of_a_group_are_received_together_and_handled_in_order(
        self, make_queue: MakeQueue
    ) -> None:
        """What waits in the worker uses up no receive, and another worker gets none of it."""
        client = Client(make_queue())
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

    def test_groups_are_handled_beside_each_other(self, make_queue: MakeQueue) -> None:
        client = Client(make_queue())
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

    def test_the_rest_of_a_group_goes_back_unrun_where_one_fails(
        self, make_queue: MakeQueue
    ) -> None:
        client = Client(make_queue())
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

    def test_nothing_of_a_group_comes_while_a_message_of_it_is_in_flight(
        self, make_queue: MakeQueue
    ) -> None:
        client = Client(make_queue())
        transport = client.transport()
        for number in range(3):
            client.enqueue(order(n=number), group_id="one")
        client.enqueue(order(n=9), group_id="other")

        (first, *_) = transport.receive(max_messages=1, wait_seconds=1, visibility_timeout=600)
        others = receive(transport, wait_seconds=1)

        assert (first.body, first.group_id) == ('{"type":"order:new","payload":{"n":0}}', "one")
        assert [message.group_id for message in others] == ["other"]
        client.close()

    def test_a_group_stays_in_order_where_one_is_given_back(self, make_queue: MakeQueue) -> None:
        client = Client(make_queue())
        transport = client.transport()
        for number in range(3):
            client.enqueue({"type": str(number)}, group_id="one")
        taken = receive(transport, visibility_timeout=600, wait_seconds=1)
        for message in taken:
            transport.change_visibility(message, 0)

        assert [message.body[9] for message in take_all(transport)] == ["0", "1", "2"]
        client.close()

    @pytest.mark.parametrize("by_content", [True, False])
    def test_drops_what_was_sent_twice(self, make_queue: MakeQueue, by_content: bool) -> None:
        """By content where the queue says so, though a middleware gives each body another form."""

        class Numbered(Middleware):
            count = 0

            def before_send(
                self, message: OutgoingMessage, context: SendContext
            ) -> OutgoingMessage:
                self.count += 1
                return replace(message, body=message.body + b" " * self.count)

        client = Client(make_queue(by_content=by_content), middleware=[Numbered()])

        for _ in range(2):
            client.enqueue({"type": "a"}, group_id="g")
        for _ in range(2):
            client.enqueue({"type": "b"}, group_id="g", deduplication_id="same")

        received = [message.body.strip() for message in take_all(client.transport())]
        a_times = 1 if by_content else 2
        assert received == ['{"type":"a"}'] * a_times + ['{"type":"b"}']
        client.close()

    def test_groups_and_deduplication_ids_by_message(self, make_queue: MakeQueue) -> None:
        client = Client(make_queue())
        given: list[dict[str, Any]] = [{"type": f"g{n % 2}", "payload": n} for n in range(6)]

        client.enqueue_many(
            given,
            group_id=lambda message: message["type"],
            deduplication_id=lambda message: f"d{message['payload'] // 2}",
        )

        assert [(m.group_id, m.body) for m in take_all(client.transport())] == [
            ("g0", '{"type":"g0","payload":0}'),
            ("g0", '{"type":"g0","payload":2}'),
            ("g0", '{"type":"g0","payload":4}'),
        ]
        client.close()

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({}, r"is FIFO: say which messages keep their order .* group_id="),
            ({"group_id": "g", "delay_seconds": 1}, "no delay per message on a FIFO queue"),
            ({"group_id": "g", "delay_seconds": 3600}, "no delay per message on a FIFO queue"),
            ({"group_id": "g", "deduplication_id": ""}, "SQS takes text of 1 to 128"),
            ({"group_id": "g", "deduplication_id": "ä"}, "SQS takes text of 1 to 128"),
        ],
    )
    def test_refuses_wrong_options_before_anything_is_sent(
        self, make_queue: MakeQueue, options: EnqueueOptions, text: str
    ) -> None:
        client = Client(make_queue())

        with pytest.raises(MessageInvalid, match=text):
            client.enqueue(order(), **options)

        assert receive(client.transport()) == []
        client.close()

    def test_refuses_many_without_a_group_or_with_a_delay(self, make_queue: MakeQueue) -> None:
        client = Client(make_queue())

        with pytest.raises(MessageInvalid, match=r"the queue .* is FIFO"):
            client.enqueue_many(numbered(3))
        with pytest.raises(MessageInvalid, match="no delay per message on a FIFO queue"):
            client.enqueue_many([order()], group_id="one", delay_seconds=1)

        assert receive(client.transport()) == []
        client.close()


class TestSqs(FifoContract):
    @pytest.fixture
    def make_queue(self, aws: AwsServer) -> MakeQueue:
        def make(*, by_content: bool = True) -> str:
            return aws.make_queue(
                FifoQueue="true",
                ContentBasedDeduplication=str(by_content).lower(),
                VisibilityTimeout="600",
            )

        return make


class TestSqlite(FifoContract):
    @pytest.fixture
    def make_queue(self, tmp_path: Path) -> MakeQueue:
        def make(*, by_content: bool = True) -> str:
            by = "" if by_content else "&content_based_deduplication=false"
            return f"sqlite:///{tmp_path}/queue.db?fifo=true&visibility_timeout=600{by}"

        return make


class TestMemory(FifoContract):
    @pytest.fixture
    def make_queue(self) -> MakeQueue:
        def make(*, by_content: bool = True) -> str:
            return "memory://?fifo=true" + (
                "" if by_content else "&content_based_deduplication=false"
            )

        return make
