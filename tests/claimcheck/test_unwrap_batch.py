"""`@unwrap_claim_check` on Lambda handlers: what becomes of a batch, and what Lambda is told."""

from __future__ import annotations

import copy
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimCorrupted, Purge
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.lambda_claims import (
    Claims,
    Function,
    deleted_by_lambda,
    event_of,
    failed,
    fifo_record_of,
    ids_in,
    record_of,
)
from tests.claimcheck.support import (
    SECRET,
    forge,
    message_body,
    noise,
    small_claim_check,
    ticket_in,
)
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.aws_lambda.lambda_events import Context
from tests.support.waiting import wait_for

SMALL = message_body("order:new", "small")

Event = dict[str, Any]


class TestWhatCannotBeOpened:
    def test_is_reported_and_the_rest_is_handled(
        self, claims: Claims, caplog: pytest.LogCaptureFixture
    ) -> None:
        good, bad = claims.sealed(1), claims.sealed(2)
        damaged = forge(bad, size=2_999)
        event = event_of(
            record_of(damaged, "bad"), record_of(good, "good"), record_of(SMALL, "small")
        )
        function = Function(claims)

        answer = function.decorated()(event, Context())

        assert answer == failed("bad")
        assert deleted_by_lambda(event, answer) == {"good", "small"}
        assert ids_in(function.seen[0]) == ["good", "small"]
        assert (claims.state(good), claims.state(bad)) == ("done", "there")
        (logged,) = [r for r in caplog.records if r.name == "claimcheck.records"]
        assert logged.levelno == logging.ERROR
        assert "message bad of type 'order:new'" in logged.message
        assert "the 2,999 bytes that were sealed" in logged.message

    def test_is_reported_where_the_store_does_not_answer(
        self, claims: Claims, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = claims.sealed()
        watched = Watched(claims.store)
        watched.fail("acquire")
        claims.check = small_claim_check(watched.store)
        function = Function(claims, "done")

        event = event_of(record_of(body, "a"), record_of(SMALL, "b"))
        answer = function.decorated()(event, Context())

        assert answer == failed("a")
        assert claims.state(body) == "there"
        assert [(r.levelname, r.name) for r in caplog.records] == [
            ("WARNING", "claimcheck.records")
        ]

    def test_its_body_is_in_no_log(self, claims: Claims, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        body = claims.check.seal(message_body("order:new", SECRET + noise(6_000))).body.decode()
        event = event_of(record_of(forge(body, sha256="0" * 64), "a"))

        Function(claims).decorated()(event, Context())

        assert "message a" in caplog.text
        assert SECRET not in caplog.text

    def test_with_nothing_left_the_function_is_not_called(self, claims: Claims) -> None:
        body = claims.sealed()
        claims.hold(body)
        function = Function(claims, {"statusCode": 200})

        answer = function.decorated()(event_of(record_of(body, "a")), Context())

        assert answer == failed("a")
        assert function.seen == []

    def test_a_duplicate_is_deleted(self, claims: Claims, caplog: pytest.LogCaptureFixture) -> None:
        done, new = claims.sealed(1), claims.sealed(2)
        claims.finish(done)
        function = Function(claims)
        event = event_of(record_of(done, "done"), record_of(new, "new"))

        answer = function.decorated()(event, Context())

        assert deleted_by_lambda(event, answer) == {"done", "new"}
        assert ids_in(function.seen[0]) == ["new"]
        assert "message done of type 'order:new'" in caplog.text
        assert "Lambda deletes it." in caplog.text

    def test_duplicates_alone_are_deleted_without_the_function(self, claims: Claims) -> None:
        done = claims.sealed()
        claims.finish(done)
        function = Function(claims, "answer")

        answer = function.decorated()(event_of(record_of(done, "done")), Context())

        assert answer == failed()
        assert function.seen == []

    def test_a_duplicate_is_reported_where_that_is_asked_for(self, claims: Claims) -> None:
        done = claims.sealed()
        claims.finish(done)

        handler = Function(claims).decorated(on_duplicate="raise")

        assert handler(event_of(record_of(done, "done")), Context()) == failed("done")

    def test_a_crash_after_the_hand_over_is_reported(self, tmp_path: Path, clock: Clock) -> None:
        claims = Claims(SqliteClaimStore(tmp_path / "claims.db", clock=clock))
        body = claims.sealed()
        claims.check.open(body, purge="before")  # and nothing more
        clock.advance(120)

        answer = Function(claims).decorated()(event_of(record_of(body, "crashed")), Context())

        assert answer == failed("crashed")
        claims.store.close()

    def test_what_no_store_has_is_reported(
        self, claims: Claims, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = claims.sealed()
        claims.store.remove(ticket_in(body)["id"], 1)

        answer = Function(claims).decorated()(event_of(record_of(body, "missing")), Context())

        assert answer == failed("missing")
        assert "neither contents of its claim nor a receipt" in caplog.text

    def test_without_an_id_there_is_nothing_to_report_and_the_batch_fails(
        self, claims: Claims
    ) -> None:
        good, bad = claims.sealed(1), claims.sealed(2)
        nameless = record_of(forge(bad, size=2_999), "")
        event = event_of(record_of(good, "good"), nameless)

        with pytest.raises(ClaimCorrupted):
            Function(claims).decorated()(event, Context())

        assert claims.states([good, bad]) == ["there", "there"]

    def test_a_record_that_is_not_one_of_sqs_is_reported(self, claims: Claims) -> None:
        record = record_of(claims.sealed(), "odd")
        record["attributes"] = {"ApproximateReceiveCount": "many"}

        answer = Function(claims).decorated()(event_of(record), Context())

        assert answer == failed("odd")

    def test_an_error_that_is_no_records_own_releases_what_was_acquired(
        self, claims: Claims
    ) -> None:
        def break_down() -> None:
            raise ZeroDivisionError

        bodies = [claims.sealed(seed) for seed in range(3)]
        watched = Watched(claims.store)
        watched.before("read", lambda: None)
        watched.before("read", break_down)
        claims.check = small_claim_check(watched.store)
        event = event_of(*(record_of(body, str(n)) for n, body in enumerate(bodies)))

        with pytest.raises(ZeroDivisionError):
            Function(claims).decorated()(event, Context())

        assert claims.states(bodies) == ["there"] * 3

    @pytest.mark.parametrize("purge", ["after", "before"])
    def test_an_interrupt_releases_what_was_acquired(self, claims: Claims, purge: Purge) -> None:
        """A soft time limit, say, which a signal handler raises in the thread of the function."""
        bodies = [claims.sealed(seed) for seed in range(2)]
        watched = Watched(claims.store)
        claims.check = small_claim_check(watched.store)
        held = "held" if purge == "after" else "handed over"

        def interrupt() -> None:
            wait_for(lambda: held in claims.states(bodies), "the other claim")
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_for(lambda: interrupted, "the signal")

        interrupted: list[object] = []

        def stop(*_: object) -> None:
            interrupted.append(None)
            raise TimeLimitReached

        watched.before("acquire", lambda: None)
        watched.before("acquire", interrupt)
        event = event_of(*(record_of(body, str(n)) for n, body in enumerate(bodies)))
        before = signal.signal(signal.SIGUSR1, stop)
        try:
            with pytest.raises(TimeLimitReached):
                Function(claims).decorated(purge=purge)(event, Context())
        finally:
            signal.signal(signal.SIGUSR1, before)

        assert claims.states(bodies) == ["there"] * 2


class TimeLimitReached(BaseException):
    pass


class TestFifo:
    def test_what_follows_in_the_group_waits_too(self, claims: Claims) -> None:
        held, after, other, before = (claims.sealed(seed) for seed in range(4))
        claims.hold(held)
        event = event_of(
            fifo_record_of(before, "before", "1"),
            fifo_record_of(held, "held", "1"),
            fifo_record_of(other, "other", "2"),
            fifo_record_of(after, "after", "1"),
            fifo_record_of(SMALL, "small", "1"),
            fifo_record_of(SMALL, "other small", "2"),
        )
        function = Function(claims)

        answer = function.decorated()(event, Context())

        assert answer == failed("held", "after", "small")
        assert ids_in(function.seen[0]) == ["before", "other", "other small"]
        assert claims.states([held, after, other, before]) == ["held", "there", "done", "done"]

    def test_a_duplicate_holds_nobody_up(self, claims: Claims) -> None:
        done, after = claims.sealed(1), claims.sealed(2)
        claims.finish(done)
        event = event_of(fifo_record_of(done, "done", "1"), fifo_record_of(after, "after", "1"))
        function = Function(claims)

        answer = function.decorated()(event, Context())

        assert deleted_by_lambda(event, answer) == {"done", "after"}
        assert ids_in(function.seen[0]) == ["after"]

    def test_a_group_on_a_standard_queue_keeps_no_order(self, claims: Claims) -> None:
        held, after = claims.sealed(1), claims.sealed(2)
        claims.hold(held)
        records = [record_of(held, "held"), record_of(after, "after")]
        for record in records:  # SQS fair queues
            record["attributes"]["MessageGroupId"] = "1"
        function = Function(claims)

        assert function.decorated()(event_of(*records), Context()) == failed("held")
        assert claims.state(after) == "done"


class TestTheAnswer:
    """Of four records one could not be opened: `held`. The function saw `a`, `b` and `small`."""

    @pytest.fixture
    def bodies(self, claims: Claims) -> list[str]:
        return [claims.sealed(seed) for seed in range(3)]

    @pytest.fixture
    def event(self, claims: Claims, bodies: list[str]) -> Event:
        claims.hold(bodies[2])
        return event_of(
            record_of(bodies[0], "a"),
            record_of(bodies[1], "b"),
            record_of(bodies[2], "held"),
            record_of(SMALL, "small"),
        )

    @pytest.mark.parametrize(
        ("answer", "completed"),
        [
            (None, failed("held")),
            ({}, failed("held")),
            ({"batchItemFailures": None}, failed("held")),
            (failed(), failed("held")),
            ("ok", failed("held")),
            ({"statusCode": 200}, {"statusCode": 200, **failed("held")}),
            (failed("small"), failed("small", "held")),
            ({"batchItemFailures": ({"itemIdentifier": "small"},)}, failed("small", "held")),
            (failed("held"), failed("held")),
        ],
    )
    def test_of_a_success(
        self, claims: Claims, bodies: list[str], event: Event, answer: object, completed: object
    ) -> None:
        given = copy.deepcopy(answer)

        assert Function(claims, answer).decorated()(event, Context()) == completed
        assert answer == given
        assert claims.states(bodies) == ["done", "done", "held"]
        assert deleted_by_lambda(event, completed) >= {"a", "b"}

    def test_what_the_function_reports_is_released(
        self, claims: Claims, bodies: list[str], event: Event
    ) -> None:
        answer = Function(claims, failed("b")).decorated()(event, Context())

        assert answer == failed("b", "held")
        assert claims.states(bodies) == ["done", "there", "held"]

    @pytest.mark.parametrize(
        "answer",
        [
            failed(""),
            failed("a", "nobody"),
            {"batchItemFailures": [{"itemIdentifier": None}]},
            {"batchItemFailures": [{"itemIdentifer": "a"}]},
            {"batchItemFailures": [{"itemIdentifier": "b"}, {}]},
            {"batchItemFailures": ["a"]},
            {"batchItemFailures": "a"},
        ],
    )
    def test_of_a_malformed_answer_lambda_takes_all_for_failed(
        self,
        claims: Claims,
        bodies: list[str],
        event: Event,
        answer: object,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert Function(claims, answer).decorated()(event, Context()) is answer
        assert claims.states(bodies) == ["there", "there", "held"]
        assert "the failure of all 4 records" in caplog.text

    @pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit()])
    def test_of_an_exception(
        self, claims: Claims, bodies: list[str], event: Event, error: BaseException
    ) -> None:
        with pytest.raises(type(error)):
            Function(claims, error).decorated()(event, Context())

        assert claims.states(bodies) == ["there", "there", "held"]

    def test_with_nothing_to_report_it_is_handed_on_as_it_is(self, claims: Claims) -> None:
        for answer in ("ok", {"statusCode": 200}, None, failed("a")):
            event = event_of(record_of(claims.sealed(), "a"))
            assert Function(claims, answer).decorated()(event, Context()) is answer
