"""kombu alone with the claim check: what is sent, and what becomes of each claim."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError
from kombu import VERSION, Connection, Consumer, Exchange, Producer, Queue
from kombu.message import Message
from kombu.transport.virtual import base as virtual

from claimcheck import ClaimCheck, ClaimStoreUnavailable, SettingsInvalid
from claimcheck.events import MessageOpened, MessageSealed
from claimcheck.integrations import kombu_claims
from claimcheck.integrations.kombu import with_claim_check
from letsgo_queue.aws_pointers import AwsPointer
from letsgo_queue.envelope import is_sealed
from letsgo_queue.events import listen_to_all
from tests.claimcheck.integrations.celery_broker import broker_url, transport_options
from tests.claimcheck.integrations.kombu_desk import Desk
from tests.claimcheck.places import Left
from tests.claimcheck.support import noise
from tests.claimcheck.watched import ALWAYS
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

LARGE = noise(20_000)
"""Text that the claim check of these tests stores."""


@pytest.fixture
def desk(ministack: AwsServer) -> Iterator[Desk]:
    with closing(Desk(ministack, VisibilityTimeout="60")) as desk:
        yield desk


def beating() -> bool:
    """Whether a thread holds claims."""
    return any(each.name == kombu_claims.HOLDING for each in threading.enumerate())


class Meeting:
    """A header that kombu writes only when others are being written too."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self._barrier: threading.Barrier | None = barrier

    def __json__(self) -> str:
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            barrier.wait(30)
        return "met"


