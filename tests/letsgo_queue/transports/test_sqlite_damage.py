"""A damaged row of a SQLite queue: it goes to the dead letters alone, and nobody stops for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from letsgo_queue import Message, QueueSettings, Worker
from letsgo_queue.admin import DeadLetterFilter, open_admin
from letsgo_queue.admin.base import QueueAdmin
from letsgo_queue.errors import DeadLettersLeft
from letsgo_queue.failure import Failure
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.support import COMPLETE, SECRET, bodies, outgoing

GOOD = 7

DAMAGES = {
    "attributes that are no JSON": f"attributes = '{SECRET}'",
    "attributes that are no object": "attributes = '[1, 2]'",
    "attributes of another shape": 'attributes = \'{"a": {"b": 1}}\'',
    "attributes with half a value": 'attributes = \'{"a": ["String"]}\'',
    "attributes that nest deeply": "attributes = printf('%.*c', 100000, '[')",
    "attributes that are not UTF-8": "attributes = CAST(x'7bff7d' AS TEXT)",
    "attributes in bytes": "attributes = x'7b7d'",
    "an attribute that is no base64": 'attributes = \'{"a": ["Binary", "not base64!"]}\'',
    "a body that is not UTF-8": "body = CAST(x'7b22ff227d' AS TEXT)",
    "a body of half a surrogate pair": "body = CAST(x'22eda08022' AS TEXT)",
    "a body in bytes": "body = x'7b7d'",
    "an id that is not UTF-8": "message_id = CAST(x'ff' AS TEXT)",
    "an id in bytes": "message_id = x'00'",
    "an empty id": "message_id = ''",
    "a group that is not UTF-8": "group_id = CAST(x'ff' AS TEXT)",
    "a group in bytes": "group_id = x'00'",
    "a trace in bytes": "trace_header = x'00'",
    "a count that is text": "receive_count = 'often'",
    "a count below zero": "receive_count = -1",
    "half a count": "receive_count = 0.5",
    "a sent time that is text": "sent_at = 'yesterday'",
    "a sent time in bytes": "sent_at = x'00'",
    "a sent time without end": "sent_at = 9e999",
    "a sent time after all dates": "sent_at = 1e300",
    "a due time that is text": "visible_at = 'soon'",
    "a due time in bytes": "visible_at = x'00'",
    "a due time without end": "visible_at = 9e999",
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db?max_receive_count=3"


@pytest.fixture
def transport(url: str) -> Iterator[SqliteTransport]:
    with closing(SqliteTransport(url)) as transport:
        yield transport


@pytest.fixture
def admin(url: str) -> Iterator[QueueAdmin]:
    with closing(open_admin(url, QueueSettings())) as admin:
        yield admin


def damage(url: str, change: str, table: str = "queue_messages") -> None:
    """Change the fourth row, which is one in the middle."""
    path = url.removeprefix("sqlite:///").partition("?")[0]
    with closing(sqlite3.connect(path)) as connection, connection:
        changed = connection.execute(f"UPDATE {table} SET {change} WHERE sequence = 4")
        assert changed.rowcount == 1


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES.keys())
def test_it_is_dead_alone_and_the_others_are_handled(
    url: str,
    transport: SqliteTransport,
    admin: QueueAdmin,
    caplog: pytest.LogCaptureFixture,
    change: str,
) -> None:
    for number in range(GOOD + 1):
        transport.send(outgoing(f'{{"type":"n","payload":{number}}}', attributes=COMPLETE))
    damage(url, change)
    handled: list[int] = []
    worker = Worker(transport)

    @worker.handler("n")
    def handle(message: Message[int]) -> None:
        handled.append(message.payload)

    worker.run(burst=True)

    assert sorted(handled) == [0, 1, 2, 4, 5, 6, 7]
    status = admin.status()
    assert (status.waiting, status.in_flight, status.delayed, status.dead) == (0, 0, 0, 1)
    column = change.partition(" ")[0]
    assert f"row 4 is damaged: {column} cannot be read. It is in the dead-letter" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "change",
    [change for change in DAMAGES.values() if not change.startswith("visible_at")],
    ids=[name for name, change in DAMAGES.items() if not change.startswith("visible_at")],
)
def test_a_damaged_letter_is_listed_and_holds_up_no_other(
    url: str, transport: SqliteTransport, admin: QueueAdmin, change: str
) -> None:
    for number in range(GOOD + 1):
        transport.send(outgoing(f'{{"type":"n","payload":{number}}}'))
    for message in transport.receive(max_messages=10, wait_seconds=0, visibility_timeout=600):
        transport.move_to_dead_letters(message, Failure.because("no use"))
    damage(url, change, "queue_dead_letters")

    letters = admin.dead_letters()
    with pytest.raises(DeadLettersLeft, match=r"7 dead letters were moved.* row 4 is damaged"):
        admin.redrive()

    column = change.partition(" ")[0]
    assert letters[3].reason == f"row 4 is damaged: {column} cannot be read."
    assert [letter.reason for letter in letters].count("no use") == GOOD
    (left,) = admin.dead_letters()
    assert left == letters[3]
    assert len(bodies(transport)) == GOOD


def test_what_can_be_read_of_a_damaged_letter_is_shown(
    url: str, transport: SqliteTransport, admin: QueueAdmin
) -> None:
    for number in range(4):
        transport.send(outgoing(f'{{"type":"n","payload":{number}}}', attributes=COMPLETE))
    damage(url, "body = CAST(x'7b22ff227d' AS TEXT), message_id = x'00'")
    bodies(transport)

    (letter,) = admin.dead_letters()

    assert (letter.message_id, letter.body) == ("row-4", '{"\ufffd"}')
    assert letter.attributes == COMPLETE
    assert letter.reason == "row 4 is damaged: body, message_id cannot be read."
    with pytest.raises(DeadLettersLeft) as refused:
        admin.redrive(only=DeadLetterFilter(ids=["row-4"]))
    assert list(refused.value.errors) == ["row-4"]
    assert admin.delete(only=DeadLetterFilter(ids=["row-4"])) == 1
    assert admin.dead_letters() == []
