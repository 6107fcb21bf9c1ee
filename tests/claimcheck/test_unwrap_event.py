"""`@unwrap_claim_check` on Lambda handlers: what a function sees, and how long it holds a claim."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claimcheck import (
    DuplicateSuppressed,
    Purge,
    SettingsInvalid,
    UnwrapOptions,
    open_store,
    unwrap_claim_check,
    unwrap_event,
    unwrap_record,
)
from letsgo_queue import listen_to_all
from tests.claimcheck.lambda_claims import (
    Claims,
    Function,
    State,
    event_of,
    failed,
    record_of,
)
from tests.claimcheck.support import message_body, small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SMALL = message_body("order:new", "small")

Event = dict[str, Any]


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

    def test_while_it_runs_the_claims_are_held_for_as_long_as_it_may(self, claims: Claims) -> None:
        bodies = [claims.sealed(seed) for seed in range(3)]
        leases: list[float] = []

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: Context) -> None:
            assert claims.states(bodies) == ["held"] * 3
            leases.append(claims.leased_for(bodies[0]))

        event = event_of(*(record_of(body, str(n)) for n, body in enumerate(bodies)))
        handler(event, Context(30))

        assert 20 < leases[0] <= 30
        assert claims.states(bodies) == ["done"] * 3

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

    def test_several_records_are_opened_at_a_time(self, claims: Claims) -> None:
        watched = Watched(claims.store)
        together = threading.Barrier(2, timeout=20)
        watched.before("acquire", together.wait, times=4)
        records = [record_of(claims.sealed(seed), str(seed)) for seed in range(4)]
        claims.check = small_claim_check(watched.store)
        function = Function(claims)

        assert function.decorated()(event_of(*records), Context()) is None

        assert function.states == ["held"] * 4


class TestPurge:
    @pytest.mark.parametrize(
        ("purge", "while_it_runs", "afterwards"),
        [("after", "held", "done"), ("before", "handed over", "done"), ("never", "held", "kept")],
    )
    def test_means_what_it_means_for_a_worker(
        self, claims: Claims, purge: Purge, while_it_runs: State, afterwards: State
    ) -> None:
        good, bad = claims.sealed(1), claims.sealed(2)
        function = Function(claims, failed("bad"))
        event = event_of(record_of(good, "good"), record_of(bad, "bad"))

        answer = function.decorated(purge=purge)(event, Context())

        assert answer == failed("bad")
        assert function.states == [while_it_runs] * 2
        assert claims.states([good, bad]) == [afterwards, "there"]


def test_the_form_for_events_takes_the_same_options(claims: Claims) -> None:
    body = claims.sealed()
    seen: list[str] = []

    @unwrap_event(claim_check=claims.check, purge="never", once=True, on_duplicate="raise")
    def handler(event: Event, context: Context) -> None:
        seen.extend(record["body"] for record in event["Records"])

    event = event_of(record_of(body, "a"), record_of(SMALL, "b"))

    assert handler(event, Context()) is None
    assert seen == [claims.originals[body], SMALL]
    assert claims.state(body) == "kept"
    assert handler(event, Context()) == failed("a", "b")
    quiet: UnwrapOptions = {"claim_check": claims.check, "once": True}
    assert unwrap_event(**quiet)(print)(event, Context()) == failed()
    assert len(seen) == 2


@pytest.mark.parametrize("unwrap", [unwrap_event, unwrap_record])
def test_a_duplicate_is_counted(claims: Claims, unwrap: Callable[..., Any]) -> None:
    """By whatever listens to the process: a function has no worker and no client to listen to."""
    body = claims.sealed()
    claims.finish(body)
    record = record_of(body, "a", receive_count=3)
    heard: list[object] = []
    stop = listen_to_all(heard.append)

    def function(argument: object) -> None:
        raise AssertionError

    unwrap(claim_check=claims.check)(function)(
        record if unwrap is unwrap_record else event_of(record)
    )
    stop()

    assert heard == [
        DuplicateSuppressed(
            type="order:new",
            queue="https://sqs.us-east-2.amazonaws.com/123456789012/my-queue",
            message_id="a",
            receive_count=3,
        )
    ]


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
        assert claims.state(body) == "done"
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

        assert claims.state(body) == "done"
        claims.store.close()

    def test_a_wrong_one_fails_the_batch_and_nothing_is_acquired(
        self, claims: Claims, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = claims.sealed()
        monkeypatch.setenv("CLAIMCHECK_PURGE", "sometimes")

        @unwrap_claim_check
        def handler(event: Event, context: object) -> None: ...

        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_PURGE='sometimes'"):
            handler(event_of(record_of(body, "a")), None)
        assert claims.state(body) == "there"


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