def end_visibility_timeouts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each message that cannot be opened be visible again at once."""
    open_it = kombu_claims.Claims.open

    def open_and_show(claims: Any, message: Any, **options: Any) -> kombu_claims.Outcome:
        outcome = open_it(claims, message, **options)
        if outcome == "left":
            desk.sqs.change_message_visibility(
                QueueUrl=desk.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return outcome

    monkeypatch.setattr(kombu_claims.Claims, "open", open_and_show)


class TestSending:
    def test_a_small_message_travels_byte_for_byte(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(virtual, "uuid", lambda: "the same")
        desk.send({"small": "é"}, desk.plain())
        desk.send({"small": "é"})
        first, second = desk.bodies()
        assert first == second

    def test_a_large_message_is_sealed_as_text_and_so_compresses(self, desk: Desk) -> None:
        """kombu has base64 in base64, in which nothing repeats."""
        numbers = list(range(5_000))
        connection = with_claim_check(desk.plain(), ClaimCheck(desk.store.store, threshold=10_000))
        with closing(connection):
            desk.send(numbers, connection)
        [body] = desk.bodies()
        assert is_sealed(body)
        assert len(body) < len(json.dumps(numbers)) * 0.75
        assert desk.take(1) == [numbers]

    def test_what_the_queue_takes_as_text_only_is_sent_as_text_that_every_worker_reads(
        self, ministack: AwsServer
    ) -> None:
        with closing(Desk(ministack, MaximumMessageSize="262144")) as desk:
            payload = noise(200_000)
            connection = with_claim_check(desk.plain(), ClaimCheck(desk.store.store))
            with closing(connection):
                desk.send(payload, connection)
            assert desk.take(1, desk.plain()) == [payload]
            assert desk.left() == Left(0, 0)

    def test_threads_that_share_a_producer_each_send_their_own_message(self, desk: Desk) -> None:
        producer = Producer(desk.connect().default_channel)
        producer.publish("small", exchange="", routing_key=desk.name)  # kombu finds the queue
        barrier = threading.Barrier(4)

        def send(letter: str) -> None:
            payload, headers = letter * 200_000, {"meeting": Meeting(barrier)}
            producer.publish(payload, exchange="", routing_key=desk.name, headers=headers)

        with ThreadPoolExecutor(4) as threads:
            [*threads.map(send, "abcd")]
        assert sorted(each[0] for each in desk.take(5)) == ["a", "b", "c", "d", "s"]

    def test_a_queue_that_does_not_exist_leaves_no_claim(self, desk: Desk) -> None:
        connection = desk.connect()
        desk.send("small", connection)  # kombu finds the queue
        desk.sqs.delete_queue(QueueUrl=desk.url)
        with pytest.raises(ClientError):
            desk.send(LARGE, connection)
        assert desk.left() == Left(0, 0)
        assert desk.store.calls["write"] == 1

    def test_a_store_that_refuses_is_an_error_for_the_sender(self, desk: Desk) -> None:
        desk.store.fail("write")
        with pytest.raises(ClaimStoreUnavailable):
            desk.send(LARGE)
        assert desk.counts() == (0, 0)

    def test_attributes_count_and_travel_beside_the_claim(self, desk: Desk) -> None:
        value = "x" * 400
        attribute = {"note": {"DataType": "String", "StringValue": value}}
        desk.send("y" * 200, message_attributes=attribute)
        answer = desk.sqs.receive_message(QueueUrl=desk.url, MessageAttributeNames=["All"])
        [message] = answer["Messages"]
        assert is_sealed(message["Body"])
        assert message["MessageAttributes"]["note"]["StringValue"] == value

    def test_listeners_hear_of_it_with_the_name_of_the_task(self, desk: Desk) -> None:
        heard: list[Any] = []
        stop = listen_to_all(heard.append)
        desk.send(LARGE, headers={"task": "resize"})
        desk.take(1)
        stop()
        sealed, opened = heard
        assert isinstance(sealed, MessageSealed)
        assert (sealed.type, sealed.route, sealed.queue) == ("resize", "stored", desk.url)
        assert isinstance(opened, MessageOpened)
        assert (opened.claim_id, opened.size) == (sealed.claim_id, sealed.size)


class TestReceiving:
    @pytest.mark.parametrize("serializer", ["json", "pickle"])
    def test_a_large_message_arrives_equal_and_leaves_a_receipt(
        self, desk: Desk, serializer: str
    ) -> None:
        payload = {"text": LARGE, "more": [1, None, "é"]}
        desk.send(payload, serializer=serializer)
        assert is_sealed(desk.bodies()[0])
        assert desk.take(1) == [payload]
        assert desk.left() == Left(0, 1)
        assert desk.counts() == (0, 0)

    def test_kombus_simple_queue_works_too(self, desk: Desk) -> None:
        with closing(desk.connect().SimpleQueue(desk.name)) as queue:
            queue.put(LARGE)
            message = queue.get(timeout=20)
            assert message.payload == LARGE
            assert is_sealed(message.delivery_info["sqs_message"]["Body"])
            assert desk.left() == Left(1, 1)
            message.ack()
        assert desk.left() == Left(0, 1)

    def test_a_message_that_is_got_without_acknowledgement_is_done(self, desk: Desk) -> None:
        """kombu leaves it on the queue; what comes again is a duplicate."""
        desk.send(LARGE)
        channel = desk.connect().default_channel
        message = wait_for(lambda: channel.basic_get(desk.name, no_ack=True), "the message")
        assert message.payload == LARGE
        assert desk.left() == Left(0, 1)

    def test_a_message_that_is_requeued_comes_again(self, desk: Desk) -> None:
        desk.send(LARGE)
        assert desk.take(1, then="requeue") == [LARGE]
        assert desk.left() == Left(1, 0)
        assert desk.take(1) == [LARGE]

    def test_a_message_that_is_rejected_is_gone_with_its_claim(self, desk: Desk) -> None:
        """kombu deletes it, where no dead-letter queue would take it. Before 5.7 it never does."""
        desk.send(LARGE)
        assert desk.take(1, then="reject") == [LARGE]
        is_gone = VERSION >= (5, 7)
        assert desk.left() == (Left(0, 1) if is_gone else Left(1, 0))
        assert desk.counts() == ((0, 0) if is_gone else (0, 1))

    def test_a_connection_that_closes_gives_back_what_it_has(self, desk: Desk) -> None:
        desk.send(LARGE)
        connection = desk.connect()
        desk.take(1, connection, then="wait")
        assert desk.left() == Left(1, 1)
        connection.release()
        assert desk.left() == Left(1, 0)
        assert desk.take(1) == [LARGE]

    def test_a_duplicate_is_deleted_and_not_delivered(self, desk: Desk) -> None:
        desk.send(LARGE)
        [body] = desk.bodies()
        desk.take(1)
        desk.sqs.send_message(QueueUrl=desk.url, MessageBody=body)
        desk.send("next")
        assert desk.take(1) == ["next"]
        assert desk.counts() == (0, 0)

    def test_a_pointer_of_awss_client_is_handled_once(
        self, desk: Desk, ministack: AwsServer
    ) -> None:
        """As those send who have AWS's client in front of kombu's messages."""
        desk.send(LARGE, desk.plain())
        [message] = desk.sqs.receive_message(QueueUrl=desk.url)["Messages"]
        desk.sqs.delete_message(QueueUrl=desk.url, ReceiptHandle=message["ReceiptHandle"])
        bucket = ministack.make_bucket()
        with closing(ministack.s3()) as s3:
            s3.put_object(Bucket=bucket, Key="key", Body=b64decode(message["Body"]))
        pointer = str(AwsPointer(bucket, "key"))
        desk.sqs.send_message(QueueUrl=desk.url, MessageBody=pointer)
        check = ClaimCheck(desk.store.store, aws_pointers=[bucket])
        connection = with_claim_check(desk.plain(), check)
        with closing(connection), closing(check):
            assert desk.take(1, connection) == [LARGE]
        assert desk.counts() == (0, 0)
        [key] = desk.place.store._records
        record = desk.place.store.look_up(key)
        assert record is not None
        assert record.state == "done"

    def test_a_copy_waits_while_another_delivery_has_the_claim(self, desk: Desk) -> None:
        desk.send(LARGE)
        [body] = desk.bodies()
        desk.take(1, then="wait")
        desk.sqs.send_message(QueueUrl=desk.url, MessageBody=body)
        desk.send("next")
        assert desk.take(1) == ["next"]
        assert desk.counts() == (0, 2)
        assert desk.left() == Left(1, 1)

    def test_a_copy_comes_back_when_the_lease_of_the_other_delivery_ends(self, desk: Desk) -> None:
        desk.send(LARGE)
        [body] = desk.bodies()
        other = desk.check.open(body, lease_seconds=1)
        desk.send("next")
        assert desk.take(1) == ["next"]
        assert desk.store.calls["acquire"] > 1
        other.complete()
        wait_for(lambda: desk.counts() == (1, 0), "a message that is visible")  # not for 60 s
        desk.send("last")
        assert desk.take(1) == ["last"]
        assert desk.counts() == (0, 0)

    def test_the_lease_lasts_as_long_as_the_message_is_hidden(self, desk: Desk) -> None:
        desk.send(LARGE)
        connection = desk.connect()
        desk.take(1, connection, then="wait")
        assert 50 < desk.seconds_leased() < 60
        channel: Any = connection.default_channel
        [handle] = channel.qos._delivered
        channel.sqs(desk.name).change_message_visibility(
            QueueUrl=desk.url, ReceiptHandle=handle, VisibilityTimeout=600
        )
        assert 590 < desk.seconds_leased() < 600

    def test_a_claim_is_held_for_as_long_as_a_consumer_has_its_message(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kombu_claims, "_BEATS", 100)
        desk.send(LARGE)
        connection = desk.connect()
        desk.take(1, connection, then="wait")
        desk.clock.advance(50)
        wait_for(lambda: desk.seconds_leased() > 50, "a lease that was extended")
        connection.release()
        wait_for(lambda: not beating(), "a thread that ends")

    def test_what_cannot_be_opened_stays_on_the_queue_and_holds_nobody_up(self, desk: Desk) -> None:
        desk.store.fail("acquire")
        for payload in (LARGE, "first", LARGE + "other", "second"):
            desk.send(payload)
        assert len(desk.take(3)) == 3
        assert desk.counts() == (0, 1)
        assert desk.left() == Left(1, 1)

    def test_in_a_fifo_queue_nothing_overtakes_what_cannot_be_opened(
        self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closing(Desk(ministack, FifoQueue="true", VisibilityTimeout="60")) as desk:
            end_visibility_timeouts(desk, monkeypatch)
            desk.store.fail("acquire")
            payloads = [LARGE, "small", LARGE + "other"]
            for payload in payloads:
                desk.send(payload)
            assert desk.take(3) == payloads

    def test_a_handled_message_is_acknowledged_even_when_the_store_is_gone(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("claimcheck.core.holds.STORE_PAUSES_SECONDS", (0, 0))
        desk.send(LARGE)
        desk.store.fail("complete", times=ALWAYS)
        assert desk.take(1) == [LARGE]
        assert desk.counts() == (0, 0)

    def test_once_remembers_small_messages_too(self, desk: Desk) -> None:
        connection = with_claim_check(desk.plain(), desk.check, once=True)
        desk.send("small", connection)
        with closing(connection):
            assert desk.take(1, connection) == ["small"]
        assert desk.left() == Left(0, 1)

    def test_contents_may_be_left_to_expire(self, desk: Desk) -> None:
        connection = with_claim_check(desk.plain(), desk.check, purge="never")
        with closing(connection):
            desk.send(LARGE, connection)
            assert desk.take(1, connection) == [LARGE]
        assert desk.left() == Left(1, 1)


@pytest.mark.skipif(VERSION < (5, 7), reason="before kombu 5.7 there is no SNS")
class TestFanout:
    """What kombu sends through SNS."""

    def test_each_queue_has_a_large_message_once(self, ministack: AwsServer, desk: Desk) -> None:
        news, *names = [ministack.make_table_name() for _ in range(3)]
        queues = [Queue(name, Exchange(news, "fanout"), routing_key="") for name in names]
        plain = Connection(
            broker_url(ministack.endpoint_url or ""),
            transport_options={**transport_options({}), "supports_fanout": True},
        )
        taken: list[Any] = []

        def take(payload: object, message: Message) -> None:
            taken.append(payload)
            message.ack()

        with (
            closing(with_claim_check(plain, desk.check)) as connection,
            Consumer(connection, queues, callbacks=[take], accept=["json", "text/plain"]),
        ):
            producer = Producer(connection.default_channel, exchange=queues[0].exchange)
            for payload in (LARGE, "small"):
                producer.publish(payload)
            while len(taken) < 4:
                connection.drain_events(timeout=20)

        assert sorted(taken) == sorted([LARGE, LARGE, "small", "small"])
        assert desk.left() == Left(1, 2)  # contents that expire, and a receipt for each queue


class TestConnections:
    def test_pools_and_other_brokers_of_a_list_have_it(self, desk: Desk) -> None:
        plain = desk.plain()
        url = plain.as_uri(include_password=True)
        both = Connection(f"{url};{url}", transport_options=plain.transport_options)
        connection = with_claim_check(both, desk.check)
        connection.maybe_switch_next()
        with closing(connection):
            desk.send(LARGE, connection)
        with connection.Pool(1).acquire() as pooled:
            desk.send(LARGE, pooled)
            pooled.release()
        assert [is_sealed(body) for body in desk.bodies()] == [True, True]

    def test_the_last_of_two_counts_and_seals_once(self, desk: Desk) -> None:
        other = ClaimCheck(desk.place.elsewhere, threshold=500)
        connection = with_claim_check(with_claim_check(desk.plain(), other), desk.check)
        with closing(connection):
            desk.send(LARGE, connection)
        assert desk.left() == Left(1, 0)
        assert desk.take(1) == [LARGE]

    def test_connections_with_the_same_options_share_a_transport(self, desk: Desk) -> None:
        """kombu keeps each for as long as the process lives."""
        first = with_claim_check(desk.plain(), desk.check)
        again = with_claim_check(desk.plain(), desk.check)
        once = with_claim_check(desk.plain(), desk.check, once=True)
        assert first.transport_cls == again.transport_cls != once.transport_cls

    def test_the_connection_that_was_given_is_left_as_it_is(self, desk: Desk) -> None:
        plain = desk.plain()
        with_claim_check(plain, desk.check)
        desk.send(LARGE, plain)
        [body] = desk.bodies()
        assert json.loads(b64decode(body))["body"]

    def test_another_broker_is_refused(self) -> None:
        with pytest.raises(SettingsInvalid, match=r"the broker is memory, and .* SQS only"):
            with_claim_check(Connection("memory://"))
