"""The contract of looking after a queue, kept on SQLite and on SQS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from letsgo_queue import Message, QueueSettings, Reject, SettingsInvalid, Worker
from letsgo_queue.admin import (
    DeadLetterFilter,
    LetterResult,
    QueueOptions,
    QueueStatus,
    Retention,
    create_queue,
    open_admin,
)
from letsgo_queue.admin.sqs_visit import BEGINNING_SECONDS
from letsgo_queue.failure import Failure
from letsgo_queue.transports import open_transport
from tests.letsgo_queue.admin.support import Queue, make_sqs_queue
from tests.letsgo_queue.support import COMPLETE, TRACE, outgoing, receive, running
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for


class AdminContract(ABC):
    """What can be done with every queue that has dead letters after one receive."""

    @pytest.fixture
    @abstractmethod
    def url(self) -> object: ...

    @pytest.fixture
    def queue(self, url: str) -> Queue:
        settings = QueueSettings(queue_url=url)
        return Queue(open_transport(None, settings), open_admin(None, settings))

    def test_status_counts_each_message_where_it_is(self, queue: Queue) -> None:
        queue.kill("dead")
        for number in range(3):
            queue.transport.send(outgoing(f"waiting {number}"))
        queue.transport.send(outgoing("delayed", delay_seconds=900))
        assert queue.admin.status() == QueueStatus(waiting=3, in_flight=0, delayed=1, dead=1)

        (first, *_) = queue.transport.receive(
            max_messages=1, wait_seconds=1, visibility_timeout=600
        )
        assert queue.admin.status() == QueueStatus(waiting=2, in_flight=1, delayed=1, dead=1)

        queue.transport.delete(first)
        assert queue.admin.status() == QueueStatus(waiting=2, in_flight=0, delayed=1, dead=1)

    def test_says_how_long_messages_are_kept(self, queue: Queue) -> None:
        assert queue.admin.retention() == self.retention

    retention: Retention | None

    def test_purge_leaves_dead_letters_alone(self, queue: Queue) -> None:
        queue.kill("dead")
        for number in range(2):
            queue.transport.send(outgoing(f"waiting {number}"))
        queue.transport.send(outgoing("delayed", delay_seconds=900))
        assert len(receive(queue.transport, visibility_timeout=600)) == 2

        assert queue.admin.purge() in {3, None}

        wait_for(lambda: queue.admin.status() == QueueStatus(0, 0, 0, 1), "the purge")

    def test_lists_dead_letters_and_leaves_them(self, queue: Queue) -> None:
        body = '{"type":"order:new","payload":"Grüße"}'
        started = datetime.now(UTC)
        queue.kill(body, "no lines", COMPLETE)
        queue.kill("no json", "unreadable")

        first, second = queue.admin.dead_letters()
        again = queue.admin.dead_letters()

        assert (first.type, first.body, first.reason) == ("order:new", body, "no lines")
        assert first.attributes == COMPLETE
        assert first.size == outgoing(body, attributes=COMPLETE).size
        assert abs(first.sent_at - started) < timedelta(seconds=10)
        assert (second.type, second.body, second.reason) == (None, "no json", "unreadable")
        assert [letter.message_id for letter in again] == [first.message_id, second.message_id]
        assert queue.admin.status().dead == 2
        assert "no json" not in repr(second)

    def test_lists_no_more_than_asked_for(self, queue: Queue) -> None:
        for number in range(3):
            queue.kill(str(number))

        assert len(queue.admin.dead_letters(limit=2)) == 2
        assert len(queue.admin.dead_letters(limit=5)) == 3

    def test_what_was_received_too_often_is_dead_without_a_reason(self, queue: Queue) -> None:
        queue.transport.send(outgoing("poison"))
        assert len(receive(queue.transport, visibility_timeout=0, wait_seconds=1)) == 1
        wait_for(
            lambda: receive(queue.transport) == [] and queue.admin.status().dead == 1, "the move"
        )

        (letter,) = queue.admin.dead_letters()

        assert (letter.body, letter.reason) == ("poison", None)

    def test_redrive_puts_them_back_oldest_first(self, queue: Queue) -> None:
        for number in range(12):
            options = {} if number % 2 else {"trace_header": TRACE, "group_id": "tenant"}
            queue.kill(f"{number:02}", attributes=COMPLETE, **options)
        results: list[LetterResult] = []
        ids = [letter.message_id for letter in queue.admin.dead_letters()]

        assert queue.admin.redrive(progress=results.append) == 12

        assert queue.admin.status() == QueueStatus(12, 0, 0, 0)
        assert sorted(result.message_id for result in results) == sorted(ids)
        assert {result.error for result in results} == {None}
        taken = queue.take_all(12)
        assert sorted(message.body for message in taken) == [f"{number:02}" for number in range(12)]
        for message in taken:
            assert message.attributes == COMPLETE
            traced = int(message.body) % 2 == 0
            assert message.trace_header == (TRACE if traced else None)
            assert message.group_id == ("tenant" if traced else None)
            assert message.receive_count == 1

    def test_redrive_takes_only_as_many_as_asked_for(self, queue: Queue) -> None:
        for number in range(3):
            queue.kill(str(number))

        assert queue.admin.redrive(limit=2) == 2

        assert queue.admin.status() == QueueStatus(2, 0, 0, 1)
        assert len(queue.admin.dead_letters()) == 1

    def test_redrive_takes_only_those_that_are_named(self, queue: Queue) -> None:
        for body in ("stay", "go", "stay too"):
            queue.kill(body)
        (named,) = [x.message_id for x in queue.admin.dead_letters() if x.body == "go"]

        assert queue.admin.redrive(only=DeadLetterFilter(ids=[named, "no-such-id"])) == 1

        assert [message.body for message in queue.take_all(1)] == ["go"]
        assert {letter.body for letter in queue.admin.dead_letters()} == {"stay", "stay too"}

    @pytest.mark.parametrize(
        ("only", "meant"),
        [
            (DeadLetterFilter(types=["order:new"]), {"order:new"}),
            (DeadLetterFilter(errors=["NoStock", "shop.Other"]), {"order:new", "refund"}),
            (DeadLetterFilter(errors=["shop.stock.NoStock"], types=["refund", "mail"]), {"refund"}),
            (DeadLetterFilter(older_than=timedelta(hours=1)), {"refund"}),
            (DeadLetterFilter(older_than=10_800), set()),
            (DeadLetterFilter(ids=[]), set()),
            (DeadLetterFilter(), {"order:new", "refund", "mail"}),
        ],
    )
    def test_a_filter_says_which_are_meant(
        self, queue: Queue, only: DeadLetterFilter, meant: set[str]
    ) -> None:
        died = {"order:new": timedelta(), "refund": timedelta(hours=2)}
        for message_type, ago in died.items():
            failed_at = datetime.now(UTC) - ago
            failure = Failure(reason="r", error="shop.stock.NoStock", failed_at=failed_at)
            queue.kill(f'{{"type":"{message_type}"}}', failure)
        queue.kill('{"type":"mail"}', "the reason is all that is known")
        everything = {letter.type for letter in queue.admin.dead_letters()}

        assert {letter.type for letter in queue.admin.dead_letters(only=only)} == meant
        assert queue.admin.delete(only=only) == len(meant)
        assert {letter.type for letter in queue.admin.dead_letters()} == everything - meant

    def test_a_limit_below_0_is_refused(self, queue: Queue) -> None:
        queue.kill("poor thing")

        for call in (queue.admin.dead_letters, queue.admin.redrive, queue.admin.delete):
            with pytest.raises(SettingsInvalid, match="limit=-1: give 0 or more"):
                call(limit=-1)

        assert queue.admin.status().dead == 1

    def test_delete_removes_them_for_good(self, queue: Queue) -> None:
        for number in range(12):
            queue.kill(f'{{"type":"n","payload":{number}}}')
        ids = [letter.message_id for letter in queue.admin.dead_letters()]
        results: list[LetterResult] = []

        assert queue.admin.delete(limit=1) == 1
        assert queue.admin.delete(progress=results.append) == 11
        assert queue.admin.delete() == 0

        assert queue.admin.status() == QueueStatus(0, 0, 0, 0)
        assert len({result.message_id for result in results} & set(ids)) == 11
        assert {(result.type, result.error) for result in results} == {("n", None)}

    def test_redriven_message_can_die_and_be_redriven_again(self, queue: Queue) -> None:
        queue.kill("poor thing", "first")
        queue.admin.redrive()
        (message,) = wait_for(lambda: receive(queue.transport, wait_seconds=1), "the message")
        queue.transport.move_to_dead_letters(message, Failure.because("second"))

        (letter,) = queue.admin.dead_letters()
        assert letter.reason == "second"
        assert queue.admin.redrive() == 1
        assert [message.body for message in queue.take_all(1)] == ["poor thing"]

    def test_a_letter_moves_once_though_a_worker_rejects_it_again_at_once(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        letters = 12  # more than one request takes
        monkeypatch.setattr("letsgo_queue.admin.sqs_visit.BEGINNING_SECONDS", BEGINNING_SECONDS)
        for number in range(letters):
            queue.kill(f'{{"type":"order:new","payload":{number}}}')
        rejected: list[int] = []
        worker = Worker(queue.transport, wait_seconds=1)

        @worker.handler("order:new")
        def give_up(message: Message[int]) -> None:
            rejected.append(message.payload)
            raise Reject("still no use")

        def all_dead_again(*_: object) -> None:
            wait_for(lambda: queue.admin.status().dead == letters, "all letters to be dead")

        with running(worker):
            assert queue.admin.redrive(progress=all_dead_again) == letters
            all_dead_again()

        assert sorted(rejected) == list(range(letters))
        assert queue.admin.status() == QueueStatus(0, 0, 0, letters)

    def test_redrive_of_nothing_moves_nothing(self, queue: Queue) -> None:
        queue.transport.send(outgoing())

        assert queue.admin.redrive() == 0

        assert queue.admin.status() == QueueStatus(1, 0, 0, 0)


class TestSqlite(AdminContract):
    retention = None  # for as long as nobody handles them

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        options = QueueOptions(max_receive_count=1)
        return create_queue(f"sqlite:///{tmp_path}/queue.db", QueueSettings(), options)


class TestSqs(AdminContract):
    retention = Retention(queue=4 * 24 * 3600, dead=4 * 24 * 3600)  # what SQS does unasked

    @pytest.fixture
    def url(self, aws: AwsServer) -> str:
        return make_sqs_queue(aws)
