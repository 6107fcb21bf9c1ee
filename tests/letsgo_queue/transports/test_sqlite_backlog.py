"""A SQLite queue with many messages: what a receive costs does not grow with them.

Counted in steps of SQLite's virtual machine, which are the same on every machine.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.support import bodies, outgoing, receive

FEW, MANY = 100, 20_000

TOLERANCE = 1.2
"""A receive of the same messages takes about as many steps, whatever is behind or before them."""


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """The connections that the queue makes."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connecting(*arguments: object, **options: object) -> sqlite3.Connection:
        made.append(connect(*arguments, **options))  # type: ignore[call-overload]  # passed on
        return made[-1]

    monkeypatch.setattr("letsgo_queue.sqlite.sqlite3.connect", connecting)
    return made


@pytest.fixture
def transport(tmp_path: Path, clock: Clock) -> Iterator[SqliteTransport]:
    url = f"sqlite:///{tmp_path}/queue.db?max_receive_count=2&visibility_timeout=10"
    with closing(SqliteTransport(url, clock=clock)) as transport:
        yield transport


def fill(connection: sqlite3.Connection, count: int, *, due: float, receives: int = 0) -> None:
    """Put messages into the file as if they had been sent in the second before `due`."""
    connection.execute(
        "WITH RECURSIVE numbers (n) AS"
        " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)"
        " INSERT INTO queue_messages"
        " (message_id, body, attributes, sent_at, visible_at, receive_count)"
        " SELECT hex(randomblob(16)), '{}', '{}', :due - 1.0 * n / :count,"
        " :due - 1.0 * n / :count, :receives FROM numbers",
        {"count": count, "due": due, "receives": receives},
    )


def steps_of(connection: sqlite3.Connection, call: Callable[[], object]) -> int:
    """How many steps SQLite makes for a call."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(step, 1)
    try:
        call()
    finally:
        connection.set_progress_handler(None, 0)
    return steps


@pytest.mark.parametrize(
    ("due_in", "receives"),
    [(0, 0), (-60, 0), (-60, 1), (60, 0), (60, 1), (60, 2)],
    ids=["behind", "before", "failed once", "delayed", "in flight", "in flight for the last time"],
)
def test_a_receive_costs_the_same_with_any_backlog(
    transport: SqliteTransport,
    clock: Clock,
    connections: list[sqlite3.Connection],
    due_in: int,
    receives: int,
) -> None:
    """Beside it there are always messages to receive, and three that move to the dead letters."""
    transport.send(outgoing())
    (connection,) = connections
    steps = []
    for backlog in (FEW, MANY):
        fill(connection, backlog, due=clock() + due_in, receives=receives)
        fill(connection, 3, due=clock() - 3600, receives=2)
        fill(connection, 7, due=clock() - 30)
        steps.append(steps_of(connection, lambda: receive(transport)))

    few, many = steps
    assert many < TOLERANCE * few


def test_a_receive_brings_what_is_behind_any_number_of_dead_letters(
    transport: SqliteTransport, clock: Clock, connections: list[sqlite3.Connection]
) -> None:
    transport.send(outgoing("first"))
    (connection,) = connections
    fill(connection, 25, due=clock() - 1, receives=2)
    transport.send(outgoing("last"))

    assert bodies(transport) == ["first", "last"]

    (dead,) = connection.execute("SELECT count(*) FROM queue_dead_letters").fetchone()
    assert dead == 25


def test_what_is_given_back_keeps_its_place(transport: SqliteTransport, clock: Clock) -> None:
    """A worker that ends gives back what it has not begun: that is not to wait for the backlog."""
    for number in range(3):
        clock.advance(1)
        transport.send(outgoing(str(number)))
    (taken,) = transport.receive(max_messages=1, wait_seconds=0, visibility_timeout=600)
    clock.advance(1)

    transport.change_visibility(taken, 0)

    assert bodies(transport) == ["0", "1", "2"]


def test_a_receive_costs_the_same_whatever_waits_behind_others_of_its_group(
    tmp_path: Path, connections: list[sqlite3.Connection]
) -> None:
    """Of a FIFO queue, with the first message of a long group in flight."""
    with closing(SqliteTransport(f"sqlite:///{tmp_path}/fifo.db?fifo=true")) as queue:
        queue.send(outgoing("first", group_id="long", deduplication_id="first"))
        (first,) = receive(queue, visibility_timeout=600)
        (connection,) = connections
        steps = []
        for backlog in (FEW, MANY):
            connection.execute(
                "WITH RECURSIVE numbers (n) AS"
                " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
                " INSERT INTO queue_messages (message_id, body, attributes, group_id, sent_at)"
                " SELECT hex(randomblob(16)), '{}', '{}', 'long', 0 FROM numbers",
                (backlog,),
            )
            queue.send(outgoing("other", group_id=f"g{backlog}", deduplication_id=f"d{backlog}"))
            steps.append(steps_of(connection, lambda: receive(queue, visibility_timeout=600)))

        few, many = steps
        assert many < TOLERANCE * few
        assert steps_of(connection, lambda: queue.delete(first)) < few
