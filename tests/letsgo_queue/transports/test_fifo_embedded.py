"""FIFO queues in a SQLite file and in memory, beyond the contract that they share with SQS."""

from __future__ import annotations

import hashlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue import QueueSettings, SendFailed, SettingsInvalid
from letsgo_queue.admin import QueueOptions, QueueStatus, create_queue, open_admin
from letsgo_queue.admin.sqlite import SqliteAdmin
from letsgo_queue.failure import Failure
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import OutgoingMessage, Transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.support import bodies, outgoing, receive, receive_one


def sent_to(transport: Transport, names: str) -> None:
    """Send messages named by their group and number: `"a1 a2 b1"`."""
    for name in names.split():
        transport.send(outgoing(name, group_id=name[0]))


class EmbeddedFifoContract(ABC):
    """What an embedded FIFO queue does."""

    @pytest.fixture
    @abstractmethod
    def queue(self) -> object: ...

    def test_one_message_of_each_group_is_in_flight(self, queue: Transport) -> None:
        sent_to(queue, "a1 a2 b1 a3 b2")

        first = receive(queue)
        assert [message.body for message in first] == ["a1", "b1"]
        assert receive(queue) == []
        queue.delete(first[0])
        assert [message.body for message in receive(queue)] == ["a2"]
        queue.delete_batch(first[1:])
        assert [message.body for message in receive(queue)] == ["b2"]

    def test_a_message_that_waits_for_its_retry_holds_up_its_group_only(
        self, queue: Transport, clock: Clock
    ) -> None:
        sent_to(queue, "a1 a2 b1")
        a1, b1 = receive(queue)
        queue.change_visibility(a1, 60)
        queue.delete(b1)

        clock.advance(59)
        assert receive(queue) == []
        clock.advance(1)
        assert receive_one(queue).body == "a1"

    def test_a_delivery_whose_time_is_over_comes_first_again(
        self, queue: Transport, clock: Clock
    ) -> None:
        sent_to(queue, "a1 a2")
        receive_one(queue, visibility_timeout=30)
        clock.advance(30)

        again = receive_one(queue)

        assert (again.body, again.receive_count) == ("a1", 2)

    def test_a_dead_letter_lets_its_group_go_on(self, queue: Transport) -> None:
        sent_to(queue, "a1 a2")

        assert queue.move_to_dead_letters(receive_one(queue), Failure.because("no use"))

        assert receive_one(queue).body == "a2"

    def test_what_takes_the_place_of_a_delivery_takes_its_place_in_the_group(
        self, queue: Transport
    ) -> None:
        sent_to(queue, "a1 a2")

        queue.send_on(receive_one(queue), outgoing("new", group_id="a"))

        new = receive_one(queue)
        assert (new.body, new.receive_count) == ("new", 1)
        queue.delete(new)
        assert receive_one(queue).body == "a2"

    def test_a_new_message_waits_for_one_in_flight_and_not_for_one_that_is_gone(
        self, queue: Transport
    ) -> None:
        sent_to(queue, "a1")
        a1 = receive_one(queue)
        sent_to(queue, "a2")
        assert receive(queue) == []
        queue.delete(a1)
        queue.delete(receive_one(queue))

        sent_to(queue, "a3")

        assert receive_one(queue).body == "a3"

    def test_a_deduplication_id_is_known_for_five_minutes(
        self, queue: Transport, clock: Clock
    ) -> None:
        def send() -> str:
            return queue.send(outgoing("a", group_id="g", deduplication_id="same"))

        first = send()
        queue.delete(receive_one(queue))
        clock.advance(299)
        assert send() == first
        assert receive(queue) == []
        clock.advance(1)  # from the first one, not from its duplicate

        second = send()

        assert receive_one(queue).message_id == second != first

    def test_a_batch_may_have_duplicates(self, queue: Transport) -> None:
        message = outgoing("a", group_id="g", deduplication_id="same")

        first, again, other = queue.send_batch([message, message, outgoing("b", group_id="h")])

        assert first == again != other
        assert bodies(queue) == ["a", "b"]

    def test_an_id_and_a_body_are_the_same_to_it_as_to_sqs(self, queue: Transport) -> None:
        """Whoever sends the SHA-256 of the body as the id sends the same message."""
        queue.send(outgoing("a", group_id="g"))
        digest = hashlib.sha256(b"a").hexdigest()

        queue.send(outgoing("other", group_id="g", deduplication_id=digest))

        queue.delete(receive_one(queue))
        assert receive(queue) == []

    @pytest.mark.parametrize(
        ("message", "text"),
        [
            (outgoing(), "is FIFO: say which messages keep their order"),
            (outgoing(group_id="g", delay_seconds=1), "no delay for single messages"),
        ],
    )
    def test_refuses_a_message_that_no_client_has_checked(
        self, queue: Transport, message: OutgoingMessage, text: str
    ) -> None:
        good = outgoing("good", group_id="g")

        with pytest.raises(SendFailed, match=text) as refused:
            queue.send(message)
        of_batch = queue.send_batch([message, good])

        assert not refused.value.retryable
        assert isinstance(of_batch[0], SendFailed)
        assert bodies(queue) == ["good"]


class TestMemory(EmbeddedFifoContract):
    @pytest.fixture
    def queue(self, clock: Clock) -> MemoryTransport:
        return MemoryTransport("memory://?fifo=true", clock=clock)


