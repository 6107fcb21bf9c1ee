"""One queue, and connections of kombu to it that share a store in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Connection, Consumer, Producer, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from kombu.message import Message
from kombu.transport import SQS

from claimcheck.integrations.kombu import with_claim_check
from claimcheck.testing import Clock
from tests.claimcheck.integrations.celery_broker import broker_url, transport_options
from tests.claimcheck.places import Left, MemoryPlace
from tests.claimcheck.support import small_claim_check
from tests.claimcheck.watched import Watched
from tests.support.servers import AwsServer


class Desk:
    """What a test of kombu works at.

    Attributes:
        url: The queue's.
        name: What kombu calls it.
        store: Where claims are, over 1,000 bytes.
        clock: The clock of the store.
        check: The claim check of all connections.
    """

    def __init__(self, server: AwsServer, **attributes: str) -> None:
        self.url = server.make_queue(**attributes)
        self.name = "work.fifo" if self.url.endswith(".fifo") else "work"
        self.clock = Clock()
        self.place = MemoryPlace(self.clock)
        self.store = Watched(self.place.store)
        self.check = small_claim_check(self.store.store)
        self.sqs = server.sqs()
        self._broker = broker_url(server.endpoint_url or "")
        self._connections: list[Connection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.release()
        self.sqs.close()
        # Before kombu 5.7 all connections share them, and those of a closed event loop do nothing.
        clients: Any = SQS.Channel._predefined_queue_async_clients
        if isinstance(clients, dict):
            clients.clear()

    def plain(self) -> Connection:
        """A connection as people make it."""
        options = transport_options({self.name: self.url})
        connection = Connection(self._broker, transport_options=options)
        self._connections.append(connection)
        return connection

    def connect(self) -> Connection:
        connection = with_claim_check(self.plain(), self.check)
        self._connections.append(connection)
        return connection

    def send(self, payload: object, connection: Connection | None = None, **options: Any) -> None:
        channel = (connection or self.connect()).default_channel
        Producer(channel).publish(payload, exchange="", routing_key=self.name, **options)

    @contextmanager
    def consumer(
        self, connection: Connection, then: str = "ack", **options: Any
    ) -> Iterator[list[Any]]:
        """Take messages, and ack, reject or requeue each; or `wait` with all of them."""
        taken: list[Any] = []

        def take(payload: object, message: Message) -> None:
            taken.append(payload)
            if then != "wait":
                getattr(message, then)()

        queue, accept = Queue(self.name, no_declare=True), ["json", "pickle", "text/plain"]
        with Consumer(connection, [queue], callbacks=[take], accept=accept, **options):
            yield taken

    @contextmanager
    def loop_consumer(
        self, then: str = "ack", *, prefetch_count: int = 0, **options: Any
    ) -> Iterator[list[Any]]:
        """The same on the event loop, and with a connection of its own."""
        connection = self.connect()
        connection.register_with_event_loop(get_event_loop())
        try:
            with self.consumer(connection, then, prefetch_count=prefetch_count, **options) as taken:
                yield taken
        finally:
            connection.release()

    def take(
        self, count: int, connection: Connection | None = None, then: str = "ack"
    ) -> list[Any]:
        """Take so many messages."""
        connection = connection or self.connect()
        with self.consumer(connection, then) as taken:
            deadline = time.monotonic() + 30
            while len(taken) < count:
                assert time.monotonic() < deadline, f"{len(taken)} of {count} messages came"
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1)
        return taken

    def bodies(self) -> list[str]:
        """The messages on the queue, which stay there."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return [message["Body"] for message in answer.get("Messages", [])]

    def counts(self) -> tuple[int, int]:
        """How many messages are visible, and how many are hidden."""
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        found = answer["Attributes"]
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
        )

    def seconds_leased(self) -> float:
        """Until when the only claim is held."""
        [key] = self.place.store._records
        record = self.place.store.look_up(key)
        assert record is not None
        return record.seconds_left

    def left(self) -> Left:
        return self.place.left()


@contextmanager
def event_loop() -> Iterator[Callable[[Callable[[], object]], None]]:
    """kombu's event loop, as Celery's worker has it, and what runs it until something is true."""
    hub = Hub()
    set_event_loop(hub)

    def run_until(condition: Callable[[], object]) -> None:
        loop, deadline = hub.create_loop(), time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "waited 30 s"
            next(loop)
        loop.close()

    try:
        yield run_until
    finally:
        hub.close()
        set_event_loop(None)
