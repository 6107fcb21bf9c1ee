"""The options of a message: what is refused before anything is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client, MessageInvalid, SettingsInvalid
from letsgo_queue.delays import LONGEST_DELAY_SECONDS
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET, bodies, order, printed


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delay_seconds": -1}, "delay_seconds=-1: a message can be delayed by 0 to 1"),
        (
            {"delay_seconds": -0.1},
            r"delay_seconds=-0\.1: a message can be delayed by 0 to 1,209,600",
        ),
        (
            {"delay_seconds": float("nan")},
            "delay_seconds=nan: a message can be delayed by 0 to 1,209,600",
        ),
        (
            {"delay_seconds": float("inf")},
            "delay_seconds=inf: a message can be delayed by 0 to 1,209,600",
        ),
        (
            {"delay_seconds": LONGEST_DELAY_SECONDS + 0.5},
            r"delay_seconds=1209600\.5: a message can be delayed by 0 to",
        ),
        ({"deduplication_id": "d"}, "deduplication_id is given: the queue memory:// is not"),
        ({"group_id": ""}, r"group_id \(0 characters\): SQS takes text of 1 to 128"),
        ({"group_id": "a b"}, r"group_id \(3 characters\): SQS takes text of 1 to 128"),
        ({"group_id": SECRET + "ü"}, r"group_id \(26 characters\): SQS takes text of 1 to 128"),
        ({"group_id": "g" * 129}, r"group_id \(129 characters\): SQS takes text"),
        ({"group_id": 42}, r"group_id \(int\): SQS takes text"),
        ({"attributes": {"a": True}}, "no booleans"),
        ({"attributes": [SECRET]}, "attributes are a list: give a mapping of names to values"),
        ({"attributes": {1: SECRET}}, "an attribute name is of type int: give text"),
        ({"delay_seconds": timedelta(days=15)}, "delay_seconds=1296000: a message can be"),
        ({"delay_seconds": timedelta(seconds=-1)}, "delay_seconds=-1: a message can be"),
        ({"delay_seconds": 10**5000}, "delay_seconds=inf: a message can be delayed by 0 to 1,20"),
        ({"delay_seconds": SECRET}, "delay_seconds is of type str: give a number of seconds, or"),
        ({"delay_seconds": None}, "delay_seconds is of type NoneType"),
        ({"delay_seconds": True}, "delay_seconds is of type bool"),
        ({"attributes": {"LetsGoDueAt": "v"}}, "'LetsGoDueAt': the library sets it itself"),
        ({"attributes": {"LetsGoFailure": "v"}}, "'LetsGoFailure': the library"),
    ],
)
def test_refuses_a_wrong_option(
    client: Client, queue: MemoryTransport, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(MessageInvalid, match=text) as refused:
        client.enqueue(order(secret=SECRET), **options)

    assert SECRET not in printed(refused.value)
    assert bodies(queue) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"attributes": [SECRET]}, "attributes are a list"),
        ({"delay_seconds": "5"}, "delay_seconds is of type str"),
        ({"deduplication_id": SECRET}, "takes a function as deduplication_id"),
    ],
)
def test_refuses_a_wrong_option_for_many(
    client: Client, queue: MemoryTransport, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(MessageInvalid, match=text) as refused:
        client.enqueue_many([order()], **options)

    assert SECRET not in printed(refused.value)
    assert bodies(queue) == []


@pytest.mark.parametrize("wrong", [5, b"memory://", ["memory://"], MemoryTransport()])
def test_a_queue_is_named_by_its_url(client: Client, wrong: Any) -> None:
    kind = type(wrong).__name__
    with pytest.raises(SettingsInvalid, match=f"named by its URL, not by a {kind}"):
        client.enqueue(order(), queue=wrong)
    if not isinstance(wrong, MemoryTransport):
        with pytest.raises(SettingsInvalid, match=f"it is not of type {kind}"):
            Client(wrong)


@pytest.mark.parametrize("delay", [timedelta(minutes=5), timedelta(seconds=299.5), 299.5, 300])
def test_a_delay_is_a_number_of_seconds_or_a_timedelta(
    queue: MemoryTransport, clock: Clock, delay: float | timedelta
) -> None:
    Client(queue, clock=clock).enqueue(order(), delay_seconds=delay)

    clock.advance(299)
    assert bodies(queue) == []
    clock.advance(1)
    assert len(bodies(queue)) == 1
