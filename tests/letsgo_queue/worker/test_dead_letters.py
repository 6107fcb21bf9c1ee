"""What a worker leaves with a message that failed for the last time."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from letsgo_queue import (
    Client,
    Event,
    LetsGoError,
    Message,
    MessageFailed,
    MessageInvalid,
    MessageRejected,
    Middleware,
    QueueSettings,
    QueueUnavailable,
    Retry,
    SettingsInvalid,
    Steps,
    Worker,
)
from letsgo_queue.admin import DeadLetter, QueueAdmin, QueueOptions, create_queue, open_admin
from letsgo_queue.attributes import FAILURE
from letsgo_queue.failure import Failure
from letsgo_queue.limits import ANY_QUEUE_BYTES, MAX_MESSAGE_BYTES
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.admin.support import make_sqs_queue
from tests.letsgo_queue.admin.test_sqs_admin import refuse
from tests.letsgo_queue.aws_lambda.lambda_events import Context, event_of, receive_event
from tests.letsgo_queue.support import SECRET, events_of, order, receive, receive_one, running
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

    from letsgo_queue.settings import DeadLetterErrors


class NoStock(Exception):
    """Its text quotes a payload."""


def take_from_stock(message: Mapping[str, Any]) -> None:
    raise NoStock(f"of {message['payload']}")


class Lines(BaseModel):
    lines: list[str]


def takes_lines(message: Message[Lines]) -> None: ...


def work(
    queue: str | SqsTransport,
    handler: Callable[[Any], object] = take_from_stock,
    **options: Any,
) -> Event:
    """Run a worker until its first message is settled; what became of it."""
    worker = Worker(queue, wait_seconds=1, **options)
    worker.handler("order:new")(handler)
    events = events_of(worker)
    with running(worker):
        wait_for(lambda: events, "the failure")
    return events[0]


def failure_of(letter: DeadLetter) -> Failure:
    assert letter.failure is not None
    return letter.failure


class LastReceive(ABC):
    """A queue that allows one receive."""

    @pytest.fixture
    @abstractmethod
    def url(self) -> object: ...

    @pytest.fixture
    def admin(self, url: str) -> Iterator[QueueAdmin]:
        with closing(open_admin(url, QueueSettings())) as admin:
            yield admin

    def test_the_letter_says_what_failed_where_and_when(self, url: str, admin: QueueAdmin) -> None:
        Client(url).enqueue(order(card=SECRET), attributes={"who": "me"})

        event = work(url)

        assert isinstance(event, MessageRejected)
        (letter,) = admin.dead_letters()
        failure = failure_of(letter)
        assert failure.reason == "failed in delivery 1, max_receive_count=1: NoStock"
        assert failure.error == f"{NoStock.__module__}.NoStock"
        assert failure.place is not None
        assert failure.place.file == "tests/letsgo_queue/worker/test_dead_letters.py"
        assert failure.place.function == "take_from_stock"
        assert failure.place.line == take_from_stock.__code__.co_firstlineno + 1
        assert failure.attempts == letter.attempts == 1
        assert failure.worker == f"{socket.gethostname()}:{os.getpid()}"
        assert failure.first_received_at is not None
        assert failure.failed_at == letter.since
        for moment in (failure.first_received_at, failure.failed_at):
            assert abs(datetime.now(UTC) - moment) < timedelta(minutes=2)
        assert failure.text is None
        assert SECRET not in failure.model_dump_json()
        assert letter.attributes.keys() == {"who"}
        assert letter.type == "order:new"
        assert event.message_id in {letter.message_id, letter.earlier_id}
        assert admin.status().waiting == admin.status().in_flight == 0

    def test_an_error_of_the_library_has_its_text(self, url: str, admin: QueueAdmin) -> None:
        Client(url).enqueue({"type": "order:new", "payload": {"lines": SECRET}})

        work(url, takes_lines)

        failure = failure_of(admin.dead_letters()[0])
        assert failure.error == "letsgo_queue.errors.MessageInvalid"
        assert failure.text is not None
        assert "payload.lines (list_type)" in failure.text
        assert SECRET not in failure.model_dump_json()

    @pytest.mark.parametrize(
        "error",
        [Retry(SECRET), LetsGoError(SECRET), MessageInvalid(SECRET)],
        ids=lambda error: type(error).__name__,
    )
    def test_an_error_that_a_handler_raised_has_no_text(
        self, url: str, admin: QueueAdmin, error: LetsGoError
    ) -> None:
        def give_up(message: dict[str, Any]) -> None:
            raise error

        Client(url).enqueue(order())

        work(url, give_up)

        failure = failure_of(admin.dead_letters()[0])
        assert failure.text is None
        assert SECRET not in failure.model_dump_json()

    def test_an_error_of_the_library_that_a_handler_had_it_raise_has_no_text(
        self, url: str, admin: QueueAdmin
    ) -> None:
        def enqueue_payload(message: dict[str, Any]) -> None:
            Client("memory://").enqueue({"type": f"letsgo:{message['payload']['secret']}"})

        Client(url).enqueue(order(secret=SECRET))

        work(url, enqueue_payload)

        failure = failure_of(admin.dead_letters()[0])
        assert failure.error == "letsgo_queue.errors.MessageInvalid"
        assert failure.text is None
        assert SECRET not in failure.model_dump_json()

    def test_the_text_is_there_if_it_is_asked_for(self, url: str, admin: QueueAdmin) -> None:
        Client(url).enqueue(order(card=SECRET))

        work(url, dead_letter_errors="full")

        (letter,) = admin.dead_letters()
        assert failure_of(letter).text == f"of {{'card': '{SECRET}'}}"


class TestOnSqlite(LastReceive):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return sqlite_queue(tmp_path)


class TestOnSqs(LastReceive):
    @pytest.fixture
    def url(self, aws: AwsServer) -> str:
        return make_sqs_queue(aws)

    def test_ten_attributes_leave_no_room_and_the_log_says_why(
        self, url: str, admin: QueueAdmin, caplog: pytest.LogCaptureFixture
    ) -> None:
        attributes = {f"name-{number}": SECRET for number in range(10)}
        Client(url).enqueue(order(), attributes=attributes)

        work(url)

        (letter,) = admin.dead_letters()
        assert letter.failure is None
        assert letter.attributes.keys() == attributes.keys()
        (line,) = [each for each in caplog.messages if "does not say why" in each]
        assert "test_dead_letters.py:" in line
        assert SECRET not in line

    def test_where_letters_must_be_smaller_than_messages_it_is_shortened(
        self, aws: AwsServer, url: str, admin: QueueAdmin
    ) -> None:
        dead_url = SqsTransport(url).dead_letter_url()
        assert dead_url is not None
        for each, limit in [(url, MAX_MESSAGE_BYTES), (dead_url, ANY_QUEUE_BYTES)]:
            attributes: dict[QueueAttributeNameType, str] = {"MaximumMessageSize": str(limit)}
            aws.sqs().set_queue_attributes(QueueUrl=each, Attributes=attributes)
        message = {"type": "order:new", "payload": {"lines": SECRET}}
        room = ANY_QUEUE_BYTES - len(json.dumps(message)) - 500
        Client(url).enqueue({**message, "filler": "x" * room})

        assert isinstance(work(url, takes_lines), MessageRejected)

        (letter,) = admin.dead_letters()
        failure = failure_of(letter)
        assert failure.error == "letsgo_queue.errors.MessageInvalid"
        assert failure.text is None

    def test_a_worker_that_may_not_send_there_leaves_it_to_the_queue(
        self, aws: AwsServer, url: str, admin: QueueAdmin, caplog: pytest.LogCaptureFixture
    ) -> None:
        Client(url).enqueue(order())
        with closing(aws.sqs()) as client:
            refuse(client, "SendMessage")
            event = work(SqsTransport(url, client=client), visibility_timeout=1)

        assert isinstance(event, MessageFailed)
        assert "no sqs:SendMessage" in caplog.text
        is_left_to_the_queue(url, admin)

    def test_a_message_that_cannot_be_deleted_is_there_twice_and_not_lost(
        self, aws: AwsServer, url: str, admin: QueueAdmin
    ) -> None:
        Client(url).enqueue(order())
        with closing(aws.sqs()) as client:
            refuse(client, "DeleteMessage")
            work(SqsTransport(url, client=client), visibility_timeout=1)

        transport = Client(url).transport()
        wait_for(lambda: receive(transport) == [] and admin.status().dead == 2, "the redrive")
        first, second = (letter.failure for letter in admin.dead_letters())
        assert (first is None) is not (second is None)

    def test_a_worker_that_may_not_ask_leaves_it_to_the_queue(
        self, aws: AwsServer, url: str, admin: QueueAdmin
    ) -> None:
        Client(url).enqueue(order())
        with closing(aws.sqs()) as client:
            refuse(client, "GetQueueAttributes")
            event = work(SqsTransport(url, client=client), visibility_timeout=1)

        assert isinstance(event, MessageFailed)
        is_left_to_the_queue(url, admin)


def is_left_to_the_queue(url: str, admin: QueueAdmin) -> None:
    """A message is moved when it is received again."""
    transport = Client(url).transport()
    wait_for(lambda: receive(transport) == [] and admin.status().dead == 1, "the queue's redrive")
    (letter,) = admin.dead_letters()
    assert (letter.failure, letter.type) == (None, "order:new")


def test_on_a_fifo_queue_the_next_of_its_group_follows(aws: AwsServer) -> None:
    url = make_sqs_queue(aws, FifoQueue="true", ContentBasedDeduplication="true")
    for number in range(2):
        Client(url).enqueue(order(n=number), group_id="group")
    handled: list[int] = []
    worker = Worker(url, wait_seconds=1)

    @worker.handler("order:new")
    def handle(message: dict[str, Any]) -> None:
        if message["payload"]["n"] == 0:
            take_from_stock(message)
        handled.append(message["payload"]["n"])

    with running(worker):
        wait_for(lambda: handled, "the second message")

    with closing(open_admin(url, QueueSettings())) as admin:
        (letter,) = admin.dead_letters()
    assert handled == [1]
    assert str(failure_of(letter).error).endswith(".NoStock")
    assert letter.group_id == "group"


class TestInLambda:
    @pytest.fixture
    def worker(self) -> Worker:
        worker = Worker()
        worker.handler("order:new")(take_from_stock)
        return worker

    def test_the_last_delivery_moves_it(
        self, aws: AwsServer, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
        url = make_sqs_queue(aws, max_receives=2)
        Client(url).enqueue(order(card=SECRET))
        receive_one(Client(url).transport(), visibility_timeout=0)
        event = wait_for(lambda: (e := receive_event(aws, url))["Records"] and e, "the event")

        answer = worker.lambda_handler(event, Context())

        assert answer == {"batchItemFailures": []}
        with closing(open_admin(url, QueueSettings())) as admin:
            (letter,) = admin.dead_letters()
        failure = failure_of(letter)
        assert (failure.attempts, failure.worker) == (2, "orders")
        assert failure.place is not None
        assert failure.place.function == "take_from_stock"
        assert failure.first_received_at is not None
        assert SECRET not in failure.model_dump_json()

    def test_a_first_delivery_that_fails_asks_nothing_of_the_queue(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr(SqsTransport, "max_receives", lambda queue: asked.append(queue.url))
        event = event_of('{"type":"order:new","payload":{}}')

        worker.lambda_handler(event, Context())
        assert asked == []

        (record,) = event["Records"]
        again = {**record["attributes"], "ApproximateReceiveCount": "2"}
        worker.lambda_handler({"Records": [{**record, "attributes": again}]}, Context())
        assert asked == ["https://sqs.us-east-2.amazonaws.com/123456789012/my-queue"]


def sqlite_queue(folder: Path) -> str:
    options = QueueOptions(max_receive_count=1)
    return create_queue(f"sqlite:///{folder}/queue.db", QueueSettings(), options)


class Unopened(Middleware):
    """Cannot open a message."""

    def __init__(self, error: LetsGoError) -> None:
        self._error = error

    def handle(self, message: IncomingMessage, /) -> Steps:
        yield from ()
        raise self._error


def test_an_outage_in_the_last_receive_is_named(tmp_path: Path) -> None:
    url = sqlite_queue(tmp_path)
    Client(url).enqueue(order())

    event = work(url, middleware=[Unopened(QueueUnavailable("the store is down"))])

    assert isinstance(event, MessageRejected)
    with closing(open_admin(url, QueueSettings())) as admin:
        (letter,) = admin.dead_letters()
    assert failure_of(letter).error == "letsgo_queue.errors.QueueUnavailable"


def test_what_another_delivery_has_is_not_moved(tmp_path: Path) -> None:
    """It may be handled yet."""
    url = sqlite_queue(tmp_path)
    Client(url).enqueue(order())
    held = QueueUnavailable("another delivery has it")
    held.retry_after = 0.0

    event = work(url, middleware=[Unopened(held)], visibility_timeout=600)

    assert isinstance(event, MessageFailed)
    with closing(open_admin(url, QueueSettings())) as admin:
        assert admin.status().dead == 0


def test_a_handler_that_took_too_long_has_its_own_place(tmp_path: Path) -> None:
    url = sqlite_queue(tmp_path)
    Client(url).enqueue(order())
    worker = Worker(url)

    @worker.handler("order:new", timeout=0.1)
    async def handle(message: dict[str, Any]) -> None:
        await asyncio.sleep(600)

    worker.run(burst=True)

    with closing(open_admin(url, QueueSettings())) as admin:
        (letter,) = admin.dead_letters()
    failure = failure_of(letter)
    assert failure.error == "letsgo_queue.errors.HandlerTimedOut"
    assert failure.place is not None
    assert failure.place.function == "test_a_handler_that_took_too_long_has_its_own_place.handle"


@pytest.mark.parametrize(
    ("environment", "given", "has_text"),
    [("full", None, True), ("", None, False), ("full", "place", False), ("place", "full", True)],
)
def test_code_wins_over_the_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    given: DeadLetterErrors | None,
    has_text: bool,
) -> None:
    monkeypatch.setenv("LETSGO_DEAD_LETTER_ERRORS", environment)
    url = sqlite_queue(tmp_path)
    Client(url).enqueue(order())

    work(url, dead_letter_errors=given)

    with closing(open_admin(url, QueueSettings())) as admin:
        (letter,) = admin.dead_letters()
    assert (failure_of(letter).text is not None) is has_text


def test_what_cannot_be_meant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsInvalid, match=r"dead_letter_errors='all': give 'place'.* 'full'"):
        Worker("memory://", dead_letter_errors="all")  # type: ignore[arg-type]  # wrong on purpose
    monkeypatch.setenv("LETSGO_DEAD_LETTER_ERRORS", "all")
    with pytest.raises(SettingsInvalid, match="LETSGO_DEAD_LETTER_ERRORS='all'"):
        Worker("memory://").run(burst=True)


def test_a_queue_that_cannot_be_reached_is_asked_once_a_minute() -> None:
    with closing(SqsTransport("http://127.0.0.1:9/1/queue", region="us-west-2")) as queue:
        with pytest.raises(QueueUnavailable, match="could not be read: "):
            queue.max_receives()
        with pytest.raises(QueueUnavailable, match="could not be read a moment ago"):
            queue.max_receives()


def test_the_letter_of_a_worker_has_one_attribute_more(aws: AwsServer) -> None:
    """Nothing else is added to what travels, and nothing is taken away."""
    url = make_sqs_queue(aws)
    Client(url).enqueue(order(), attributes={"who": "me"})
    work(url)

    dead_url = SqsTransport(url).dead_letter_url()
    assert dead_url is not None
    letter = receive_one(SqsTransport(dead_url))
    assert letter.attributes.keys() == {"who", FAILURE}
    assert letter.body == '{"type":"order:new","payload":{}}'
