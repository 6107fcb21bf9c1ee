"""`@unwrap_claim_check` on Lambda handlers: what the function sees, and what becomes of a batch."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import claimcheck
from claimcheck import (
    ClaimStoreUnavailable,
    Purge,
    SettingsInvalid,
    open_store,
    unwrap_claim_check,
)
from claimcheck.opener import OnDuplicate
from claimcheck.stores.base import Claim, Held, Lease
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import default_client
from tests.claimcheck.lambda_claims import (
    Claims,
    State,
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
    ticket_in,
    wait_for,
)
from tests.letsgo_queue.aws_lambda.lambda_events import Context, receive_event
from tests.support.servers import AwsServer

SMALL = message_body("order:new", "small")

Event = dict[str, Any]


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    store = SqliteClaimStore(str(tmp_path / "claims.db"))
    yield Claims(store)
    store.close()


class Function:
    """A Lambda function that notes what it sees and answers as it is told."""

    def __init__(self, claims: Claims, answer: object = None) -> None:
        self.claims = claims
        self.answer = answer
        self.seen: list[Event] = []
        self.states: list[State] = []

    def __call__(self, event: Event, context: object) -> object:
        self.seen.append(event)
        self.states = self.claims.states(list(self.claims.originals))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def decorated(
        self, *, purge: Purge | None = None, on_duplicate: OnDuplicate = "acknowledge"
    ) -> Callable[[Event, object], object]:
        return unwrap_claim_check(
            claim_check=self.claims.check, purge=purge, on_duplicate=on_duplicate
        )(self)


class TestWhatTheFunctionSees:
    def test_the_original_bodies(self, claims: Claims) -> None:
        stored, compressed = claims.sealed(), claims.check.seal("x" * 5_000).body.decode()
        event = event_of(record_of(stored, "a"), record_of(compressed, "b"), record_of(SMALL, "c"))
        before = copy.deepcopy(event)
        function = Function(claims)

        assert function.decorated()(event, Context()) is None

        (seen,) = function.seen
        bodies = [claims.originals[stored], "x" * 5_000, SMALL]
        assert [record["body"] for record in seen["Records"]] == bodies
        for record, was in zip(seen["Records"], before["Records"], strict=True):
            digest = hashlib.md5(record["body"].encode()).hexdigest()
            assert record == {**was, "body": record["body"], "md5OfBody": digest}
        assert seen["Records"][2] is event["Records"][2]
        assert event == before

    def test_what_needs_no_opening_is_handed_on_as_it_is(self, claims: Claims) -> None:
        event, answer = event_of(record_of(SMALL, "a")), failed("nobody")
        function = Function(claims, answer)

        assert function.decorated()(event, Context()) is answer
        assert function.seen[0] is event

    @pytest.mark.parametrize(
        "event",
        [
            {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "a"}}}]},
            {"Records": []},
            {"httpMethod": "POST", "body": "{}"},
            {"detail-type": "Scheduled Event"},
        ],
    )
    def test_an_event_of_another_source_too(self, claims: Claims, event: Event) -> None:
        function = Function(claims, {"statusCode": 200})

        assert function.decorated()(event, Context()) == {"statusCode": 200}
        assert function.seen[0] is event

    def test_while_it_runs_the_claims_are_taken_for_as_long_as_it_may(self, claims: Claims) -> None:
        bodies = [claims.sealed(seed) for seed in range(3)]
        leases: list[float] = []

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: Context) -> None:
            assert claims.states(bodies) == ["taken"] * 3
            leases.append(claims.leased_for(bodies[0]))

        event = event_of(*(record_of(body, str(n)) for n, body in enumerate(bodies)))
        handler(event, Context(30))

        assert 20 < leases[0] <= 30
        assert claims.states(bodies) == ["gone"] * 3

    @pytest.mark.parametrize("context", [None, object()])
    def test_without_a_time_in_the_context_the_lease_is_the_default(
        self, claims: Claims, context: object
    ) -> None:
        body = claims.sealed()
        leases: list[float] = []

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: object) -> None:
            leases.append(claims.leased_for(body))

        handler(event_of(record_of(body, "a")), context)

        assert 100 < leases[0] <= 120

    def test_several_records_are_opened_at_a_time(self, tmp_path: Path) -> None:
        store = Meeting(str(tmp_path / "claims.db"))
        claims = Claims(store)
        function = Function(claims)
        records = [record_of(claims.sealed(seed), str(seed)) for seed in range(4)]

        answer = function.decorated()(event_of(*records), Context())

        assert answer is None
        assert function.states == ["taken"] * 4
        store.close()


class Meeting(SqliteClaimStore):
    """A store whose takes wait for one another: they end only where two run at a time."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._barrier = threading.Barrier(2, timeout=20)

    def take(self, claim_id: str, parts: int, lease: Lease, *, now: float) -> Claim | Held | None:
        self._barrier.wait()
        return super().take(claim_id, parts, lease, now=now)


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
        assert (claims.state(good), claims.state(bad)) == ("gone", "back")
        (logged,) = [r for r in caplog.records if r.name == "claimcheck.aws_lambda"]
        assert logged.levelno == logging.ERROR
        assert "message bad of type 'order:new'" in logged.message
        assert "does not describe the claim" in logged.message

    def test_is_reported_where_the_store_does_not_answer(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Down(SqliteClaimStore):
            def take(
                self, claim_id: str, parts: int, lease: Lease, *, now: float
            ) -> Claim | Held | None:
                raise ClaimStoreUnavailable("the store does not answer")

        claims = Claims(Down(str(tmp_path / "claims.db")))
        body = claims.sealed()
        function = Function(claims, "done")

        event = event_of(record_of(body, "a"), record_of(SMALL, "b"))
        answer = function.decorated()(event, Context())

        assert answer == failed("a")
        assert claims.state(body) == "back"
        assert [(r.levelname, r.name) for r in caplog.records] == [
            ("WARNING", "claimcheck.aws_lambda")
        ]
        claims.store.close()

    def test_its_body_is_in_no_log(self, claims: Claims, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        body = claims.check.seal(message_body("order:new", SECRET + noise(6_000))).body.decode()
        event = event_of(record_of(forge(body, sha256="0" * 64), "a"))

        Function(claims).decorated()(event, Context())

        assert "message a" in caplog.text
        assert SECRET not in caplog.text

    def test_with_nothing_left_the_function_is_not_called(self, claims: Claims) -> None:
        body = claims.sealed()
        claims.take(body)
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
        assert "It is acknowledged." in caplog.text

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

    def test_the_receive_count_of_the_record_tells_a_crash_from_a_duplicate(
        self, claims: Claims
    ) -> None:
        crashed, done = claims.sealed(1), claims.sealed(2)
        claims.finish(crashed)
        claims.finish(done)
        event = event_of(record_of(crashed, "crashed", receive_count=2), record_of(done, "done"))

        answer = Function(claims).decorated(purge="before")(event, Context())

        assert answer == failed("crashed")

    def test_without_an_id_there_is_nothing_to_report_and_the_batch_fails(
        self, claims: Claims
    ) -> None:
        good, bad = claims.sealed(1), claims.sealed(2)
        nameless = record_of(forge(bad, size=2_999), "")
        event = event_of(record_of(good, "good"), nameless)

        with pytest.raises(claimcheck.TicketInvalid):
            Function(claims).decorated()(event, Context())

        assert claims.states([good, bad]) == ["back", "back"]

    def test_a_record_that_is_not_one_of_sqs_is_reported(self, claims: Claims) -> None:
        record = record_of(claims.sealed(), "odd")
        record["attributes"] = {"ApproximateReceiveCount": "many"}

        answer = Function(claims).decorated()(event_of(record), Context())

        assert answer == failed("odd")

    def test_an_error_that_is_no_records_own_puts_back_what_was_taken(self, tmp_path: Path) -> None:
        class Broken(SqliteClaimStore):
            broken = ""

            def take(
                self, claim_id: str, parts: int, lease: Lease, *, now: float
            ) -> Claim | Held | None:
                if claim_id == self.broken:
                    raise ZeroDivisionError
                return super().take(claim_id, parts, lease, now=now)

        store = Broken(str(tmp_path / "claims.db"))
        claims = Claims(store)
        bodies = [claims.sealed(seed) for seed in range(3)]
        store.broken = ticket_in(bodies[1])["id"]
        event = event_of(*(record_of(body, str(n)) for n, body in enumerate(bodies)))

        with pytest.raises(ZeroDivisionError):
            Function(claims).decorated()(event, Context())

        assert claims.states(bodies) == ["back"] * 3
        store.close()


class TestFifo:
    def test_what_follows_in_the_group_waits_too(self, claims: Claims) -> None:
        held, after, other, before = (claims.sealed(seed) for seed in range(4))
        claims.take(held)
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
        assert claims.states([held, after, other, before]) == ["taken", "back", "gone", "gone"]

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
        claims.take(held)
        records = [record_of(held, "held"), record_of(after, "after")]
        for record in records:  # SQS fair queues
            record["attributes"]["MessageGroupId"] = "1"
        function = Function(claims)

        assert function.decorated()(event_of(*records), Context()) == failed("held")
        assert claims.state(after) == "gone"


class TestTheAnswer:
    """Of four records one could not be opened: `held`. The function saw `a`, `b` and `small`."""

    @pytest.fixture
    def bodies(self, claims: Claims) -> list[str]:
        return [claims.sealed(seed) for seed in range(3)]

    @pytest.fixture
    def event(self, claims: Claims, bodies: list[str]) -> Event:
        claims.take(bodies[2])
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
        assert claims.states(bodies) == ["gone", "gone", "taken"]
        assert deleted_by_lambda(event, completed) >= {"a", "b"}

    def test_what_the_function_reports_is_put_back(
        self, claims: Claims, bodies: list[str], event: Event
    ) -> None:
        answer = Function(claims, failed("b")).decorated()(event, Context())

        assert answer == failed("b", "held")
        assert claims.states(bodies) == ["gone", "back", "taken"]

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
        assert claims.states(bodies) == ["back", "back", "taken"]
        assert "the failure of all 4 records" in caplog.text

    @pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit()])
    def test_of_an_exception(
        self, claims: Claims, bodies: list[str], event: Event, error: BaseException
    ) -> None:
        with pytest.raises(type(error)):
            Function(claims, error).decorated()(event, Context())

        assert claims.states(bodies) == ["back", "back", "taken"]

    def test_with_nothing_to_report_it_is_handed_on_as_it_is(self, claims: Claims) -> None:
        for answer in ("ok", {"statusCode": 200}, None, failed("a")):
            event = event_of(record_of(claims.sealed(), "a"))
            assert Function(claims, answer).decorated()(event, Context()) is answer


