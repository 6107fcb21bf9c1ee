"""What the doctor finds of a queue and its dead-letter queue: one thing is wrong at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.claimcheck.doctor import workers
from tests.claimcheck.doctor.shop import Shop, examine

DAY = 24 * 3600

Break: TypeAlias = Callable[[Shop], object]


def test_a_right_queue_passes(shop: Shop) -> None:
    assert examine(f"{workers.HERE}:right") == {}


def no_redrive(shop: Shop) -> None:
    shop.set_queue(RedrivePolicy="")
    shop.call("sqs", "delete_queue", QueueUrl=shop.dead_url)


def letters_of_its_own(shop: Shop) -> None:
    policy = {"deadLetterTargetArn": shop.arn, "maxReceiveCount": 3}
    shop.set_dead(RedrivePolicy=json.dumps(policy))


def both_for_four_days(shop: Shop) -> None:
    shop.set_queue(MessageRetentionPeriod=str(4 * DAY))
    shop.set_dead(MessageRetentionPeriod=str(4 * DAY))


QUEUES: dict[str, tuple[Break, str, str]] = {
    "no redrive policy": (no_redrive, "queue.redrive", "fail"),
    "one receive": (
        lambda shop: shop.set_queue(RedrivePolicy=shop.redrive_after(1)),
        "queue.redrive",
        "warn",
    ),
    "no dead-letter queue": (
        lambda shop: shop.call("sqs", "delete_queue", QueueUrl=shop.dead_url),
        "dead-letters",
        "fail",
    ),
    "dead letters go first": (
        lambda shop: shop.set_dead(MessageRetentionPeriod=str(DAY)),
        "dead-letters.retention",
        "fail",
    ),
    "dead letters go as soon": (both_for_four_days, "dead-letters.retention", "warn"),
    "no room for dead letters": (
        lambda shop: shop.set_dead(MaximumMessageSize="262144"),
        "dead-letters.limit",
        "fail",
    ),
    "dead letters are refused": (
        lambda shop: shop.set_dead(RedriveAllowPolicy='{"redrivePermission": "denyAll"}'),
        "dead-letters.allowed",
        "fail",
    ),
    "dead letters move on": (letters_of_its_own, "dead-letters.redrive", "warn"),
    "kept for an hour": (
        lambda shop: shop.set_queue(MessageRetentionPeriod="3600"),
        "queue.retention",
        "warn",
    ),
    "lost before it comes again": (
        lambda shop: shop.set_queue(MessageRetentionPeriod="60"),
        "queue.retention",
        "fail",
    ),
    "always visible": (
        lambda shop: shop.set_queue(VisibilityTimeout="0"),
        "queue.visibility",
        "fail",
    ),
    "invisible for hours": (
        lambda shop: shop.set_queue(VisibilityTimeout="40000"),
        "queue.visibility",
        "warn",
    ),
    "no ticket fits": (
        lambda shop: shop.set_queue(MaximumMessageSize="1024"),
        "queue.limit",
        "fail",
    ),
    "a low limit": (
        lambda shop: shop.set_queue(MaximumMessageSize="65536"),
        "queue.limit",
        "warn",
    ),
    "the settings claim more": (
        lambda shop: shop.monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "2000000"),
        "queue.limit",
        "fail",
    ),
    "two regions": (
        lambda shop: shop.monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1"),
        "region",
        "warn",
    ),
}


@pytest.mark.parametrize(("break_it", "name", "level"), QUEUES.values(), ids=QUEUES)
def test_it_is_found_and_the_command_mends_it(
    break_it: Break, name: str, level: str, shop: Shop
) -> None:
    break_it(shop)

    wrong = examine(f"{workers.HERE}:right")
    assert {each: finding["level"] for each, finding in wrong.items()} == {name: level}

    shop.mend(wrong[name]["command"])
    assert examine(f"{workers.HERE}:right") == {}


def test_a_retry_policy_wants_more_attempts_than_the_queue_allows(shop: Shop) -> None:
    wrong = examine(f"{workers.HERE}:patient")

    assert {each: finding["level"] for each, finding in wrong.items()} == {"queue.redrive": "fail"}
    assert "the retry policy of the worker wants 8 attempts" in wrong["queue.redrive"]["detail"]
    shop.mend(wrong["queue.redrive"]["command"])
    assert examine(f"{workers.HERE}:patient") == {}


def test_a_handler_may_run_for_longer_than_sqs_waits(shop: Shop) -> None:
    wrong = examine(f"{workers.HERE}:slow")

    assert {each: finding["level"] for each, finding in wrong.items()} == {
        "worker.timeouts": "fail"
    }
    assert "on_order may run for 13 hours" in wrong["worker.timeouts"]["detail"]


def test_there_is_no_such_queue(shop: Shop) -> None:
    url = f"{shop.url}-elsewhere"

    wrong = examine("--queue", url)

    assert {each: finding["level"] for each, finding in wrong.items()} == {"queue": "fail"}
    shop.mend(wrong["queue"]["command"])
    assert examine("--queue", url) == {}


def test_a_fifo_queue_gets_a_fifo_queue_for_dead_letters(shop: Shop) -> None:
    url = f"{shop.url}-in-order.fifo"
    shop.call(
        "sqs",
        "create_queue",
        QueueName=url.rpartition("/")[2],
        Attributes={"FifoQueue": "true", "MessageRetentionPeriod": str(14 * DAY)},
    )

    wrong = examine("--queue", url)

    assert list(wrong) == ["queue.redrive"]
    shop.mend(wrong["queue.redrive"]["command"])
    assert examine("--queue", url) == {}
