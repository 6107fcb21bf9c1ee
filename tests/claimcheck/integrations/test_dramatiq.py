"""dramatiq_sqs with the claim check, in one process: duplicates, failures, stores, workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import Pipelines, Retries
from dramatiq_abort import Abortable, Event, EventBackend, abort
from dramatiq_abort.middleware import AbortMode
from dramatiq_sqs import SQSBroker

from claimcheck import ClaimCheck, ClaimStoreUnavailable
from claimcheck.integrations import sqs
from claimcheck.integrations.dramatiq import install
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.places import DynamoDBPlace, Left
from tests.claimcheck.support import noise
from tests.claimcheck.watched import Watched
from tests.conftest import REGION
from tests.support.forks import fork, threads_are_there
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

LARGE = noise(2_500_000)


class Desk:
    """A broker with one queue, and what its consumer gets."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        broker.declare_queue("work")
        self.consumer = broker.consume("work", prefetch=10, timeout=200)
        self.queue = broker.queues["work"]

    def send(self, payload: str) -> None:
        self.broker.enqueue(
            dramatiq.Message[Any](
                queue_name="work", actor_name="take", args=(payload,), kwargs={}, options={}
            )
        )

    def take(self) -> Any:
        """The next message, as soon as there is one."""
        return wait_for(lambda: next(self.consumer), "a message")

    def has_nothing(self) -> bool:
        """Whether nothing comes, though the queue was asked more than once."""
        return all(next(self.consumer) is None for _ in range(3))

    def take_raw(self) -> str:
        """A message as it travels, taken off the queue."""
        (message,) = self.queue._queue.receive_messages(WaitTimeSeconds=1)
        message.delete()
        return str(message.body)

    def put_raw(self, body: str) -> None:
        self.queue._queue.send_message(MessageBody=body)

    def receive_and_put_back(self, times: int) -> None:
        """Have the queue count that many receives of its message."""
        for _ in range(times):
            assert self.queue._queue.receive_messages(VisibilityTimeout=0, WaitTimeSeconds=1)

    def counts(self) -> tuple[int, int]:
        """Messages that wait, and those that are hidden."""
        self.queue._queue.reload()
        found = self.queue._queue.attributes
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
        )


@pytest.fixture
def broker(ministack: AwsServer) -> Iterator[Any]:
    broker = SQSBroker(
        namespace=ministack.make_table_name(),
        middleware=[],
        dead_letter=True,
        region_name=REGION,
    )
    yield broker
    broker.sqs.meta.client.close()


@pytest.fixture
def desk(broker: Any, check: ClaimCheck) -> Iterator[Desk]:
    desk = Desk(install(broker, check))
    yield desk
    desk.consumer.close()


def test_a_duplicate_of_what_was_done_is_deleted_and_no_actor_gets_it(desk: Desk) -> None:
    desk.send(LARGE)
    sealed = desk.take_raw()
    desk.put_raw(sealed)
    first = desk.take()
    assert first.args == (LARGE,)
    desk.consumer.ack(first)

    desk.put_raw(sealed)

    wait_for(lambda: desk.has_nothing() and desk.counts() == (0, 0), "the duplicate's end")


def test_a_copy_of_what_is_handled_now_waits(desk: Desk) -> None:
    desk.send(LARGE)
    sealed = desk.take_raw()
    desk.put_raw(sealed)
    first = desk.take()

    desk.put_raw(sealed)

    assert desk.has_nothing()
    assert desk.counts() == (0, 2)
    desk.consumer.ack(first)


