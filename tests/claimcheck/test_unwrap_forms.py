"""What `@unwrap_claim_check` opens: by type, or as `unwrap_event` and `unwrap_record` say.

A function never gets a claim check. One that is there and cannot be opened is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_core import from_json

from claimcheck import RecordUnsupported, unwrap_claim_check, unwrap_event, unwrap_record
from tests.claimcheck.lambda_claims import (
    Claims,
    event_of,
    failed,
    ids_in,
    record_of,
)
from tests.claimcheck.support import message_body
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SMALL = message_body("order:new", "small")


@pytest.fixture
def body(claims: Claims) -> str:
    return claims.sealed()


@pytest.mark.parametrize("unwrap", [unwrap_claim_check, unwrap_event, unwrap_record])
def test_a_body_is_parsed_once(
    claims: Claims, unwrap: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticket may carry 250 KB."""
    sealed = claims.check.seal(message_body("order:new", "x" * 6_000))
    assert sealed.route == "compressed"
    record = record_of(sealed.body.decode(), "a")
    parsed: list[object] = []

    def parse(body: str, **options: Any) -> object:
        parsed.append(body)
        return from_json(body, **options)

    monkeypatch.setattr("letsgo_queue.envelope.from_json", parse)
    handled: list[object] = []

    def function(argument: object) -> None:
        handled.append(argument)

    unwrap(claim_check=claims.check)(function)(
        record if unwrap is unwrap_record else event_of(record)
    )

    assert len(handled) == 1
    assert parsed == [record["body"]]


