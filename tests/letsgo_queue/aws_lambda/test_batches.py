"""The order of a batch, which records come again, and how much time there is."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from letsgo_queue.aws_lambda.batches import Batch, Invocation
from tests.letsgo_queue.aws_lambda.lambda_events import Context, event_of


def batch_of(count: int, groups: str = "") -> Batch:
    """A batch of messages m0, m1, ...; on a FIFO queue with one letter for each one's group."""
    return Batch(event_of(*["{}"] * count, fifo_groups=list(groups))["Records"])


def names(batch: Batch) -> list[list[str]]:
    return [[record.name for record in lane] for lane in batch.lanes()]


def failures(batch: Batch) -> list[str]:
    return [each["itemIdentifier"] for each in batch.response()["batchItemFailures"]]


class TestStandardQueues:
    def test_every_record_is_a_lane(self) -> None:
        assert names(batch_of(3)) == [["m0"], ["m1"], ["m2"]]

    def test_a_failure_is_its_own(self) -> None:
        batch = batch_of(3)

        batch.fail(batch.records[1])

        assert failures(batch) == ["m1"]
        assert not any(map(batch.is_behind_a_failure, batch.records))

    def test_a_fair_queue_has_groups_and_no_order(self) -> None:
        batch = batch_of(3)
        for record in batch.records:
            record.original["attributes"] = {"MessageGroupId": "a"}  # type: ignore[index]  # a dict

        batch.fail(batch.records[0])

        assert len(batch.lanes()) == 3
        assert not batch.is_behind_a_failure(batch.records[1])


class TestFifoQueues:
    def test_a_group_is_a_lane(self) -> None:
        assert names(batch_of(5, "abaca")) == [["m0", "m2", "m4"], ["m1"], ["m3"]]

    def test_a_failure_takes_with_it_what_is_behind_it_in_its_group(self) -> None:
        batch = batch_of(4, "abab")

        batch.fail(batch.records[0])

        behind = [each.name for each in batch.records if batch.is_behind_a_failure(each)]
        assert behind == ["m0", "m2"]


def test_failures_are_reported_once_and_in_order() -> None:
    batch = batch_of(3)

    for number in (2, 0, 2):
        batch.fail(batch.records[number])

    assert failures(batch) == ["m0", "m2"]


class TestInvocation:
    def test_counts_down_from_what_the_context_says(self) -> None:
        invocation = Invocation(Context(seconds=600))

        assert invocation.seconds_left is not None
        assert 500 < invocation.seconds_left <= 600

    def test_goes_by_the_monotonic_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not by a clock that somebody may set."""
        invocation = Invocation(Context(seconds=600))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3_600)

        assert invocation.has_time_for(500)

    def test_has_time_for_what_leaves_a_second(self) -> None:
        invocation = Invocation(Context(seconds=600))

        assert invocation.has_time_for(0)
        assert invocation.has_time_for(500)
        assert not invocation.has_time_for(599.5)

    @pytest.mark.parametrize(
        "context",
        [
            None,
            object(),
            SimpleNamespace(get_remaining_time_in_millis=None),
            SimpleNamespace(get_remaining_time_in_millis=lambda: "soon"),
        ],
    )
    def test_without_a_time_has_all_there_is_and_waits_for_nothing(self, context: Any) -> None:
        invocation = Invocation(context)

        assert invocation.seconds_left is None
        assert invocation.has_time_for(10_000)
        assert not invocation.wait(0.001)

    @pytest.mark.parametrize(("seconds", "waits"), [(600, True), (1, False), (-1, False)])
    def test_waits_while_there_is_time(self, seconds: float, waits: bool) -> None:
        assert Invocation(Context(seconds=seconds)).wait(0.001) is waits
