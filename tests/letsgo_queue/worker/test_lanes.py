"""The order of messages in hand, as a FIFO queue has it."""

from __future__ import annotations

from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.lanes import Lanes


def messages(names: str) -> list[IncomingMessage]:
    """Messages named by their group and number: `"a1 a2 b1"`."""
    return [
        IncomingMessage(
            ReceivedMessage(
                message_id=name,
                receipt_handle=name,
                body="{}",
                attributes={},
                receive_count=1,
                sent_at=0.0,
                group_id=name[0],
            ),
            MemoryTransport(),
        )
        for name in names.split()
    ]


def names(messages: object) -> str:
    assert isinstance(messages, list | tuple)
    return " ".join(message.message_id for message in messages)


def test_on_another_queue_all_may_begin_at_once() -> None:
    lanes = Lanes(fifo=False)
    taken = messages("a1 a2 b1")

    assert lanes.enter(taken) == taken
    assert lanes.leave(taken[0]) == ()
    assert lanes.fail(taken[1]) == ()
    assert lanes.waiting == 0


def test_groups_go_beside_each_other_and_each_in_order() -> None:
    lanes = Lanes(fifo=True)
    a1, b1, a2, a3, b2 = taken = messages("a1 b1 a2 a3 b2")

    assert names(lanes.enter(taken)) == "a1 b1"
    assert lanes.waiting == 3
    assert names(lanes.leave(a1)) == "a2"
    assert names(lanes.leave(b1)) == "b2"
    assert names(lanes.leave(a2)) == "a3"
    assert lanes.waiting == 0
    assert lanes.leave(a3) == ()
    assert lanes.leave(b2) == ()
    assert names(lanes.enter(messages("a4"))) == "a4"


def test_what_is_received_later_waits_behind() -> None:
    lanes = Lanes(fifo=True)
    (a1,) = messages("a1")
    lanes.enter([a1])

    assert names(lanes.enter(messages("a2 b1"))) == "b1"
    assert names(lanes.leave(a1)) == "a2"


def test_where_one_fails_the_rest_of_its_group_does_not_begin() -> None:
    lanes = Lanes(fifo=True)
    taken = messages("a1 a2 a3 b1 b2")
    lanes.enter(taken)

    assert names(lanes.fail(taken[0])) == "a2 a3"
    assert lanes.waiting == 1
    assert names(lanes.leave(taken[3])) == "b2"
    assert names(lanes.enter(messages("a1"))) == "a1", "the group is to begin anew"
