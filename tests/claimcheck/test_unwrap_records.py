"""`@unwrap_claim_check` on functions that work on one SQS record, of whatever kind."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from pydantic import BaseModel, Json

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCorrupted,
    ClaimInProgress,
    Purge,
    RecordUnsupported,
    unwrap_claim_check,
    unwrap_record,
)
from letsgo_queue import Message, MessageInvalid
from tests.claimcheck.lambda_claims import Claims, State, event_of, record_of
from tests.claimcheck.support import forge, message_body, small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SMALL = message_body("order:new", "small")


@pytest.fixture
def body(claims: Claims) -> str:
    return claims.sealed()


class TestWhatBecomesOfTheClaim:
    def test_it_is_held_while_the_function_runs_and_done_when_it_returns(
        self, claims: Claims, body: str
    ) -> None:
        record = record_of(body, "a")
        before = copy.deepcopy(record)

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> str:
            assert claims.state(body) == "held"
            digest = hashlib.md5(record["body"].encode()).hexdigest()
            assert record == {**before, "body": claims.originals[body], "md5OfBody": digest}
            return "done"

        assert on_record(record) == "done"
        assert claims.state(body) == "done"
        assert record == before

    def test_it_is_back_when_the_function_raises(self, claims: Claims, body: str) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            on_record(record_of(body, "a"))
        assert claims.state(body) == "there"

    @pytest.mark.parametrize(
        ("purge", "while_it_runs", "afterwards"),
        [("after", "held", "done"), ("before", "handed over", "done"), ("never", "held", "kept")],
    )
    def test_purge_means_what_it_means_for_a_worker(
        self, claims: Claims, body: str, purge: Purge, while_it_runs: State, afterwards: State
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check, purge=purge)
        def on_record(record: dict[str, Any], *, fails: bool) -> None:
            assert claims.state(body) == while_it_runs
            if fails:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            on_record(record_of(body, "a"), fails=True)
        assert claims.state(body) == "there"
        on_record(record_of(body, "a"), fails=False)
        assert claims.state(body) == afterwards

    @pytest.mark.parametrize(
        ("options", "least", "most"),
        [({"lambda_context": Context(3_600)}, 3_000, 3_600), ({}, 100, 120)],
    )
    def test_it_is_held_for_as_long_as_the_invocation_may_run(
        self, claims: Claims, body: str, options: dict[str, Context], least: int, most: int
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any], lambda_context: Context | None = None) -> float:
            return claims.leased_for(body)

        assert least < on_record(record=record_of(body, "a"), **options) <= most


class TestWhatCannotBeOpened:
    def test_raises_and_the_function_is_not_run(self, claims: Claims, body: str) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> None:
            raise AssertionError

        with pytest.raises(ClaimCorrupted, match="message a of type 'order:new'"):
            on_record(record_of(forge(body, size=2_999), "a"))
        claims.hold(body)
        with pytest.raises(ClaimInProgress, match="message a of type 'order:new'"):
            on_record(record_of(body, "a"))

    def test_a_duplicate_returns_none_without_running_it(
        self, claims: Claims, body: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        claims.finish(body)

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> str:
            raise AssertionError

        assert on_record(record_of(body, "a")) is None
        assert "Lambda deletes it." in caplog.text

    def test_who_received_a_duplicate_with_boto3_is_told_to_acknowledge_it(
        self, claims: Claims, body: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        claims.finish(body)

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> str:
            raise AssertionError

        assert on_record({"MessageId": "a", "ReceiptHandle": "r", "Body": body}) is None
        assert "Acknowledge it: its function is not called." in caplog.text
        assert "It is acknowledged" not in caplog.text

    def test_a_duplicate_raises_where_that_is_asked_for(self, claims: Claims, body: str) -> None:
        claims.finish(body)

        @unwrap_claim_check(claim_check=claims.check, on_duplicate="raise")
        def on_record(record: dict[str, Any]) -> None:
            raise AssertionError

        with pytest.raises(ClaimAlreadyProcessed):
            on_record(record_of(body, "a"))

    def test_a_record_that_says_nonsense_of_itself(self, claims: Claims, body: str) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> None:
            raise AssertionError

        record = {**record_of(body, "a"), "attributes": {"ApproximateReceiveCount": "many"}}
        with pytest.raises(MessageInvalid, match="message a: its record is not one"):
            on_record(record)


class PydanticRecord(BaseModel, frozen=True):
    messageId: str  # noqa: N815  as SQS has it
    body: str
    md5OfBody: str  # noqa: N815


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    message_id: str
    body: str


class Slotted:
    __slots__ = ("body",)

    def __init__(self, body: str) -> None:
        self.body = body


class Fixed:
    """A record whose body cannot be set, as boto3's `Message` is one."""

    message_id = "m-1"

    def __init__(self, body: str) -> None:
        self._body = body

    @property
    def body(self) -> str:
        return self._body