class TestPurge:
    @pytest.mark.parametrize(
        ("purge", "while_it_runs", "afterwards", "after_a_failure"),
        [
            ("after", "taken", "gone", "back"),
            ("before", "gone", "gone", "back"),
            ("never", "back", "back", "back"),
        ],
    )
    def test_means_what_it_means_for_a_worker(
        self,
        claims: Claims,
        purge: Purge,
        while_it_runs: str,
        afterwards: str,
        after_a_failure: str,
    ) -> None:
        good, bad = claims.sealed(1), claims.sealed(2)
        function = Function(claims, failed("bad"))
        event = event_of(record_of(good, "good"), record_of(bad, "bad"))

        answer = function.decorated(purge=purge)(event, Context())

        assert answer == failed("bad")
        assert function.states == [while_it_runs] * 2
        assert claims.states([good, bad]) == [afterwards, after_a_failure]


class TestSettings:
    @pytest.fixture(autouse=True)
    def environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/environment.db")

    @pytest.mark.parametrize("arn", ["arn:aws:sqs:us-east-2:123456789012:my-queue", ""])
    def test_come_from_the_environment(self, tmp_path: Path, arn: str) -> None:
        claims = Claims(open_store(f"sqlite:///{tmp_path}/environment.db"))
        body = claims.sealed()
        seen: list[str] = []

        @unwrap_claim_check
        def handler(event: Event, context: object) -> None:
            seen.extend(record["body"] for record in event["Records"])

        handler(event_of({**record_of(body, "a"), "eventSourceARN": arn}), None)

        assert seen == [claims.originals[body]]
        assert claims.state(body) == "gone"
        claims.store.close()

    def test_without_a_store_named_claims_are_where_those_of_the_queue_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CLAIMCHECK_STORE")
        monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path}/work.db")
        claims = Claims(open_store(f"sqlite:///{tmp_path}/work.db"))
        body = claims.sealed()

        @unwrap_claim_check
        def handler(event: Event, context: object) -> None: ...

        handler(event_of({**record_of(body, "a"), "eventSourceARN": "letsgo:local:me"}), None)

        assert claims.state(body) == "gone"
        claims.store.close()

    def test_a_wrong_one_fails_the_batch_and_nothing_is_taken(
        self, claims: Claims, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = claims.sealed()
        monkeypatch.setenv("CLAIMCHECK_PURGE", "sometimes")

        @unwrap_claim_check
        def handler(event: Event, context: object) -> None: ...

        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_PURGE='sometimes'"):
            handler(event_of(record_of(body, "a")), None)
        assert claims.state(body) == "back"


class TestKindsOfFunctions:
    @pytest.fixture
    def body(self, claims: Claims) -> str:
        return claims.sealed()

    @pytest.fixture
    def event(self, body: str) -> Event:
        return event_of(record_of(body, "a"))

    def test_async(self, claims: Claims, body: str, event: Event) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> str:
            await asyncio.sleep(0)
            assert claims.state(body) == "taken"
            return str(event["Records"][0]["body"])

        assert asyncio.run(handler(event, Context())) == claims.originals[body]
        assert claims.state(body) == "gone"

    def test_async_that_raises(self, claims: Claims, body: str, event: Event) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(handler(event, Context()))
        assert claims.state(body) == "back"

    def test_async_with_nothing_left(self, claims: Claims, body: str, event: Event) -> None:
        claims.take(body)

        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> None:
            raise AssertionError

        assert asyncio.run(handler(event, Context())) == failed("a")

    def test_async_with_nothing_to_open(self, claims: Claims) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> list[str]:
            return ids_in(event)

        assert asyncio.run(handler(event_of(record_of(SMALL, "a")), None)) == ["a"]

    def test_async_that_is_cancelled(self, claims: Claims, body: str, event: Event) -> None:
        started = asyncio.Event()

        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> None:
            started.set()
            await asyncio.Event().wait()

        async def cancel() -> None:
            task = asyncio.create_task(handler(event, Context()))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert claims.state(body) == "back"

    @pytest.mark.parametrize("purge", ["after", "before"])
    def test_async_that_is_cancelled_while_it_is_opened(self, tmp_path: Path, purge: Purge) -> None:
        store = Slow(str(tmp_path / "claims.db"))
        claims = Claims(store)
        body = claims.sealed()

        @unwrap_claim_check(claim_check=claims.check, purge=purge)
        async def handler(event: Event, context: object) -> None:
            raise AssertionError

        async def cancel() -> None:
            task = asyncio.create_task(handler(event_of(record_of(body, "a")), Context()))
            await asyncio.to_thread(store.taking.wait, 20)
            task.cancel()
            await asyncio.sleep(0)
            store.go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert claims.state(body) == "back"
        store.close()

    def test_one_that_only_returns_a_coroutine(
        self, claims: Claims, body: str, event: Event
    ) -> None:
        async def work(event: Event, context: object) -> str:
            await asyncio.sleep(0)
            assert claims.state(body) == "taken"
            return str(event["Records"][0]["body"])

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: object) -> Any:
            return work(event, context)

        assert asyncio.run(handler(event, Context())) == claims.originals[body]
        assert claims.state(body) == "gone"

    def test_a_method(self, claims: Claims, body: str, event: Event) -> None:
        class App:
            @unwrap_claim_check(claim_check=claims.check)
            def handler(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

            @unwrap_claim_check(claim_check=claims.check)
            @staticmethod
            def static(event: Event, _context: object) -> str:
                return str(event["Records"][0]["body"])

        assert App().handler(event, None) == claims.originals[body]
        assert claims.state(body) == "gone"
        again = claims.sealed(2)
        assert App().static(event_of(record_of(again, "b")), None) == claims.originals[again]

    def test_a_bound_method(self, claims: Claims, body: str, event: Event) -> None:
        class App:
            def handler(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

        handler = unwrap_claim_check(claim_check=claims.check)(App().handler)

        assert handler(event, None) == claims.originals[body]

    def test_an_object_with_an_async_call(self, claims: Claims, body: str, event: Event) -> None:
        class App:
            async def __call__(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

        handler = unwrap_claim_check(claim_check=claims.check)(App())

        assert asyncio.run(handler(event, None)) == claims.originals[body]

    def test_called_by_name(self, claims: Claims, body: str, event: Event) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: object) -> str:
            return str(event["Records"][0]["body"])

        assert handler(context=None, event=event) == claims.originals[body]

    def test_a_generator_is_refused(self) -> None:
        def handler(event: Event, context: object) -> Iterator[None]:
            yield

        with pytest.raises(SettingsInvalid, match="handler is a generator: calling it would run"):
            unwrap_claim_check(handler)

    def test_decorated_twice_it_opens_once(self, claims: Claims, body: str, event: Event) -> None:
        once = unwrap_claim_check(claim_check=claims.check)
        function = Function(claims)

        once(once(function))(event, Context())

        assert function.seen[0]["Records"][0]["body"] == claims.originals[body]
        assert function.states == ["taken"]
        assert claims.state(body) == "gone"


class Slow(SqliteClaimStore):
    """A store whose take lasts until it may go on."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.taking, self.go_on = threading.Event(), threading.Event()

    def take(self, claim_id: str, parts: int, lease: Lease, *, now: float) -> Claim | Held | None:
        self.taking.set()
        assert self.go_on.wait(20)
        return super().take(claim_id, parts, lease, now=now)


PROGRAM = """
import json, sys
from claimcheck import unwrap_claim_check

@unwrap_claim_check
def handler(event, context):
    return event

event = json.loads(sys.argv[1])
assert handler(event, None) is event
print(json.dumps(sorted(sys.modules)))
"""


def test_small_messages_load_nothing_of_aws() -> None:
    """A Lambda pays for each import at its cold start."""
    event = json.dumps(event_of(record_of(SMALL, "a"), record_of("text", "b")))

    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", PROGRAM, event])))

    assert "claimcheck.unwrap" in loaded
    assert loaded.isdisjoint({"boto3", "botocore", "pynamodb", "asyncio"})


class TestOnSqsAndDynamoDB:
    """Messages are received as Lambda's pollers do, and deleted as Lambda does."""

    @pytest.fixture
    def table(self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> str:
        table = ministack.make_table_name()
        ClaimTable(table, region=ministack.region).create()
        monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
        monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
        monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
        return table

    def receive(
        self, server: AwsServer, queue: str, wanted: int, *, visibility_timeout: int = 600
    ) -> Event:
        """The event of the next batch."""
        records: list[Mapping[str, Any]] = []

        def more() -> bool:
            event = receive_event(server, queue, visibility_timeout=visibility_timeout)
            records.extend(event["Records"])
            return len(records) >= wanted

        wait_for(more, f"{wanted} messages")
        return event_of(*records)

    def delete(self, server: AwsServer, queue: str, event: Event, answer: object) -> None:
        deleted = deleted_by_lambda(event, answer)
        for record in event["Records"]:
            if record["messageId"] in deleted:
                server.sqs().delete_message(QueueUrl=queue, ReceiptHandle=record["receiptHandle"])

    def items(self, server: AwsServer, table: str) -> int:
        return server.dynamodb().scan(TableName=table, ConsistentRead=True)["Count"]

    def test_what_fails_comes_again_and_in_the_end_nothing_is_left(
        self, ministack: AwsServer, table: str
    ) -> None:
        queue = ministack.make_queue()
        payloads = [noise(3_000, seed) for seed in range(3)]
        for payload in (*payloads, "small"):
            claimcheck.enqueue({"type": "order:new", "payload": payload}, queue=queue)
        handled: list[str] = []

        @unwrap_claim_check
        def handler(event: Event, context: object) -> object:
            failures = []
            for record in event["Records"]:
                payload = json.loads(record["body"])["payload"]
                if payload == payloads[0] and record["attributes"]["ApproximateReceiveCount"] < "2":
                    failures.append(record["messageId"])
                else:
                    handled.append(payload)
            return failed(*failures)

        event = self.receive(ministack, queue, 4, visibility_timeout=3)
        answer = handler(event, Context())
        assert isinstance(answer, dict)
        assert len(answer["batchItemFailures"]) == 1
        self.delete(ministack, queue, event, answer)
        assert sorted(handled) == sorted([*payloads[1:], "small"])
        assert self.items(ministack, table) == 2

        event = self.receive(ministack, queue, 1)
        self.delete(ministack, queue, event, handler(event, Context()))

        assert sorted(handled) == sorted([*payloads, "small"])
        assert self.items(ministack, table) == 0

    def test_fifo_keeps_its_order(self, ministack: AwsServer, table: str) -> None:
        queue = ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")
        payloads = [noise(3_000, seed) for seed in range(3)]
        for payload in payloads:
            claimcheck.enqueue({"type": "order:new", "payload": payload}, group_id="1", queue=queue)
        event = self.receive(ministack, queue, 3)
        store = open_store(f"dynamodb://{table}", region=ministack.region)
        claims = Claims(store)
        bodies = [record["body"] for record in event["Records"]]
        claims.take(bodies[1], seconds=60)
        handled: list[str] = []

        @unwrap_claim_check
        def handler(event: Event, context: object) -> Any:
            handled.extend(json.loads(r["body"])["payload"] for r in event["Records"])

        answer = handler(event, Context())

        assert answer == failed(*ids_in(event)[1:])
        assert handled == payloads[:1]
        assert claims.states(bodies)[::2] == ["gone", "back"]
        store.close()

    def test_a_message_that_is_handled_elsewhere_comes_when_that_lease_ends(
        self, ministack: AwsServer, table: str
    ) -> None:
        queue = ministack.make_queue()
        claimcheck.enqueue({"type": "order:new", "payload": noise(3_000)}, queue=queue)
        event = self.receive(ministack, queue, 1)
        claims = Claims(open_store(f"dynamodb://{table}", region=ministack.region))
        claims.take(event["Records"][0]["body"], seconds=1.5)
        handled: list[str] = []

        @unwrap_claim_check
        def handler(event: Event, context: object) -> Any:
            handled.extend(ids_in(event))

        assert handler(event, Context()) == failed(*ids_in(event))
        again = self.receive(ministack, queue, 1)
        assert handler(again, Context()) is None

        assert handled == ids_in(event)
        assert self.items(ministack, table) == 0
        claims.store.close()
        default_client().close()

    def test_where_sqs_cannot_be_told_it_comes_by_its_own_timeout(
        self, ministack: AwsServer, claims: Claims, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        body = claims.sealed()
        claims.take(body)
        record = record_of(body, "a")  # of a queue that is not there

        assert Function(claims).decorated()(event_of(record), Context()) == failed("a")
        assert "message a keeps its own visibility timeout" in caplog.text
