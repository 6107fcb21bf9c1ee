"""When a server gave its answers, by their own dates."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from letsgo_queue.transports.sqs_clock import ServerClock

EPOCH = 1_700_000_000


def answered_at(clock: ServerClock, date: float, asked: float, arrived: float) -> float:
    text = formatdate(EPOCH + date, usegmt=True)
    return clock.answered_at(text, asked=asked, arrived=arrived)


def test_an_answer_on_time_was_given_when_it_arrived() -> None:
    clock = ServerClock()

    assert answered_at(clock, 0, asked=100.0, arrived=100.1) == 100.1
    assert answered_at(clock, 1, asked=101.0, arrived=101.9) == 101.9
    assert answered_at(clock, 20, asked=102.0, arrived=120.5) == 120.5, "a long poll"


def test_an_answer_that_was_held_up_was_given_before() -> None:
    clock = ServerClock()
    answered_at(clock, 0, asked=100.0, arrived=100.1)

    assert answered_at(clock, 5, asked=105.0, arrived=125.1) == pytest.approx(106.1)


def test_no_answer_is_older_than_its_request() -> None:
    """As it seems where the server's clock was set back."""
    clock = ServerClock()
    answered_at(clock, 0, asked=100.0, arrived=100.1)

    assert answered_at(clock, -600, asked=110.0, arrived=110.1) == 110.0


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_date_counts_from_its_arrival(date: str | None) -> None:
    assert ServerClock().answered_at(date, asked=1.0, arrived=2.0) == 2.0
