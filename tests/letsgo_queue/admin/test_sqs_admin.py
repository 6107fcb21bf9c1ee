"""Looking after an SQS queue, beyond the contract: what AWS has that a file has not."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from letsgo_queue import (
    QueueNotFound,
    QueueSettings,
    QueueUnavailable,
    SendFailed,
    SettingsInvalid,
    list_letsgo_queues,
)
from letsgo_queue.admin import (
    DeadLetterFilter,
    LetterResult,
    QueueOptions,
    QueueStatus,
    create_queue,
    open_admin,
)
from letsgo_queue.admin.sqs import SqsAdmin
from letsgo_queue.errors import DeadLettersLeft, MessageTooLarge
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.admin.support import Queue, make_sqs_queue
from tests.letsgo_queue.support import outgoing, receive, receive_one
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def queue_at(url: str, client: SQSClient | None = None) -> Queue:
    return Queue(SqsTransport(url), SqsAdmin(url, client=client))


def refuse(
    client: SQSClient, operation: str, code: str = "AccessDenied", status: int = 403
) -> None:
    """Have a client refuse an operation, as SQS would."""

    class Answer:
        status_code = status

    answer = {
        "Error": {
            # botocore gives the old name of an error, and the modelled one beside it.
            "Code": f"AWS.SimpleQueueService.{code}",
            "QueryErrorCode": code,
            "Message": f"no sqs:{operation}",
        },
        "ResponseMetadata": {"HTTPStatusCode": status},
    }

    def give(**_: object) -> Any:
        return Answer(), answer

    client.meta.events.register(f"before-call.sqs.{operation}", give)


def bodies_of_letters(queue: Queue) -> list[str]:
    return sorted(letter.body for letter in queue.admin.dead_letters())


class TestRedrive:
    def test_what_is_not_sent_stays_and_is_visible(self, ministack: AwsServer) -> None:
        url = make_sqs_queue(ministack)
        queue_at(url).kill("stays")
        sqs = ministack.sqs()
        refuse(sqs, "SendMessageBatch")

        with pytest.raises(DeadLettersLeft, match="0 dead letters were moved") as refused:
            SqsAdmin(url, client=sqs).redrive()

        (letter,) = queue_at(url).admin.dead_letters()
        assert (refused.value.done, list(refused.value.errors)) == (0, [letter.message_id])
        assert isinstance(refused.value.errors[letter.message_id], SendFailed)
        assert letter.message_id in str(refused.value)
        assert "stays" not in str(refused.value)
        assert queue_at(url).admin.status() == QueueStatus(0, 0, 0, 1)

    def test_what_is_not_deleted_stays_and_is_visible(self, ministack: AwsServer) -> None:
        url = make_sqs_queue(ministack)
        queue_at(url).kill("stays")
        sqs = ministack.sqs()
        refuse(sqs, "DeleteMessageBatch")
        results: list[LetterResult] = []

        with pytest.raises(DeadLettersLeft, match="0 dead letters were deleted, 1 were not"):
            SqsAdmin(url, client=sqs).delete(progress=results.append)

        (letter,) = queue_at(url).admin.dead_letters()
        assert [result.message_id for result in results] == [letter.message_id]
        assert "no sqs:DeleteMessageBatch" in str(results[0].error)

    def test_a_crash_before_the_delete_doubles_a_message_and_loses_none(
        self, ministack: AwsServer
    ) -> None:
        url = make_sqs_queue(ministack)
        queue_at(url).kill("once or twice")
        sqs = ministack.sqs()
        refuse(sqs, "DeleteMessageBatch")

        with pytest.raises(DeadLettersLeft) as refused:
            SqsAdmin(url, client=sqs).redrive()

        (error,) = refused.value.errors.values()
        assert isinstance(error, QueueUnavailable)
        assert f"it is on {url} again, and a dead letter still" in str(error)
        assert "no sqs:DeleteMessageBatch" in str(error)
        assert "Delete the dead letter. Another redrive would send it twice." in str(refused.value)
        assert queue_at(url).admin.redrive() == 1
        assert [m.body for m in queue_at(url).take_all(2)] == ["once or twice"] * 2

    def test_one_that_is_too_large_holds_nobody_up(self, aws: AwsServer) -> None:
        url = make_sqs_queue(aws, MaximumMessageSize="300000")
        queue = queue_at(url)
        for body in ("first", "x" * 290_000, "last"):
            queue.kill(body)
        aws.sqs().set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "270000"})

        with pytest.raises(DeadLettersLeft, match="2 dead letters were moved") as refused:
            queue_at(url).admin.redrive()

        (error,) = refused.value.errors.values()
        assert isinstance(error, MessageTooLarge)
        assert sorted(message.body for message in queue.take_all(2)) == ["first", "last"]
        assert queue.admin.status().dead == 1

    def test_large_letters_fit_together_in_no_request_and_go_all_the_same(
        self, aws: AwsServer
    ) -> None:
        queue = queue_at(make_sqs_queue(aws, MaximumMessageSize="262144"))
        for number in range(6):
            queue.kill(str(number) * 200_000)

        assert queue.admin.redrive() == 6

        assert sorted(message.body[0] for message in queue.take_all(6)) == list("012345")

    def test_letters_of_another_queue_are_left_alone(self, ministack: AwsServer) -> None:
        """MiniStack says, as SQS does, which queue a letter was moved from."""
        one = make_sqs_queue(ministack)
        policy = ministack.sqs().get_queue_attributes(
            QueueUrl=one, AttributeNames=["RedrivePolicy"]
        )["Attributes"]["RedrivePolicy"]
        other = ministack.make_queue(RedrivePolicy=policy)
        for url, body in ((one, "ours"), (other, "theirs")):
            queue = queue_at(url)
            queue.transport.send(outgoing(body))
            receive_one(queue.transport, visibility_timeout=0)
            assert receive(queue.transport) == []

        assert queue_at(one).admin.status().dead == 2
        assert bodies_of_letters(queue_at(one)) == ["ours"]
        assert queue_at(one).admin.redrive() == 1
        assert bodies_of_letters(queue_at(other)) == ["theirs"]

    def test_a_letter_that_comes_again_hides_none_that_is_still_to_come(
        self, ministack: AwsServer
    ) -> None:
        url = make_sqs_queue(ministack)
        for number in range(11):  # one more than a receive takes
            queue_at(url).kill(f"letter {number}")
        sqs = ministack.sqs()
        answers: list[Any] = []

        def keep(parsed: Any, **_: object) -> None:
            answers.append(parsed)

        def give_the_first_again(**_: object) -> Any:
            """As SQS does where a visit takes longer than a letter stays invisible."""

            class Answer:
                status_code = 200

            return (Answer(), answers[0]) if len(answers) == 1 else None

        sqs.meta.events.register("after-call.sqs.ReceiveMessage", keep)
        sqs.meta.events.register("before-call.sqs.ReceiveMessage", give_the_first_again)
        only = DeadLetterFilter(older_than=0)

        assert SqsAdmin(url, client=sqs).redrive(only=only) == 11
        assert queue_at(url).admin.status() == QueueStatus(11, 0, 0, 0)

    def test_one_that_breaks_off_leaves_the_rest_visible(self, ministack: AwsServer) -> None:
        """Ctrl-C, for instance."""
        queue = queue_at(make_sqs_queue(ministack))
        for number in range(5):
            queue.kill(str(number))

        def break_off(_: LetterResult) -> None:
            raise KeyboardInterrupt

        (first, *_) = queue.admin.dead_letters()
        with pytest.raises(KeyboardInterrupt):
            queue.admin.redrive(only=DeadLetterFilter(ids=[first.message_id]), progress=break_off)

        assert bodies_of_letters(queue) == ["1", "2", "3", "4"]
        assert queue.admin.status().waiting == 1

    def test_fifo_keeps_order_and_group_and_is_not_deduplicated(self, aws: AwsServer) -> None:
        """Without a new deduplication id, SQS would take each for the message that it was."""
        queue = queue_at(make_sqs_queue(aws, FifoQueue="true", ContentBasedDeduplication="true"))
        for number in range(5):
            queue.kill(str(number), group_id="group")

        assert queue.admin.redrive() == 5

        taken = queue.take_all(5)
        assert [message.body for message in taken] == ["0", "1", "2", "3", "4"]
        assert {message.group_id for message in taken} == {"group"}


class TestWithoutDeadLetterQueue:
    def test_status_says_so(self, aws: AwsServer) -> None:
        assert queue_at(aws.make_queue()).admin.status() == QueueStatus(0, 0, 0, None)

    def test_dead_letters_are_an_error_that_says_what_to_do(self, ministack: AwsServer) -> None:
        admin = queue_at(ministack.make_queue()).admin

        with pytest.raises(QueueNotFound, match=r"has no dead-letter queue.*queue create"):
            admin.dead_letters()
        with pytest.raises(QueueNotFound, match="has no dead-letter queue"):
            admin.redrive()


class TestErrors:
    def test_a_queue_that_does_not_exist(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        aws.sqs().delete_queue(QueueUrl=url)
        admin = queue_at(url).admin

        for look in (admin.status, admin.purge, admin.dead_letters, admin.redrive):
            with pytest.raises(QueueNotFound, match="does not exist"):
                look()

    def test_a_second_purge_within_a_minute_says_to_wait(self, ministack: AwsServer) -> None:
        """No emulator keeps to this rule of SQS unasked."""
        sqs = ministack.sqs()
        refuse(sqs, "PurgeQueue", "PurgeQueueInProgress")

        with pytest.raises(QueueUnavailable, match="one purge in 60 seconds") as refused:
            SqsAdmin(ministack.make_queue(), client=sqs).purge()

        assert refused.value.retryable

    def test_letters_that_cannot_be_made_visible_are_listed_all_the_same(
        self, ministack: AwsServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = make_sqs_queue(ministack)
        queue_at(url).kill("dead")
        sqs = ministack.sqs()
        refuse(sqs, "ChangeMessageVisibilityBatch")

        assert bodies_of_letters(queue_at(url, sqs)) == ["dead"]

        assert "no sqs:ChangeMessageVisibilityBatch" in caplog.text
        assert "That ends in 60 s" in caplog.text

    def test_what_is_not_permitted_is_named(self, ministack: AwsServer) -> None:
        url = ministack.make_queue()
        sqs = ministack.sqs()
        refuse(sqs, "GetQueueAttributes")

        with pytest.raises(QueueUnavailable, match="no sqs:GetQueueAttributes") as refused:
            SqsAdmin(url, client=sqs).status()

        assert not refused.value.retryable


class TestCreate:
    @pytest.fixture
    def name(self, aws: AwsServer) -> Iterator[str]:
        name = f"letsgo-claimcheck-test-{uuid.uuid4().hex[:8]}"
        yield name
        for page in aws.sqs().get_paginator("list_queues").paginate(QueueNamePrefix=name):
            for url in page.get("QueueUrls", []):
                aws.sqs().delete_queue(QueueUrl=url)

    @pytest.fixture
    def settings(self, aws: AwsServer) -> QueueSettings:
        return QueueSettings(region=aws.region, deployment="claimcheck-test")

    def attributes_of(self, aws: AwsServer, url: str) -> dict[str, str]:
        answer = aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return {str(name): value for name, value in answer["Attributes"].items()}

    def test_makes_a_queue_that_moves_what_fails_and_keeps_it_as_long_as_sqs_can(
        self, aws: AwsServer, name: str, settings: QueueSettings
    ) -> None:
        url = create_queue(name, settings)
        again = create_queue(name, settings)

        assert url == again == create_queue(url, settings)
        assert url.endswith(f"/{name}")
        made = self.attributes_of(aws, url)
        assert made["VisibilityTimeout"] == "30"
        assert made["MessageRetentionPeriod"] == "1209600"
        assert made["MaximumMessageSize"] == "1048576"
        policy = json.loads(made["RedrivePolicy"])
        assert int(policy["maxReceiveCount"]) == 5
        assert policy["deadLetterTargetArn"].endswith(f":{name}-dead-letters")
        dead = self.attributes_of(aws, f"{url}-dead-letters")
        assert dead["MessageRetentionPeriod"] == "1209600"
        assert open_admin(url, settings).status() == QueueStatus(0, 0, 0, 0)

    def test_the_deployment_finds_its_queue(self, name: str, settings: QueueSettings) -> None:
        url = create_queue(name, settings, QueueOptions(deployment="claimcheck-test"))

        assert open_transport(None, settings).url == url
        assert open_admin(None, settings).url == url
        assert create_queue(name, settings, QueueOptions(deployment="claimcheck-test")) == url

    def test_it_is_as_letsgos_lambda_function_needs_it(
        self, aws: AwsServer, name: str, settings: QueueSettings
    ) -> None:
        """Lambda takes no queue whose visibility timeout is below the function's 60 s."""
        url = create_queue(name, settings, QueueOptions(deployment=name))

        assert self.attributes_of(aws, url)["VisibilityTimeout"] == "360"

    def test_a_second_queue_of_a_deployment_is_refused(
        self, name: str, settings: QueueSettings
    ) -> None:
        settings = settings.model_copy(update={"deployment": name})
        first = create_queue(name, settings, QueueOptions(deployment=name))

        with pytest.raises(SettingsInvalid, match=f"has a queue, {re.escape(first)}, and"):
            create_queue(f"{name}-2", settings, QueueOptions(deployment=name))

        assert list_letsgo_queues(name, settings=settings) == [first]
        assert open_transport(None, settings).url == first

    def test_a_fifo_queue_has_a_fifo_dead_letter_queue(
        self, name: str, settings: QueueSettings
    ) -> None:
        url = create_queue(name, settings, QueueOptions(fifo=True, max_receive_count=1))

        assert url.endswith(f"/{name}.fifo")
        assert create_queue(f"{name}.fifo", settings, QueueOptions(max_receive_count=1)) == url
        queue = queue_at(url)
        queue.kill("dead", group_id="group", deduplication_id="one")
        assert bodies_of_letters(queue) == ["dead"]

    def test_a_queue_that_is_there_and_differs_is_not_changed(
        self, aws: AwsServer, name: str, settings: QueueSettings
    ) -> None:
        url = create_queue(name, settings, QueueOptions(visibility_timeout=60))
        before = self.attributes_of(aws, url)
        options = QueueOptions(max_receive_count=3, deployment="other", visibility_timeout=90)

        with pytest.raises(SettingsInvalid) as refused:
            create_queue(name, settings, options)

        text = str(refused.value)
        assert "VisibilityTimeout is 60, not 90" in text
        assert f"RedrivePolicy is 5 receives, then {name}-dead-letters, not 3 receives" in text
        assert "LetsGoDeployment is not set, not other" in text
        assert self.attributes_of(aws, url) == before

    def test_only_the_options_that_are_given_are_compared(
        self, aws: AwsServer, name: str, settings: QueueSettings
    ) -> None:
        """With a queue that somebody made in his own way, and that has no dead-letter queue."""
        url = aws.sqs().create_queue(QueueName=name, Attributes={"VisibilityTimeout": "45"})[
            "QueueUrl"
        ]
        before = self.attributes_of(aws, url)
        existing: list[str] = []

        for options in (QueueOptions(), QueueOptions(visibility_timeout=45)):
            assert create_queue(name, settings, options, on_existing=existing.append) == url

        assert existing == [url, url]
        assert self.attributes_of(aws, url) == before
        with pytest.raises(aws.sqs().exceptions.QueueDoesNotExist):
            aws.sqs().get_queue_url(QueueName=f"{name}-dead-letters")

    @pytest.mark.parametrize(
        ("bad", "options", "text"),
        [
            ("no spaces", QueueOptions(), "letters, digits"),
            ("x" * 68, QueueOptions(), "room for 67"),
            ("x" * 63 + ".fifo", QueueOptions(), "room for 62"),
            ("orders", QueueOptions(deployment="main"), "Name it 'letsgo-orders'"),
        ],
    )
    def test_refuses_a_name_without_asking_sqs(
        self, bad: str, options: QueueOptions, text: str
    ) -> None:
        with pytest.raises(SettingsInvalid, match=text):
            create_queue(bad, QueueSettings(), options)
