"""A boto3 client of SQS with the claim check."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from claimcheck import (
    ClaimCheck,
    ClaimMissing,
    MessageNotOpened,
    SettingsInvalid,
    open_store,
)
from claimcheck.integrations.boto3 import attach
from claimcheck.integrations.incoming import Incoming, OnError
from claimcheck.integrations.receipt_handles import read_handle
from claimcheck.integrations.sqs import attributes_size
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Event
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.integrations.attached.malformed import MALFORMED
from tests.claimcheck.integrations.attached.messages import (
    LARGE,
    SMALL,
    receive,
    records,
    waiting,
)
from tests.claimcheck.integrations.attached.refusals import Refusals
from tests.claimcheck.integrations.workers import environment_on, kill, run_worker, wait_for_line
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


NOBODY = "http://127.0.0.1:1"


def to_nobody(*, attempts: int) -> SQSClient:
    """A client that nobody answers."""
    config = Config(retries={"total_max_attempts": attempts})
    return boto3.client("sqs", endpoint_url=NOBODY, config=config)


class TestAMessage:
    def test_of_2_mb_comes_as_it_was_sent_and_leaves_a_receipt(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        sent = sqs.send_message(
            QueueUrl=queue,
            MessageBody=LARGE,
            MessageAttributes={"kind": {"DataType": "String", "StringValue": "rush"}},
        )
        [message] = receive(sqs, queue, MessageAttributeNames=["All"])
        checksum = hashlib.md5(LARGE.encode(), usedforsecurity=False).hexdigest()
        assert message["Body"] == LARGE
        assert sent["MD5OfMessageBody"] == message["MD5OfBody"] == checksum
        assert message["MessageId"] == sent["MessageId"]
        assert message["MessageAttributes"]["kind"]["StringValue"] == "rush"
        assert "Attributes" not in message  # nobody has asked for them
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert (records(store), store._contents) == (["done"], {})
        assert waiting(sqs, queue) == (0, 0)

    def test_that_is_small_travels_untouched(
        self, sqs: SQSClient, plain: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=SMALL)
        [message] = receive(plain, queue, VisibilityTimeout=0)
        assert message["Body"] == SMALL
        [message] = receive(sqs, queue, AttributeNames=["SentTimestamp"])
        assert (message["Body"], list(message["Attributes"])) == (SMALL, ["SentTimestamp"])
        assert read_handle(message["ReceiptHandle"]) is None
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert (records(store), waiting(sqs, queue)) == ([], (0, 0))

    def test_is_settled_by_any_process_with_the_same_store(
        self, sqs: SQSClient, other: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [message] = receive(sqs, queue)
        handle = message["ReceiptHandle"]
        other.change_message_visibility(
            QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=1200
        )
        record = store.look_up(*store._records)
        assert record is not None
        assert record.seconds_left > 1000
        other.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
        assert records(store) == []
        [again] = receive(other, queue)
        assert again["Body"] == LARGE
        sqs.delete_message_batch(
            QueueUrl=queue, Entries=[{"Id": "a", "ReceiptHandle": again["ReceiptHandle"]}]
        )
        assert (records(store), store._contents) == (["done"], {})

    def test_that_was_handled_is_deleted_and_left_out(
        self, sqs: SQSClient, plain: SQSClient, queue: str
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [sealed] = receive(plain, queue, VisibilityTimeout=0)
        [message] = receive(sqs, queue)
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        plain.send_message(QueueUrl=queue, MessageBody=sealed["Body"])
        sqs.send_message(QueueUrl=queue, MessageBody=SMALL)
        assert [each["Body"] for each in receive(sqs, queue)] == [SMALL]
        assert waiting(plain, queue) == (0, 1)

    def test_that_was_handled_is_told_of_where_that_is_asked_for(
        self,
        ministack: AwsServer,
        check: ClaimCheck,
        plain: SQSClient,
        queue: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        sqs = attach(ministack.sqs(), check, on_duplicate="raise")
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [sealed] = receive(plain, queue, VisibilityTimeout=0)
        [message] = receive(sqs, queue)
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        plain.send_message(QueueUrl=queue, MessageBody=sealed["Body"])

        assert receive(sqs, queue) == []

        assert "was handled before" in caplog.text
        assert waiting(plain, queue) == (0, 1)  # nobody deleted it
        sqs.close()

    def test_works_with_resources(
        self, ministack: AwsServer, check: ClaimCheck, queue: str, store: MemoryClaimStore
    ) -> None:
        resource = boto3.resource("sqs")
        attach(resource.meta.client, check)
        there = resource.Queue(queue)
        there.send_message(MessageBody=LARGE)
        [message] = there.receive_messages()
        assert message.body == LARGE
        message.delete()
        assert records(store) == ["done"]
        resource.meta.client.close()

    def test_once_keeps_a_record_of_each(
        self, ministack: AwsServer, check: ClaimCheck, queue: str, store: MemoryClaimStore
    ) -> None:
        client = attach(ministack.sqs(), check, once=True)
        client.send_message(QueueUrl=queue, MessageBody=SMALL)
        [message] = receive(client, queue)
        client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert records(store) == ["done"]
        client.close()


class TestFifo:
    @pytest.fixture
    def queue(self, ministack: AwsServer) -> str:
        return ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")

    def test_deduplicates_by_the_original(self, sqs: SQSClient, queue: str) -> None:
        for _ in range(2):
            sqs.send_message(QueueUrl=queue, MessageBody=LARGE, MessageGroupId="a")
        assert len(receive(sqs, queue)) == 1

    def test_keeps_the_order_behind_a_message_that_cannot_be_opened(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        for group, body in (("a", LARGE), ("a", SMALL), ("b", "other")):
            sqs.send_message(QueueUrl=queue, MessageBody=body, MessageGroupId=group)
        contents, store._contents = store._contents, {}
        assert [each["Body"] for each in receive(sqs, queue, VisibilityTimeout=0)] == ["other"]
        store._contents = contents
        assert receive(sqs, queue)[0]["Body"] == LARGE

    def test_a_large_one_behind_it_waits_too_and_is_not_lost(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        second = LARGE + " "
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE, MessageGroupId="a")
        [missing], contents = store._contents, dict(store._contents)
        sqs.send_message(QueueUrl=queue, MessageBody=second, MessageGroupId="a")
        del store._contents[missing]
        assert receive(sqs, queue, VisibilityTimeout=0) == []
        assert records(store) == []
        store._contents.update(contents)
        assert [each["Body"] for each in receive(sqs, queue)] == [LARGE, second]


class TestWhatCannotBeOpened:
    @pytest.fixture(autouse=True)
    def lost(self, sqs: SQSClient, queue: str, store: MemoryClaimStore) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        sqs.send_message(QueueUrl=queue, MessageBody=SMALL)
        store._contents.clear()

    def test_is_left_out_and_fails_no_other(
        self,
        sqs: SQSClient,
        queue: str,
        events: list[Event],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert [each["Body"] for each in receive(sqs, queue)] == [SMALL]
        assert waiting(sqs, queue) == (0, 2)
        [event] = [each for each in events if isinstance(each, MessageNotOpened)]
        assert (event.type, event.queue, event.receive_count) == ("order:new", queue, 1)
        assert isinstance(event.error, ClaimMissing)
        assert f"Message {event.message_id} is left out of the answer, and stays on" in caplog.text

    def test_is_passed_on_as_it_is_where_that_is_asked_for(
        self, ministack: AwsServer, check: ClaimCheck, queue: str
    ) -> None:
        client = attach(ministack.sqs(), check, on_error="pass")
        bodies = [each["Body"] for each in receive(client, queue)]
        assert (len(bodies), sum(map(is_sealed, bodies))) == (2, 1)
        client.close()


def test_half_a_character_in_an_envelope_fails_no_other_message(
    sqs: SQSClient, plain: SQSClient, queue: str, check: ClaimCheck
) -> None:
    carried = check.seal('{"claimCheck":1}').text
    fields = {"Type": "Notification", "TopicArn": "a", "Subject": "\ud800", "Message": carried}
    plain.send_message(QueueUrl=queue, MessageBody=json.dumps(fields))
    plain.send_message(QueueUrl=queue, MessageBody=SMALL)
    envelope, small = sorted(receive(sqs, queue), key=lambda each: "payload" in each["Body"])
    assert json.loads(envelope["Body"]) == {**fields, "Message": '{"claimCheck":1}'}
    assert small["Body"] == SMALL


def test_an_answer_of_which_nothing_is_left_is_as_sqs_gives_it(
    sqs: SQSClient, queue: str, store: MemoryClaimStore
) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
    store._contents.clear()
    answer: Any = sqs.receive_message(QueueUrl=queue)
    assert (answer.keys(), waiting(sqs, queue)) == ({"ResponseMetadata"}, (0, 1))


class TestWhatIsHeld:
    """A message that another delivery works on."""

    @pytest.fixture
    def copy(self, sqs: SQSClient, plain: SQSClient, queue: str) -> str:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [sealed] = receive(plain, queue, VisibilityTimeout=0)
        return str(sealed["Body"])

    @pytest.mark.parametrize("on_error", ["leave", "pass"])
    def test_is_left_out_whatever_the_option(
        self,
        ministack: AwsServer,
        check: ClaimCheck,
        plain: SQSClient,
        queue: str,
        copy: str,
        *,
        on_error: OnError,
    ) -> None:
        client = attach(ministack.sqs(), check, on_error=on_error)
        assert len(receive(client, queue)) == 1
        plain.send_message(QueueUrl=queue, MessageBody=copy)
        assert receive(client, queue) == []
        assert waiting(plain, queue) == (0, 2)
        client.close()

    def test_keeps_its_lease_where_sqs_refuses_to_hide_it_for_longer(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore, copy: str
    ) -> None:
        [message] = receive(sqs, queue)
        with pytest.raises(ClientError):
            sqs.change_message_visibility(
                QueueUrl=queue + "-gone",
                ReceiptHandle=message["ReceiptHandle"],
                VisibilityTimeout=40_000,
            )
        record = store.look_up(*store._records)
        assert record is not None
        assert record.seconds_left < 700

    def test_is_given_back_where_the_user_does_not_get_it(
        self,
        sqs: SQSClient,
        queue: str,
        store: MemoryClaimStore,
        copy: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Incoming, "_left", fail)
        with pytest.raises(KeyboardInterrupt):
            receive(sqs, queue)
        assert records(store) == []


class TestWhatIsNotSent:
    def test_leaves_nothing_in_the_store(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        with pytest.raises(ClientError):
            sqs.send_message(QueueUrl=queue + "-gone", MessageBody=LARGE)
        with pytest.raises(ParamValidationError):
            sqs.send_message(QueueUrl=queue, MessageBody=LARGE, Odd=1)  # type: ignore[call-arg]  # on purpose
        assert store._contents == {}

    def test_leaves_nothing_where_nobody_listens(
        self, check: ClaimCheck, queue: str, store: MemoryClaimStore
    ) -> None:
        client = attach(to_nobody(attempts=1), check)
        with pytest.raises(EndpointConnectionError):
            client.send_message(QueueUrl=queue, MessageBody=LARGE)
        entries: Any = [{"Id": "a", "MessageBody": LARGE}]
        with pytest.raises(EndpointConnectionError):
            client.send_message_batch(QueueUrl=queue, Entries=entries)
        assert store._contents == {}
        client.close()

    def test_leaves_nothing_where_there_are_no_credentials(
        self, check: ClaimCheck, queue: str, store: MemoryClaimStore, no_credentials: None
    ) -> None:
        client = attach(boto3.Session().client("sqs"), check)
        with pytest.raises(NoCredentialsError):
            client.send_message(QueueUrl=queue, MessageBody=LARGE)
        assert store._contents == {}
        client.close()

    @pytest.mark.parametrize("wrong", [{"MessageBody": 5}, {"MessageBody": ""}, {"QueueUrl": 5}])
    def test_is_left_to_botocore_and_sqs(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises((ParamValidationError, ClientError)):
            sqs.send_message(**{"QueueUrl": queue, "MessageBody": LARGE, **wrong})
        assert store._contents == {}


def test_half_a_character_in_an_attribute_is_left_to_sqs() -> None:
    assert attributes_size({"a": {"DataType": "String", "StringValue": "\ud800"}}) == 10


class TestWhatBotocoreTriesAgain:
    def test_is_sealed_once(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        refusals = Refusals(sqs, "SendMessage", (503, "ServiceUnavailable"))
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        assert (refusals.asked, len(store._contents)) == (2, 1)
        [message] = receive(sqs, queue)
        assert message["Body"] == LARGE

    def test_keeps_its_claim_where_it_may_have_arrived_before_it_was_refused(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        Refusals(sqs, "SendMessage", (503, "ServiceUnavailable"), (400, "InvalidParameterValue"))
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        assert len(store._contents) == 1

    def test_keeps_its_claim_where_sqs_cannot_be_reached_after_it_may_have_arrived(
        self,
        check: ClaimCheck,
        queue: str,
        store: MemoryClaimStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        client = attach(to_nobody(attempts=2), check)
        lost = [ReadTimeoutError(endpoint_url=NOBODY)]

        def lose(**_: object) -> None:
            if lost:
                raise lost.pop()

        client.meta.events.register("before-send.sqs.SendMessage", lose)
        with pytest.raises(EndpointConnectionError):
            client.send_message(QueueUrl=queue, MessageBody=LARGE)
        assert (lost, len(store._contents) > 0) == ([], True)
        client.close()


@pytest.mark.parametrize(("method", "wrong"), MALFORMED)
def test_malformed_arguments_are_left_to_botocore(
    sqs: SQSClient, queue: str, method: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ParamValidationError):
        getattr(sqs, method)(QueueUrl=queue, **wrong)


class TestAttach:
    def test_gives_back_the_client_and_counts_once(
        self, ministack: AwsServer, check: ClaimCheck, queue: str, store: MemoryClaimStore
    ) -> None:
        client = ministack.sqs()
        assert attach(attach(client, ClaimCheck(MemoryClaimStore())), check) is client
        client.send_message(QueueUrl=queue, MessageBody=LARGE)
        assert len(store._records) == 0
        assert len(store._contents) > 0
        client.close()

    @pytest.mark.parametrize(
        ("client", "named"),
        [("sns", r"a client of SNS.*claimcheck\.integrations\.sns"), (None, "NoneType")],
    )
    def test_refuses_what_is_no_client_of_sqs(
        self, ministack: AwsServer, client: Any, named: str
    ) -> None:
        given = ministack.sns() if client == "sns" else None
        with pytest.raises(SettingsInvalid, match=named):
            attach(given)  # type: ignore[type-var]  # on purpose
        if given is not None:
            given.close()

    def test_refuses_options_that_it_does_not_know(self, plain: SQSClient) -> None:
        with pytest.raises(SettingsInvalid, match="on_error"):
            attach(plain, on_error="drop")  # type: ignore[arg-type]  # on purpose

    def test_refuses_to_keep_contents_in_one_process(
        self, ministack: AwsServer, queue: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for client in (
            attach(ministack.sqs(), ClaimCheck(MemoryClaimStore(), purge="before")),
            attach(ministack.sqs(), ClaimCheck(MemoryClaimStore()), purge="before"),
        ):
            with pytest.raises(SettingsInvalid, match="another may settle it"):
                client.receive_message(QueueUrl=queue)
            client.close()

    def test_a_wrong_setting_shows_before_anything_is_received(
        self, sqs: SQSClient, ministack: AwsServer, queue: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        monkeypatch.setenv("CLAIMCHECK_STORE", "nonsense")
        client = attach(ministack.sqs())
        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_STORE"):
            client.receive_message(QueueUrl=queue)
        assert waiting(sqs, queue) == (1, 0)
        client.close()


def test_a_message_of_a_process_that_is_killed_comes_again(
    ministack: AwsServer, tmp_path: Path
) -> None:
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    queue = ministack.make_queue(VisibilityTimeout="15")
    client = attach(ministack.sqs(), ClaimCheck(store := open_store(f"dynamodb://{table}")))
    client.send_message(QueueUrl=queue, MessageBody=LARGE)
    environment = environment_on(ministack, CLAIMCHECK_STORE=f"dynamodb://{table}")
    log = tmp_path / "log"
    with run_worker(
        "tests.claimcheck.integrations.attached.consumer", queue, environment=environment, log=log
    ) as process:
        wait_for_line(log, f"received {len(LARGE)}")
        kill(process)
    got: list[Any] = []
    while not got:
        got = receive(client, queue, WaitTimeSeconds=5)
    assert got[0]["Body"] == LARGE
    client.delete_message(QueueUrl=queue, ReceiptHandle=got[0]["ReceiptHandle"])
    store.close()
    items = ministack.dynamodb().scan(TableName=table)["Items"]
    assert [item["state"] for item in items] == [{"S": "done"}]
    client.close()