class TestKindsOfRecords:
    """The function gets one of the same kind, and the caller's own is not changed."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda body: {"body": body},
            lambda body: PydanticRecord(messageId="a", body=body, md5OfBody=""),
            lambda body: FrozenRecord("a", body),
            lambda body: SimpleNamespace(body=body, attributes=None),
            Slotted,
        ],
    )
    def test_a_copy_of_the_same_kind(
        self, claims: Claims, body: str, make: Callable[[str], Any]
    ) -> None:
        seen: list[Any] = []
        record = make(body)

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: object) -> None:
            seen.append(record)

        on_record(record)

        (got,) = seen
        assert type(got) is type(record)
        assert [body_of(got), body_of(record)] == [claims.originals[body], body]
        assert claims.state(body) == "done"

    def test_everything_else_in_it_is_as_it_was(self, claims: Claims, body: str) -> None:
        seen: list[PydanticRecord] = []
        unwrap = unwrap_claim_check(claim_check=claims.check)

        unwrap(seen.append)(PydanticRecord(messageId="a", body=body, md5OfBody="old"))

        original = claims.originals[body]
        digest = hashlib.md5(original.encode()).hexdigest()
        assert seen == [PydanticRecord(messageId="a", body=original, md5OfBody=digest)]

    def test_one_that_cannot_be_copied_is_refused_and_its_claim_is_released(
        self, claims: Claims, body: str
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: Fixed) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match=r"message m-1: its record \(Fixed\)") as caught:
            on_record(Fixed(body))
        assert "Give the function a dict" in str(caught.value)
        assert claims.state(body) == "there"

    @pytest.mark.parametrize("whole_batch", [False, True])
    @pytest.mark.parametrize("small", [False, True])
    def test_one_whose_body_was_parsed_already_is_refused(
        self, claims: Claims, body: str, whole_batch: bool, small: bool
    ) -> None:
        class Parsed(BaseModel):
            messageId: str  # noqa: N815
            body: Json[Any]

        record = Parsed(messageId="m-1", body=SMALL if small else body)

        @unwrap_claim_check(claim_check=claims.check)
        def function(record: object) -> object:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match=r"\(Parsed\) was parsed before") as caught:
            function(event_of(cast("Any", record)) if whole_batch else record)
        assert "Decorate the Lambda handler" in str(caught.value)
        assert claims.state(body) == "there"

    @pytest.mark.parametrize(
        "record",
        [
            {"body": SMALL},
            {"body": {"of": "another kind of event"}},
            {"body": None},
            {"messageId": "m-1", "body": None},
            SimpleNamespace(body="text"),
            SimpleNamespace(body=SimpleNamespace(body=SMALL)),
            MagicMock(),
        ],
    )
    def test_what_needs_no_opening_is_handed_on_as_it_is(self, record: object) -> None:
        @unwrap_claim_check
        def on_record(record: object) -> object:
            return record

        assert on_record(record) is record

    def test_other_arguments_may_raise_errors_when_they_are_looked_at(
        self, claims: Claims, body: str
    ) -> None:
        """A request whose body was read, or a mapping in a database that is gone."""
        others = (Raising(), RaisingMapping(), [Raising(), RaisingMapping()])

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any], *others: object) -> tuple[str, object]:
            return body_of(record), others

        assert on_record(record_of(body, "a"), *others) == (claims.originals[body], others)
        assert claims.state(body) == "done"

    def test_an_explicit_form_takes_any_parsed_body_for_that_of_a_message(self) -> None:
        @unwrap_record
        def on_record(record: object) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match="was parsed before"):
            on_record({"body": {"type": "order:new", "payload": "small"}})

    @pytest.mark.parametrize(
        "make",
        [
            lambda body: {**record_of(body, "a"), "type": "sqs"},
            lambda body: {"type": "sqs", "body": body},
            lambda body: Job("order:new", body),
            lambda body: SimpleNamespace(type="sqs", body=body),
        ],
    )
    @pytest.mark.parametrize("in_list", [False, True])
    def test_a_record_may_have_a_type_of_its_own(
        self, claims: Claims, body: str, make: Callable[[str], Any], in_list: bool
    ) -> None:
        seen: list[Any] = []
        record = make(body)

        unwrap_claim_check(claim_check=claims.check)(seen.append)([record] if in_list else record)

        (got,) = seen[0] if in_list else seen
        assert type(got) is type(record)
        assert body_of(got) == claims.originals[body]
        assert claims.state(body) == "done"

    @pytest.mark.parametrize(
        "make",
        [
            lambda body: SimpleNamespace(body=SimpleNamespace(body=body)),
            lambda body: SimpleNamespace(body=Fixed(body)),
            lambda body: SimpleNamespace(type="sqs", body=SimpleNamespace(body=body)),
            lambda body: Job("order:new", Job("order:new", body)),
            lambda body: {"body": Job("order:new", body)},
        ],
    )
    def test_a_body_inside_the_body_is_not_passed_on(
        self, claims: Claims, body: str, make: Callable[[str], Any]
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: object) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported):
            on_record(make(body))
        assert claims.state(body) == "there"


class Raising:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError("the request's data stream was read")


class RaisingMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no connection")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no connection")

    def __len__(self) -> int:
        raise RuntimeError("no connection")


@dataclass
class Job:
    type: str
    body: Any


def body_of(record: Any) -> str:
    return str(record["body"] if isinstance(record, dict) else record.body)


class TestMessagesAreNoRecords:
    """A worker's handler, called directly as in a unit test, whatever its messages hold."""

    @pytest.mark.parametrize(
        "message",
        [
            {"type": "mail:new", "payload": {"messageId": "m-1", "body": {"text": "x"}}},
            {"type": "mail:new", "messageId": "m-1", "body": {"text": "x"}},
            {"type": "mail:new", "payload": {"a": {1, 2}}},
            Message(type="mail:new", payload=SimpleNamespace(body=None)),
        ],
    )
    def test_one_is_passed_on_as_it_is(self, message: object) -> None:
        @unwrap_claim_check(once=True)
        def on_mail(message: object) -> object:
            return message

        assert on_mail(message) is message

    @pytest.mark.parametrize("kind", ["dict", "model"])
    def test_not_even_with_a_body_that_looks_sealed(
        self, claims: Claims, body: str, kind: str
    ) -> None:
        class Mail(Message[str]):
            body: str

        message: object = {"type": "mail:new", "payload": "", "body": body}
        if kind == "model":
            message = Mail(type="mail:new", payload="", body=body)

        @unwrap_claim_check(claim_check=claims.check)
        def on_mail(message: object) -> object:
            return message

        assert on_mail(message) is message
        assert claims.state(body) == "there"