class TestSqlite(EmbeddedFifoContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/queue.db?fifo=true&max_receive_count=2"

    @pytest.fixture
    def queue(self, url: str, clock: Clock) -> Iterator[SqliteTransport]:
        with closing(SqliteTransport(url, clock=clock)) as transport:
            yield transport

    @pytest.fixture
    def admin(self, url: str, clock: Clock) -> Iterator[SqliteAdmin]:
        with closing(SqliteAdmin(url, clock=clock)) as admin:
            yield admin

    def test_processes_share_its_order_and_its_ids(
        self, queue: SqliteTransport, url: str, clock: Clock
    ) -> None:
        sent_to(queue, "a1 a2")
        taken = receive_one(queue)

        with closing(SqliteTransport(url, clock=clock)) as other:
            assert receive(other) == []
            sent_to(other, "a2")
            other.delete(taken)
            queue.delete(receive_one(queue))

            assert receive(queue) == []

    def test_what_was_received_too_often_lets_its_group_go_on(
        self, queue: SqliteTransport, admin: SqliteAdmin
    ) -> None:
        sent_to(queue, "a1 a2")
        for _ in range(2):
            assert bodies(queue) == ["a1"]

        assert receive_one(queue).body == "a2"
        assert [letter.body for letter in admin.dead_letters()] == ["a1"]

    def test_those_that_wait_behind_others_are_counted_as_waiting(
        self, queue: SqliteTransport, admin: SqliteAdmin
    ) -> None:
        sent_to(queue, "a1 a2 a3")
        receive_one(queue)

        assert admin.status() == QueueStatus(waiting=2, in_flight=1, delayed=0, dead=0)
        assert admin.purge() == 3
        sent_to(queue, "a4")
        assert receive_one(queue).body == "a4"

    def test_redriven_messages_go_to_the_end_of_their_groups(
        self, queue: SqliteTransport, admin: SqliteAdmin
    ) -> None:
        sent_to(queue, "a1 a2 a3")
        for _ in range(2):
            queue.move_to_dead_letters(receive_one(queue), Failure.because("no use"))

        assert admin.redrive() == 2

        order = []
        while messages := receive(queue):
            (message,) = messages
            order.append(message.body)
            queue.delete(message)
        assert order == ["a3", "a1", "a2"]

    @pytest.mark.parametrize(
        "change",
        [
            "DELETE FROM queue_messages WHERE body = 'a1'",
            "UPDATE queue_messages SET group_id = x'00' WHERE body = 'a1'",
            "UPDATE queue_messages SET attributes = 'no JSON' WHERE body = 'a1'",
            "UPDATE queue_messages SET visible_at = 'soon' WHERE body = 'a1'",
        ],
    )
    def test_a_group_goes_on_without_a_damaged_row(
        self, queue: SqliteTransport, url: str, change: str
    ) -> None:
        sent_to(queue, "a1 a2 a3")
        path = url.removeprefix("sqlite:///").partition("?")[0]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(change)

        a2 = receive_one(queue)
        assert receive(queue) == []
        queue.delete(a2)

        assert (a2.body, receive_one(queue).body) == ("a2", "a3")

    def test_a_file_is_of_one_kind(self, queue: SqliteTransport, url: str) -> None:
        sent_to(queue, "a1")

        with (
            closing(SqliteTransport(url.partition("?")[0])) as other,
            pytest.raises(SettingsInvalid, match=r"holds a FIFO queue\. Say fifo=true in its URL"),
        ):
            other.send(outgoing())
        assert bodies(queue) == ["a1"]

    def test_create_makes_one(self, tmp_path: Path) -> None:
        url = create_queue(f"sqlite:///{tmp_path}/q.db", QueueSettings(), QueueOptions(fifo=True))

        assert url == f"sqlite:///{tmp_path}/q.db?fifo=true"
        with closing(open_admin(url, QueueSettings())) as admin:
            assert admin.status() == QueueStatus(0, 0, 0, 0)
        with pytest.raises(SettingsInvalid, match="the URL says fifo=False, the option True"):
            create_queue(f"{url[:-4]}false", QueueSettings(), QueueOptions(fifo=True))


@pytest.mark.parametrize("url", ["memory://q?fifo=true", "sqlite:///q.db?fifo=true"])
def test_the_url_says_how_it_deduplicates(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    by_content = open_transport(url, QueueSettings())
    by_id = open_transport(f"{url}&content_based_deduplication=false", QueueSettings())

    assert by_content.fifo
    assert by_content.content_based_deduplication()
    assert not by_id.content_based_deduplication()
    with pytest.raises(SendFailed, match="does not go by content: give a deduplication_id"):
        by_id.send(outgoing(group_id="g"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("memory://?fifa=true", "fifa: there is no such name; there are fifo, content_based_"),
        ("memory://?fifo=perhaps", "fifo: Input should be a valid boolean"),
        ("sqlite:///q.db?fifo=", "fifo: Input should be a valid boolean"),
    ],
)
def test_refuses_a_wrong_option(url: str, text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        open_transport(url, QueueSettings())


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{folder}/q.db"])
def test_a_group_on_a_standard_queue_holds_nobody_up(url: str, tmp_path: Path) -> None:
    """It makes a fair queue."""
    with closing(open_transport(url.format(folder=tmp_path), QueueSettings())) as queue:
        sent_to(queue, "a1 a2 b1 a2")

        assert [(m.body, m.group_id) for m in receive(queue)] == [
            ("a1", "a"),
            ("a2", "a"),
            ("b1", "b"),
            ("a2", "a"),
        ]
