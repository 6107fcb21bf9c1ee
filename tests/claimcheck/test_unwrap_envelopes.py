"""A claim check in the envelope of another service, for functions that get SQS records.

The function gets the record with its envelope, and the original message in that: code that takes
the message out of it stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from claimcheck import RecordUnsupported, unwrap_claim_check
from tests.claimcheck.lambda_claims import (
    Claims,
    Function,
    event_of,
    failed,
    ids_in,
    record_of,
)
from tests.claimcheck.support import message_body, noise, parts_left
from tests.letsgo_queue.aws_lambda.lambda_events import Context
from tests.support.envelopes import ENVELOPES, Envelope, from_eventbridge, from_sns

SMALL = message_body("order:new", "small")
LARGE = message_body("order:new", {"size": "größe €", "noise": noise(3_000)})
EACH_ENVELOPE = pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=[*ENVELOPES])


@pytest.fixture
def body(claims: Claims) -> str:
    return claims.sealed()


@EACH_ENVELOPE
def test_the_envelope_stays_around_the_original(claims: Claims, envelope: Envelope) -> None:
    function = Function(claims)
    wrap, take_out = envelope
    sealed = claims.check.seal(LARGE).body.decode()

    answer = function.decorated()(event_of(record_of(wrap(sealed), "a")), Context())

    assert answer is None
    (record,) = function.seen[0]["Records"]
    assert take_out(record["body"]) == LARGE
    assert record == record_of(record["body"], "a")  # with the MD5 of its body
    assert claims.state(sealed) == "done"


@pytest.mark.parametrize("wrap", [from_sns, from_eventbridge])
def test_all_else_in_the_envelope_is_as_it_was(
    claims: Claims, wrap: Callable[[object], str]
) -> None:
    function = Function(claims)
    sealed = claims.check.seal(LARGE).body.decode()

    function.decorated()(event_of(record_of(wrap(sealed), "a")), Context())

    assert json.loads(function.seen[0]["Records"][0]["body"]) == json.loads(wrap(LARGE))


def test_numbers_are_written_as_they_were(claims: Claims) -> None:
    function = Function(claims)
    odd = f'{{"type":"order:new","payload":[1.10,1e400,{10**30},"{noise(3_000)}"]}}'
    sealed = claims.check.seal(odd).body.decode()

    function.decorated()(event_of(record_of(from_eventbridge(sealed), "a")), Context())

    assert function.seen[0]["Records"][0]["body"].endswith(f',"detail":{odd}}}')


@EACH_ENVELOPE
def test_a_record_of_its_own(claims: Claims, body: str, envelope: Envelope) -> None:
    seen: list[str] = []
    wrap, take_out = envelope

    @unwrap_claim_check(claim_check=claims.check)
    def on_record(record: SimpleNamespace) -> None:
        seen.append(take_out(record.body))
        if len(seen) == 1:
            raise ZeroDivisionError

    record = SimpleNamespace(body=wrap(body), messageId="a")
    with pytest.raises(ZeroDivisionError):
        on_record(record)
    assert claims.state(body) == "there"
    on_record(record)
    on_record(record)  # a duplicate

    assert seen == [claims.originals[body]] * 2
    assert claims.state(body) == "done"


@pytest.mark.parametrize("wrap", [from_sns, from_eventbridge])
def test_text_that_is_no_message(claims: Claims, wrap: Callable[[object], str]) -> None:
    """A body need not be JSON to be sealed."""
    function = Function(claims)
    text = "no JSON " + noise(3_000)
    sealed = claims.check.seal(text).body.decode()

    function.decorated()(event_of(record_of(wrap(sealed), "a")), Context())

    inside = json.loads(function.seen[0]["Records"][0]["body"])
    assert text in {inside.get("Message"), inside.get("detail")}


@EACH_ENVELOPE
def test_an_envelope_without_a_claim_check_is_as_it_was(claims: Claims, envelope: Envelope) -> None:
    function = Function(claims)
    bodies = [envelope[0](SMALL), from_sns("no message"), from_eventbridge({"id": 7})]
    event = event_of(*(record_of(each, str(at)) for at, each in enumerate(bodies)))

    function.decorated()(event, Context())

    assert function.seen == [event]


def test_each_queue_has_its_own_record(claims: Claims) -> None:
    function = Function(claims)
    original = message_body("order:new", noise(3_000))
    sealed = claims.check.seal(original, shared=True).body.decode()
    record = record_of(from_sns(sealed), "a")
    other = {**record, "eventSourceARN": record["eventSourceARN"] + "-2"}

    for each in (record, other, record, other):
        function.decorated()(event_of(each), Context())

    assert [json.loads(each["Records"][0]["body"])["Message"] for each in function.seen] == [
        original,
        original,
    ]
    assert parts_left(claims.store, sealed)


@pytest.mark.parametrize("wrap", [str, from_sns])
def test_a_record_that_does_not_name_its_queue_is_no_copy_of_anothers(
    claims: Claims, wrap: Callable[[object], str], caplog: pytest.LogCaptureFixture
) -> None:
    function = Function(claims)
    sealed = claims.check.seal(message_body("order:new", noise(3_000)), shared=True).body.decode()
    nameless = {**record_of(wrap(sealed), "a"), "eventSourceARN": ""}

    assert function.decorated()(event_of(nameless), Context()) == failed("a")
    assert "nothing says which of them it came from" in caplog.text
    assert claims.state(sealed) == "there"


UNKNOWN: dict[str, Callable[[str], object]] = {
    "no source": lambda body: {"detail-type": "Order", "detail": json.loads(body)},
    "no topic": lambda body: {"Type": "Notification", "Message": body},
    "an input transformer's": lambda body: {"order": json.loads(body)},
    "a pipe's list": lambda body: [record_of(body, "a"), record_of(body, "b")],
}
EACH_UNKNOWN = pytest.mark.parametrize("wrap", UNKNOWN.values(), ids=[*UNKNOWN])


class TestUnknownEnvelopes:
    @EACH_UNKNOWN
    def test_in_the_body_of_a_record_it_is_reported(
        self,
        claims: Claims,
        body: str,
        wrap: Callable[[str], object],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        function = Function(claims)
        wrapped = json.dumps(wrap(body))

        event = event_of(record_of(wrapped, "wrapped"), record_of(SMALL, "small"))
        answer = function.decorated()(event, Context())

        assert answer == failed("wrapped")
        assert ids_in(function.seen[0]) == ["small"]
        assert "in an envelope that is not known" in caplog.text
        assert claims.state(body) == "there"

    @EACH_UNKNOWN
    def test_in_one_record_it_raises(
        self, claims: Claims, body: str, wrap: Callable[[str], object]
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match="message a: its body has a claim check in an"):
            on_record(record_of(json.dumps(wrap(body)), "a"))

    def test_one_that_was_parsed_raises(self, claims: Claims, body: str) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: dict[str, Any]) -> None:
            raise AssertionError

        parsed = {**record_of("", "a"), "body": json.loads(from_sns(body))}
        with pytest.raises(RecordUnsupported, match="parsed before it could be opened"):
            on_record(parsed)

    @pytest.mark.parametrize(
        "event",
        [
            pytest.param(lambda body: json.loads(from_eventbridge(body)), id="of EventBridge"),
            pytest.param(
                lambda body: {"Records": [{"Sns": json.loads(from_sns(body))}]}, id="of SNS"
            ),
            pytest.param(lambda body: json.loads(from_sns(body)), id="a notification"),
            pytest.param(lambda body: {"Messages": [{"Body": body}]}, id="an answer of boto3"),
            pytest.param(json.loads, id="a message that is parsed"),
            pytest.param(str, id="a body"),
            pytest.param(str.encode, id="a body in bytes"),
        ],
    )
    def test_where_no_record_is_it_raises(
        self, claims: Claims, body: str, event: Callable[[str], object]
    ) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: object, context: object) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match="is no SQS event and no record of one"):
            handler(event(body), Context())
        assert claims.state(body) == "there"