class TestAsync:
    def test_success_failure_and_duplicate(self, claims: Claims, body: str) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def on_record(record: dict[str, Any], *, fails: bool = False) -> str:
            await asyncio.sleep(0)
            assert claims.state(body) == "held"
            if fails:
                raise ZeroDivisionError
            return str(record["body"])

        with pytest.raises(ZeroDivisionError):
            asyncio.run(on_record(record_of(body, "a"), fails=True))
        assert claims.state(body) == "there"
        assert asyncio.run(on_record(record_of(body, "a"))) == claims.originals[body]
        assert claims.state(body) == "done"
        assert asyncio.run(on_record(record_of(body, "a"))) is None

    def test_the_event_loop_stays_free_while_the_store_answers(self, claims: Claims) -> None:
        looped = asyncio.Event()
        body = claims.sealed()
        watched = Watched(claims.store)

        async def turn() -> None:
            looped.set()

        @unwrap_claim_check(claim_check=small_claim_check(watched.store))
        async def on_record(record: dict[str, Any]) -> str:
            return str(record["body"])

        async def main() -> str:
            loop = asyncio.get_running_loop()

            def answer_once_the_loop_has_done_something_else() -> None:
                asyncio.run_coroutine_threadsafe(turn(), loop).result(timeout=20)

            watched.before("acquire", answer_once_the_loop_has_done_something_else)
            return await on_record(record_of(body, "a"))

        assert asyncio.run(main()) == claims.originals[body]
        assert looped.is_set()
