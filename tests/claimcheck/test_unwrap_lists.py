"""`@unwrap_claim_check` and records in lists, tuples and iterators: none is passed on sealed."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claimcheck import RecordUnsupported, SettingsInvalid, unwrap_claim_check, unwrap_event
from tests.claimcheck.lambda_claims import Claims, event_of, failed, record_of
from tests.claimcheck.support import forge, message_body

SMALL = message_body("order:new", "small")


@pytest.fixture
def body(claims: Claims) -> str:
    return claims.sealed()


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_and_a_tuple_are_events(
    claims: Claims, body: str, kind: Callable[[object], Sequence[Any]]
) -> None:
    @unwrap_claim_check(claim_check=claims.check)
    def on_records(records: Sequence[dict[str, Any]]) -> list[str]:
        assert isinstance(records, type(kind([])))
        return [record["body"] for record in records]

    records = kind([record_of(body, "a"), record_of(SMALL, "b")])

    assert on_records(records) == [claims.originals[body], SMALL]
    assert claims.state(body) == "done"


@pytest.mark.parametrize(
    "collection",
    [
        deque,
        lambda records: {each["messageId"]: each for each in records}.values(),
        lambda records: {each["messageId"]: each for each in records}.items(),
        lambda records: frozenset(each["body"] for each in records),
        lambda records: {"Records": deque(records)},
        lambda records: SimpleNamespace(messages=records),
        lambda records: [SimpleNamespace(**json.loads(each["body"])) for each in records],
    ],
)
def test_a_claim_check_in_another_collection_is_not_passed_on(
    claims: Claims, body: str, collection: Callable[[list[dict[str, Any]]], object]
) -> None:
    @unwrap_claim_check(claim_check=claims.check)
    def on_records(records: object) -> object:
        return records

    with pytest.raises(RecordUnsupported, match="is no SQS event and no record of one"):
        on_records(collection([record_of(SMALL, "a"), record_of(body, "b")]))
    small = collection([record_of(SMALL, "a")])

    assert on_records(small) is small
    assert claims.state(body) == "there"


@pytest.mark.parametrize(
    "iterator",
    [
        lambda records: (record for record in records),
        lambda records: filter(None, records),
        iter,
        enumerate,
    ],
)
def test_an_iterator_ends_in_an_error_at_a_claim_check(
    claims: Claims, body: str, iterator: Callable[[object], Any]
) -> None:
    seen: list[object] = []

    @unwrap_claim_check(claim_check=claims.check)
    def on_records(records: Iterable[object]) -> None:
        seen.extend(records)

    with pytest.raises(RecordUnsupported, match="Call it with a list of them"):
        on_records(iterator([record_of(SMALL, "a"), record_of(body, "b")]))
    on_records(iterator([record_of(SMALL, "c")]))
    on_records(iterator(["text", {"type": "x", "payload": body}]))

    assert body not in str(seen[:1])
    assert claims.state(body) == "there"


def test_a_file_is_passed_on_as_it_is() -> None:
    @unwrap_claim_check
    def size_of(file: Any) -> tuple[str, int]:
        return file.name, len(file.read())

    with Path(__file__).open(encoding="utf-8") as file:
        assert size_of(file)[0] == __file__


def on_list(records: list[dict[str, Any]]) -> list[str]:
    return [record["body"] for record in records]


async def on_list_async(records: list[dict[str, Any]]) -> list[str]:
    return on_list(records)


class TestAnAnswerThatHasNoPlaceForFailures:
    def call(self, unwrap: Callable[..., Any], function: Any, records: object) -> object:
        answer = unwrap(function)(records)
        return asyncio.run(answer) if function is on_list_async else answer

    @pytest.mark.parametrize("function", [on_list, on_list_async])
    def test_it_is_refused_and_every_claim_released(self, claims: Claims, function: Any) -> None:
        good, damaged = claims.sealed(1), claims.sealed(2)
        records = [record_of(good, "a"), record_of(forge(damaged, size=2_999), "b")]

        with pytest.raises(RecordUnsupported, match=r"1 of which could not be .*unwrap_event"):
            self.call(unwrap_claim_check(claim_check=claims.check), function, records)

        assert claims.states([good, damaged]) == ["there", "there"]

    @pytest.mark.parametrize("function", [on_list, on_list_async])
    def test_unwrap_event_says_that_lambda_calls_it(self, claims: Claims, function: Any) -> None:
        good, damaged = claims.sealed(1), claims.sealed(2)
        records = [record_of(good, "a"), record_of(forge(damaged, size=2_999), "b")]

        answer = self.call(unwrap_event(claim_check=claims.check), function, records)

        assert answer == failed("b")
        assert claims.states([good, damaged]) == ["done", "there"]

    def test_so_do_records_in_an_event(self, claims: Claims) -> None:
        good, damaged = claims.sealed(1), claims.sealed(2)
        event = event_of(record_of(good, "a"), record_of(forge(damaged, size=2_999), "b"))

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: dict[str, Any]) -> object:
            return "fine"

        assert handler(event) == failed("b")
        assert claims.states([good, damaged]) == ["done", "there"]


class TestMisuse:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (5, r"@unwrap_claim_check decorates a function, and got int"),
            ({"purge": "before"}, r"got dict. Options are given by name"),
        ],
    )
    def test_what_is_no_function_is_refused(self, given: Any, text: str) -> None:
        with pytest.raises(SettingsInvalid, match=text):
            unwrap_claim_check(given)

    def test_an_option_that_is_not_known_is_refused(self) -> None:
        unwrap: Any = unwrap_event
        with pytest.raises(
            SettingsInvalid,
            match=r"@unwrap_event has no option 'prge': it takes claim_check, purge, on_duplicate",
        ):
            unwrap(prge="before")
