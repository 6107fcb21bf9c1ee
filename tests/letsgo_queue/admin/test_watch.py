"""Looking at a queue: its age, its traffic, and the messages that wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client
from letsgo_queue.admin.sqlite_watch import SqliteWatch
from letsgo_queue.admin.sqs_watch import SqsWatch
from letsgo_queue.admin.watch import Minute, open_watch
from letsgo_queue.errors import QueueNotFound, SettingsInvalid
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.admin.test_letters import IN_SNS
from tests.letsgo_queue.support import order, outgoing, receive_one
from tests.support.servers import AwsServer

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class TestSqlite:
    @pytest.fixture
    def queue(self, tmp_path: Path, clock: Clock) -> SqliteTransport:
        clock.now = NOON.timestamp()
        return SqliteTransport(f"sqlite:///{tmp_path}/queue.db", clock=clock)

    @pytest.fixture
    def watch(self, queue: SqliteTransport, clock: Clock) -> SqliteWatch:
        return SqliteWatch(queue.url, clock=clock)

    def test_traffic_is_what_came_and_went(
        self, queue: SqliteTransport, watch: SqliteWatch, clock: Clock
    ) -> None:
        client = Client(queue)
        for number in range(3):
            client.enqueue(order(number=number))
            clock.advance(60)
        (first,) = queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=None)
        queue.delete(first)

        traffic = watch.traffic()

        assert (traffic.sent, traffic.removed) == (3, 1)
        assert traffic.oldest_sent_at == NOON + timedelta(seconds=60)
        assert traffic.minutes is None

    def test_a_peek_shows_messages_by_state_and_leaves_them_as_they_are(
        self, queue: SqliteTransport, watch: SqliteWatch, clock: Clock
    ) -> None:
        client = Client(queue)
        client.enqueue(order(number=1), attributes={"tenant": "a"})
        in_hand = receive_one(queue)
        client.enqueue(order(number=2))
        client.enqueue(order(number=3), delay_seconds=90)

        states = [(each.state, each.receive_count) for each in watch.peek(limit=9).messages]
        (waiting,) = watch.peek(limit=9, state="waiting").messages
        (delayed,) = watch.peek(limit=9, state="delayed").messages

        assert states == [("in flight", 1), ("waiting", 0), ("delayed", 0)]
        assert waiting.body == '{"type":"order:new","payload":{"number":2}}'
        assert delayed.due_at == NOON + timedelta(seconds=90)
        found = watch.message(in_hand.message_id)
        assert found is not None
        assert found.attributes["tenant"].value == "a"
        assert [each.receive_count for each in watch.peek(limit=9).messages] == [1, 0, 0]

    def test_what_is_in_an_envelope_is_told_too(
        self, queue: SqliteTransport, watch: SqliteWatch
    ) -> None:
        queue.send(outgoing(IN_SNS))

        (seen,) = watch.peek(limit=9).messages

        assert (seen.type, seen.route, seen.whole_size) == ("order:new", "stored", 5_000_000)

    def test_pages(self, queue: SqliteTransport, watch: SqliteWatch) -> None:
        Client(queue).enqueue_many([order(number=number) for number in range(5)])
        bodies: list[str] = []
        after: int | None = None
        while True:
            peek = watch.peek(limit=2, after=after)
            bodies += [each.body for each in peek.messages]
            after = peek.after
            if after is None:
                break

        assert [body.partition('number":')[2][0] for body in bodies] == list("01234")

    @pytest.mark.parametrize("value", ["soon", 1e300])
    def test_a_damaged_row_is_shown_as_far_as_it_goes(
        self, queue: SqliteTransport, watch: SqliteWatch, value: object
    ) -> None:
        client = Client(queue)
        client.enqueue(order())
        with queue._file.transaction() as connection:
            connection.execute(
                "UPDATE queue_messages SET attributes = 'x', sent_at = ?, visible_at = ?",
                (value, value),
            )

        (found,) = watch.peek(limit=9).messages

        assert (found.type, found.due_at) == ("order:new", None)
        assert (watch.traffic().oldest_sent_at, watch.traffic().sent) == (None, 1)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(QueueNotFound, match="there is no file"):
            SqliteWatch(f"sqlite:///{tmp_path}/none.db").traffic()


class TestSqs:
    def test_what_is_in_an_envelope_is_told_too(self, ministack: AwsServer) -> None:
        url = ministack.make_queue()
        SqsTransport(url).send(outgoing(IN_SNS))

        (seen,) = SqsWatch(url).peek(limit=9).messages

        assert (seen.type, seen.route, seen.whole_size) == ("order:new", "stored", 5_000_000)

    @pytest.fixture(autouse=True)
    def no_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("letsgo_queue.admin.sqs_watch.WAIT_SECONDS", 0)

    def test_a_peek_receives_and_gives_back(self, ministack: AwsServer) -> None:
        url = ministack.make_queue()
        Client(url).enqueue_many([order(number=number) for number in range(12)])
        watch = SqsWatch(url)

        seen = watch.peek(limit=100).messages
        again = watch.peek(limit=100).messages

        assert len(seen) == len(again) == 12
        assert {each.receive_count for each in seen} == {1}
        assert {each.receive_count for each in again} == {2}
        assert watch.message(seen[0].message_id) is None

    def test_traffic_is_what_cloudwatch_has(self, ministack: AwsServer) -> None:
        url = ministack.make_queue()
        minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
        boto3.client("cloudwatch", endpoint_url=ministack.endpoint_url).put_metric_data(
            Namespace="AWS/SQS",
            MetricData=[
                {
                    "MetricName": name,
                    "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
                    "Timestamp": minute,
                    "Value": value,
                }
                for name, value in (
                    ("NumberOfMessagesSent", 30),
                    ("NumberOfMessagesDeleted", 20),
                    ("ApproximateAgeOfOldestMessage", 600),
                )
            ],
        )

        traffic = SqsWatch(url).traffic()

        assert traffic.minutes == (Minute(minute, 30, 20),)
        assert traffic.oldest_sent_at is not None
        age = datetime.now(UTC) - traffic.oldest_sent_at
        assert timedelta(seconds=590) < age < timedelta(seconds=700)
        assert traffic.missing is None

    def test_where_cloudwatch_does_not_answer_the_rest_is_there(self, ministack: AwsServer) -> None:
        url = ministack.make_queue().replace("127.0.0.1", "127.0.0.2").replace("localhost", "::2")

        traffic = SqsWatch(url).traffic()

        assert traffic.minutes is None
        assert "cloudwatch:GetMetricData" in (traffic.missing or "")


def test_a_queue_of_one_process_has_nothing_to_look_at() -> None:
    with pytest.raises(SettingsInvalid, match="another process"):
        open_watch("memory://", QueueSettings())
