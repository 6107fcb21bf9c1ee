"""Looking after a SQLite queue, beyond the contract: order, processes, files."""

from __future__ import annotations

import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue import QueueNotFound, QueueSettings, QueueUnavailable, SettingsInvalid
from letsgo_queue.admin import QueueOptions, create_queue, open_admin
from letsgo_queue.admin.sqlite import SqliteAdmin
from letsgo_queue.failure import Failure
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.letsgo_queue.admin.support import Queue
from tests.letsgo_queue.support import outgoing, receive, receive_one

LETTERS = 40


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def queue(url: str, clock: Clock) -> Queue:
    return Queue(SqliteTransport(url, clock=clock), SqliteAdmin(url, clock=clock))


def test_redriven_messages_come_in_the_order_they_were_sent(queue: Queue) -> None:
    """They died in another one."""
    for number in range(4):
        queue.transport.send(outgoing(str(number), group_id=f"group {number}"))
    for message in reversed(receive(queue.transport)):
        queue.transport.move_to_dead_letters(message, Failure.because("no use"))

    assert [letter.body for letter in queue.admin.dead_letters()] == ["0", "1", "2", "3"]
    assert queue.admin.redrive(limit=3) == 3

    redriven = receive(queue.transport)
    assert [message.body for message in redriven] == ["0", "1", "2"]
    assert [message.group_id for message in redriven] == ["group 0", "group 1", "group 2"]


def test_redriven_message_has_all_its_receives_again(url: str, clock: Clock) -> None:
    url = create_queue(
        url, QueueSettings(), QueueOptions(max_receive_count=2, visibility_timeout=5)
    )
    queue = Queue(SqliteTransport(url, clock=clock), SqliteAdmin(url, clock=clock))
    message_id = queue.transport.send(outgoing("poison"))

    for _ in range(2):
        for count in (1, 2):
            message = receive_one(queue.transport)
            assert (message.message_id, message.receive_count) == (message_id, count)
            clock.advance(5)
        assert receive(queue.transport) == []
        (letter,) = queue.admin.dead_letters()
        assert (letter.message_id, letter.receive_count) == (message_id, 2)
        assert queue.admin.redrive() == 1


def redrive(url: str) -> int:
    admin = open_admin(url, QueueSettings())
    moved = 0
    # One at a time, so that the processes are sure to meet.
    while step := admin.redrive(limit=1):
        moved += step
    admin.close()
    return moved


def test_processes_that_redrive_at_once_move_each_letter_once(url: str) -> None:
    queue = Queue(SqliteTransport(url), SqliteAdmin(url))
    for number in range(LETTERS):
        queue.kill(str(number))
    queue.transport.close()

    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        moved = list(pool.map(redrive, [url, url]))

    assert sum(moved) == LETTERS
    assert queue.admin.dead_letters() == []
    bodies = [message.body for message in queue.take_all(LETTERS)]
    assert sorted(bodies, key=int) == [str(number) for number in range(LETTERS)]
    assert receive(queue.transport) == []


def test_redrive_that_breaks_off_moves_nothing(queue: Queue, url: str) -> None:
    for number in range(3):
        queue.kill(str(number))
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON queue_messages WHEN NEW.body = '2'"
            " BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    connection.close()

    with pytest.raises(QueueUnavailable, match=r"its dead letters were not moved: .*no room"):
        queue.admin.redrive()

    assert len(queue.admin.dead_letters()) == 3
    assert queue.admin.status().waiting == 0


def test_a_missing_file_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    admin = open_admin(f"sqlite:///{tmp_path}/typo.db", QueueSettings())

    for look in (admin.status, admin.purge, admin.dead_letters, admin.redrive):
        with pytest.raises(QueueNotFound, match=r"there is no file .*typo\.db"):
            look()
    assert list(tmp_path.iterdir()) == []


def test_create_makes_the_file_and_says_the_url(tmp_path: Path, url: str) -> None:
    assert create_queue(url, QueueSettings()) == url
    assert create_queue(None, QueueSettings(queue_url=url)) == url
    assert open_admin(url, QueueSettings()).status().dead == 0

    options = QueueOptions(visibility_timeout=60, max_receive_count=3)
    expected = f"{url}?max_message_bytes=2048&visibility_timeout=60&max_receive_count=3"
    assert create_queue(f"{url}?max_message_bytes=2048", QueueSettings(), options) == expected
    assert SqliteTransport(expected).max_message_bytes() == 2048


def test_create_makes_a_fifo_queue(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/q.db"

    made = create_queue(url, QueueSettings(), QueueOptions(fifo=True))

    assert made == f"{url}?fifo=true"
    assert SqliteTransport(made).fifo


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("sqlite:///q.db", QueueOptions(deployment="main"), "no deployment"),
        (
            "sqlite:///q.db?max_receive_count=3",
            QueueOptions(max_receive_count=4),
            "the URL says max_receive_count=3, the option 4",
        ),
        ("sqlite://", QueueOptions(), "a SQLite queue is sqlite:///relative/path.db"),
        ("memory://", QueueOptions(), "memory://.*only SQS queues"),
        ("http://localhost:3002", QueueOptions(), "localhost:3002.*only SQS queues"),
        (None, QueueOptions(), "no queue is named"),
    ],
)
def test_create_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str | None,
    options: QueueOptions,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingsInvalid, match=text):
        create_queue(target, QueueSettings(), options)

    assert list(tmp_path.iterdir()) == []


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match=r"visibility_timeout=43201: .* 0 to 43,200"):
        QueueOptions(visibility_timeout=43_201)
    with pytest.raises(SettingsInvalid, match=r"max_receive_count=0: .* 1 to 1,000"):
        QueueOptions(max_receive_count=0)


@pytest.mark.parametrize("url", ["memory://", "http://localhost:3002"])
def test_what_keeps_no_messages_cannot_be_looked_after(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{url}.*keeps nothing"):
        open_admin(url, QueueSettings())
