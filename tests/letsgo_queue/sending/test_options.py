"""The options of a message: what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from letsgo_queue import Client, MessageInvalid
from letsgo_queue.delays import LONGEST_DELAY_SECONDS
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET, bodies, order, printed
from tests.support.servers import AwsServer


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
        ({"attributes": {"LetsGoDueAt": "v"}}, "'LetsGoDueAt': the library sets it itself"),
        ({"attributes": {"LetsGoDeadLetterReason": "v"}}, "'LetsGoDeadLetterReason': the library"),
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
        ({}, r"fifo is FIFO: say which messages keep their order .* group_id="),
        ({"group_id": "g", "delay_seconds": 1}, "no delay per message on a FIFO queue"),
        ({"group_id": "g", "deduplication_id": ""}, "SQS takes text of 1 to 128"),
        ({"group_id": "g", "deduplication_id": "ä"}, "SQS takes text of 1 to 128"),
    ],
)
def test_refuses_a_wrong_option_for_a_fifo_queue(
    ministack: AwsServer, options: dict[str, Any], text: str
) -> None:
    client = Client(ministack.make_queue(FifoQueue="true"))

    with pytest.raises(MessageInvalid, match=text):
        client.enqueue(order(), **options)

    assert bodies(client.transport()) == []