class TestByType:
    def test_a_list_of_records_as_eventbridge_pipes_sends_it(
        self, claims: Claims, body: str
    ) -> None:
        damaged = claims.sealed(2)
        event = [
            record_of(body, "a"),
            record_of(damaged.replace("order:new", "order:old"), "b"),
            record_of(SMALL, "c"),
        ]
        seen: list[str] = []

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: list[dict[str, Any]], context: object) -> None:
            seen.extend(record["body"] for record in event)

        assert handler(event, Context()) == failed("b")
        assert seen == [claims.originals[body], SMALL]
        assert claims.states([body, damaged]) == ["done", "there"]

    def test_wherever_the_argument_is(self, claims: Claims, body: str) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(name: str, *, number: int, record: dict[str, Any]) -> tuple[object, ...]:
            return name, number, record["body"]

        answer = on_record("n", number=7, record=record_of(body, "a"))

        assert answer == ("n", 7, claims.originals[body])

    def test_two_arguments_that_have_to_be_opened_are_refused(
        self, claims: Claims, body: str
    ) -> None:
        other = claims.sealed(2)

        @unwrap_claim_check(claim_check=claims.check)
        def on_records(first: dict[str, Any], second: dict[str, Any]) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match=r"on_records was called with 2 arguments"):
            on_records(record_of(body, "a"), record_of(other, "b"))
        assert claims.states([body, other]) == ["there", "there"]

    def test_a_second_record_that_needs_no_opening_is_no_doubt(
        self, claims: Claims, body: str
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_records(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
            return [first["body"], second["body"]]

        assert on_records(record_of(SMALL, "a"), record_of(body, "b")) == [
            SMALL,
            claims.originals[body],
        ]

    @pytest.mark.parametrize(
        "arguments", [(), (1,), ("text",), (None, {"a": 1}), ({"type": "x", "payload": 1},)]
    )
    def test_with_neither_the_function_is_what_it_was(self, arguments: tuple[object, ...]) -> None:
        @unwrap_claim_check
        def function(*arguments: object) -> object:
            return arguments

        assert function(*arguments) == arguments


class Mailer:
    """An object that has a `body` by chance, of a message that is sealed."""

    def __init__(self, claims: Claims, body: str) -> None:
        self.body = body
        self.got: list[str] = []
        unwrap = unwrap_claim_check(claim_check=claims.check)
        self.bound = unwrap(self.handle)

    def handle(self, record: dict[str, Any]) -> None:
        self.got.append(record["body"])


class TestMethodsOfObjectsWithABody:
    """Their own body is no record: it is left alone, and so is its claim."""

    def test_a_record_is_opened(self, claims: Claims, body: str) -> None:
        own = claims.sealed(2)

        class App(Mailer):
            @unwrap_claim_check(claim_check=claims.check)
            def on_record(self, record: dict[str, Any]) -> None:
                self.handle(record)

        app = App(claims, own)
        app.on_record(record_of(body, "a"))

        assert app.got == [claims.originals[body]]
        assert app.body == own
        assert claims.states([body, own]) == ["done", "there"]

    def test_a_bound_method_too(self, claims: Claims, body: str) -> None:
        own = claims.sealed(2)
        app = Mailer(claims, own)

        app.bound(record_of(body, "a"))

        assert app.got == [claims.originals[body]]
        assert claims.states([body, own]) == ["done", "there"]

    @pytest.mark.parametrize("unwrap", [unwrap_claim_check, unwrap_record, unwrap_event])
    def test_in_each_form(
        self, claims: Claims, body: str, unwrap: Callable[..., Callable[..., Any]]
    ) -> None:
        own = claims.sealed(2)

        class App(Mailer):
            @unwrap(claim_check=claims.check)
            def on_call(self, value: Any) -> None:
                self.handle(value["Records"][0] if "Records" in value else value)

        app = App(claims, own)
        record = record_of(body, "a")
        app.on_call(event_of(record) if unwrap is unwrap_event else record)

        assert app.got == [claims.originals[body]]


class TestExplicitForms:
    def test_unwrap_event_opens_the_first_argument(self, claims: Claims, body: str) -> None:
        @unwrap_event(claim_check=claims.check)
        def handler(event: dict[str, Any], archive: dict[str, Any]) -> list[str]:
            return [each["Records"][0]["body"] for each in (event, archive)]

        other = claims.sealed(2)
        seen = handler(event_of(record_of(body, "a")), event_of(record_of(other, "b")))

        assert seen == [claims.originals[body], other]
        assert claims.states([body, other]) == ["done", "there"]

    def test_unwrap_record_opens_the_first_argument(self, claims: Claims, body: str) -> None:
        @unwrap_record(claim_check=claims.check)
        def on_record(record: dict[str, Any], before: dict[str, Any]) -> list[str]:
            return [record["body"], before["body"]]

        other = claims.sealed(2)

        assert on_record(record_of(body, "a"), record_of(other, "b")) == [
            claims.originals[body],
            other,
        ]

    def test_both_work_bare(self, claims: Claims) -> None:
        @unwrap_event
        def handler(event: dict[str, Any], context: object) -> list[str]:
            return ids_in(event)

        @unwrap_record
        def on_record(record: dict[str, Any]) -> object:
            return record["body"]

        assert handler(event_of(record_of(SMALL, "a")), None) == ["a"]
        assert on_record(record_of(SMALL, "a")) == SMALL

    @pytest.mark.parametrize("event", [{"Records": []}, []])
    def test_an_event_may_be_empty(self, event: Any) -> None:
        @unwrap_event
        def handler(event: object) -> object:
            return event

        assert handler(event) is event

    def test_a_model_with_records_is_one_event_and_no_record(
        self, claims: Claims, body: str
    ) -> None:
        """An event that has a body as well."""

        @unwrap_event(claim_check=claims.check)
        def handler(event: SimpleNamespace) -> str:
            return str(event.Records[0]["body"])

        event = SimpleNamespace(Records=[record_of(body, "a")], body="of the event")

        assert handler(event) == claims.originals[body]

    @pytest.mark.parametrize(
        ("unwrap", "arguments", "said"),
        [
            (unwrap_event, (), "not an event of SQS"),
            (unwrap_event, ({"body": SMALL},), "not an event of SQS"),
            (unwrap_event, ({"Records": [1]},), "not an event of SQS"),
            (unwrap_record, (), "not a record of SQS"),
            (unwrap_record, ({"Records": []},), "not a record of SQS"),
            (unwrap_record, ([],), "not a record of SQS"),
            (unwrap_record, ({"type": "mail:new", "body": SMALL},), "not a record of SQS"),
        ],
    )
    def test_anything_else_is_refused(
        self, unwrap: Callable[[Any], Any], arguments: tuple[object, ...], said: str
    ) -> None:
        @unwrap
        def function(*arguments: object) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match=rf"function is decorated .* {said}"):
            function(*arguments)