def test_what_dramatiq_cannot_decode_is_logged_as_it_travelled(
    desk: Desk, check: ClaimCheck, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = check.seal(f'{{"type": "order:new", "payload": "{LARGE}"}}').body.decode()
    desk.put_raw(sealed)
    wait_for(lambda: next(desk.consumer) or caplog.messages, "a line in the log")
    [line] = caplog.messages
    assert "Failed to decode message" in line
    assert sealed in line
    assert len(line) < 1_000
    assert desk.counts() == (0, 1)


def test_with_once_a_small_message_leaves_a_receipt(
    broker: Any, check: ClaimCheck, store: MemoryClaimStore
) -> None:
    desk = Desk(install(broker, check, once=True))
    desk.send("small")
    message = desk.take()
    handled = message._sqs_message.message_id
    desk.consumer.ack(message)
    assert desk.counts() == (0, 0)
    assert [handled in key for key in store._records] == [True]
    desk.consumer.close()


def test_contents_may_be_left_to_expire(
    broker: Any, check: ClaimCheck, store: MemoryClaimStore
) -> None:
    desk = Desk(install(broker, check, purge="never"))
    desk.send(LARGE)
    desk.consumer.ack(desk.take())
    assert (desk.counts(), len(store._contents), len(store._records)) == ((0, 0), 1, 1)
    desk.consumer.close()


def test_one_that_cannot_be_opened_stays_and_stops_no_other(
    desk: Desk, store: MemoryClaimStore, caplog: pytest.LogCaptureFixture
) -> None:
    desk.send(LARGE)
    store._contents.clear()  # somebody removed them
    desk.send("small")

    message = desk.take()
    assert message.args == ("small",)
    desk.consumer.ack(message)

    assert desk.has_nothing()
    wait_for(lambda: desk.counts() == (0, 1), "the message to be hidden")
    assert "stays on queue" in caplog.text
    assert LARGE[:50] not in caplog.text


def test_a_store_that_hangs_holds_only_the_messages_that_need_it(broker: Any) -> None:
    answers, store = threading.Event(), Watched(MemoryClaimStore())
    store.before("read", lambda: answers.wait(60))
    desk = Desk(install(broker, ClaimCheck(store.store)))
    desk.send(LARGE)
    desk.send("small")

    small = desk.take()
    assert small.args == ("small",)
    desk.consumer.ack(small)
    answers.set()
    large = desk.take()

    assert large.args == (LARGE,)
    desk.consumer.ack(large)
    desk.consumer.close()


def test_a_store_that_is_down_refuses_what_is_large_and_what_is_small_goes_on(
    broker: Any, check: ClaimCheck, down: ClaimCheck, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(install(broker, check))
    desk.send(LARGE)
    desk.consumer.close()
    desk = Desk(install(broker, down))
    with pytest.raises(ClaimStoreUnavailable, match="Could not connect"):
        desk.send(LARGE)
    desk.send("small")

    small = desk.take()

    assert small.args == ("small",)
    desk.consumer.ack(small)
    wait_for(lambda: "stays on queue" in caplog.text, "a line in the log")
    assert "Could not connect" in caplog.text
    assert desk.counts() == (0, 1)
    desk.consumer.close()


def test_a_worker_that_stops_waits_for_a_slow_store_once(broker: Any) -> None:
    together, store = threading.Barrier(3), Watched(MemoryClaimStore())
    store.before("release", lambda: together.wait(20), times=3)
    desk = Desk(install(broker, ClaimCheck(store.store)))
    for each in range(3):
        desk.send(f"{each}{LARGE}")
    messages = [desk.take() for _ in range(3)]

    desk.consumer.requeue(messages)

    assert desk.counts() == (3, 0)
    desk.consumer.close()


@pytest.mark.parametrize("receives", [4, 5])
def test_what_can_never_be_opened_is_a_dead_letter_after_five_receives(
    desk: Desk, store: MemoryClaimStore, caplog: pytest.LogCaptureFixture, receives: int
) -> None:
    dead = desk.broker.dead_letter_queues["work"]
    desk.send(LARGE)
    store._contents.clear()  # somebody removed them
    desk.receive_and_put_back(receives - 1)

    assert desk.has_nothing()

    wait_for(lambda: caplog.records, "a line in the log")
    if receives < 5:
        assert "is tried again in" in caplog.text
        assert desk.counts() == (0, 1)
        assert not dead.receive_messages()
    else:
        assert f"moved to queue {dead.url}" in caplog.text
        assert desk.counts() == (0, 0)
        [letter] = dead.receive_messages()
        assert is_sealed(letter.body)


def test_a_consumer_without_the_claim_check_logs_an_error_and_loses_nothing(
    broker: Any, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    plain = SQSBroker(
        namespace=broker.namespace, middleware=[], visibility_timeout=1, region_name=REGION
    )
    plain.declare_queue("work")
    consumer = plain.consume("work", timeout=200)
    desk.send(LARGE)
    wait_for(lambda: next(consumer) or caplog.records, "a line in the log")
    assert "Failed to decode message" in caplog.text

    message = desk.take()  # a second later

    assert message.args == (LARGE,)
    desk.consumer.ack(message)
    plain.sqs.meta.client.close()


@threads_are_there
def test_a_process_that_was_forked_sends_and_receives(ministack: AwsServer, broker: Any) -> None:
    place = DynamoDBPlace(ministack)
    desk = Desk(install(broker, ClaimCheck(place.store)))
    desk.send(LARGE)
    desk.consumer.ack(desk.take())  # which makes connections and threads
    desk.send(LARGE)

    def receive_and_send(_: int) -> str:
        consumer = broker.consume("work", prefetch=1, timeout=200)
        message = wait_for(lambda: next(consumer), "the message")
        desk.send(LARGE + "2")
        consumer.ack(message)
        consumer.close()
        return str(*message.args)

    [child] = fork(receive_and_send)
    assert child.result() == LARGE
    second = desk.take()
    assert second.args == (LARGE + "2",)
    desk.consumer.ack(second)
    assert place.left() == Left(0, 3)
    desk.consumer.close()
    place.close()


class Events(EventBackend):  # type: ignore[misc]  # dramatiq_abort has no types
    """Who is to be aborted."""

    def __init__(self) -> None:
        self._known: dict[str, Event] = {}

    def notify(self, events: Iterable[Event], ttl: int) -> None:
        self._known.update({event.key: event for event in events})

    def poll(self, key: str) -> Event | None:
        return self._known.pop(key, None)

    def wait_many(self, keys: Iterable[str], timeout: int) -> Event | None:
        time.sleep(0.05)
        return next(filter(None, map(self.poll, keys)), None)


class TestWorker:
    """dramatiq's own worker, whose threads run in this process."""

    @pytest.fixture
    def abortable(self, broker: Any) -> Abortable:
        abortable = Abortable(backend=Events())
        broker.add_middleware(abortable)
        return abortable

    def test_a_message_that_is_skipped_is_done(
        self, broker: Any, check: ClaimCheck, store: MemoryClaimStore, abortable: Abortable
    ) -> None:
        ran: list[str] = []

        @dramatiq.actor(broker=install(broker, check), queue_name="work")
        def run(payload: str) -> None:
            ran.append(payload)

        message = run.send(LARGE)
        abort(message.message_id, abortable, mode=AbortMode.CANCEL)

        with at_work(broker):
            broker.join("work", timeout=20_000)

        assert ran == []
        assert (len(store._contents), len(store._records)) == (0, 1)

    def test_an_actor_that_is_aborted_is_done(
        self, broker: Any, check: ClaimCheck, store: MemoryClaimStore, abortable: Abortable
    ) -> None:
        began, ends = threading.Event(), threading.Event()

        @dramatiq.actor(broker=install(broker, check), queue_name="work")
        def run(payload: str) -> None:
            began.set()
            while not ends.is_set():
                time.sleep(0.01)

        message = run.send(LARGE)

        with at_work(broker):
            assert began.wait(20)
            assert len(store._contents) == 1
            abort(message.message_id, abortable)
            broker.join("work", timeout=20_000)

        assert not ends.is_set()
        assert (len(store._contents), len(store._records)) == (0, 1)

    @pytest.mark.parametrize("payload", ["small", LARGE], ids=["small", "large"])
    def test_a_message_whose_retry_is_further_away_than_sqs_allows_becomes_a_dead_letter(
        self,
        broker: Any,
        check: ClaimCheck,
        store: MemoryClaimStore,
        monkeypatch: pytest.MonkeyPatch,
        payload: str,
    ) -> None:
        monkeypatch.setattr(sqs, "_FIRST_PAUSE_SECONDS", 0)
        broker.add_middleware(Retries(min_backoff=1_900_000))
        ran: list[str] = []

        @dramatiq.actor(broker=install(broker, check), queue_name="work")
        def fail(payload: str) -> None:
            ran.append(payload)
            raise ZeroDivisionError

        fail.send(payload)
        dead_letters = broker.dead_letter_queues["work"]

        def arrived() -> Any:
            return dead_letters.receive_messages(WaitTimeSeconds=1)

        with at_work(broker):
            [letter] = wait_for(arrived, "the dead letter")

        assert ran == [payload] * 5
        assert is_sealed(letter.body) == (len(store._contents) > 0) == (payload == LARGE)
        assert len(store._records) == 0  # released, to be handled again

    @pytest.mark.parametrize("follows", ["retry", "pipeline"])
    def test_a_message_whose_retry_or_successor_cannot_be_stored_is_handled_again(
        self,
        broker: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        follows: str,
    ) -> None:
        """dramatiq only logs what a middleware raises, and would acknowledge the message."""
        monkeypatch.setattr(sqs, "_FIRST_PAUSE_SECONDS", 0)
        store = Watched(MemoryClaimStore())
        broker.add_middleware(Retries(min_backoff=1))
        broker.add_middleware(Pipelines())
        ran: list[str] = []

        @dramatiq.actor(broker=install(broker, ClaimCheck(store.store)), queue_name="work")
        def first(payload: str) -> str:
            ran.append("first")
            if len(ran) == 1:
                store.fail("write")
                if follows == "retry":
                    raise ZeroDivisionError
            return payload

        @dramatiq.actor(broker=broker, queue_name="work")
        def second(payload: str) -> None:
            ran.append("second")

        follower: Any = second.message  # it gets what the first returns
        dramatiq.pipeline([first.message(LARGE), follower()], broker=broker).run()

        with at_work(broker):
            broker.join("work", timeout=30_000)

        assert ran == ["first", "first", "second"]
        assert "the test says so Message" in caplog.text
        left = store.behind
        assert isinstance(left, MemoryClaimStore)
        assert (len(left._contents), len(left._records)) == (0, 2)


@contextmanager
def at_work(broker: Any) -> Iterator[None]:
    worker = dramatiq.Worker(broker, worker_timeout=200, worker_threads=1)
    worker.start()
    try:
        yield
    finally:
        worker.stop()
