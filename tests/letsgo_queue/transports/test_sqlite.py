"""What the queue in a SQLite file does beyond the contract: processes, dead letters, bad files."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client, QueueUnavailable, SendFailed, SettingsInvalid
from letsgo_queue.limits import MAX_MESSAGE_BYTES
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqlite_file import SCHEMA_VERSION
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    SECRET,
    bodies,
    order,
    outgoing,
    receive,
    receive_one,
)
from tests.support.waiting import wait_for

PROCESSES = 3
MESSAGES_EACH = 30


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def transport(url: str, clock: Clock) -> Iterator[SqliteTransport]:
    transport = SqliteTransport(url, clock=clock)
    yield transport
    transport.close()


def send_and_take(url: str, process: int) -> list[str]:
    """Send messages, then take the messages of all until nothing more comes."""
    taken = []
    with closing(SqliteTransport(url)) as transport:
        for number in range(MESSAGES_EACH):
            transport.send(outgoing(f"{process}-{number}"))
        while messages := receive(transport, wait_seconds=0.5):
            for message in messages:
                taken.append(message.body)
                transport.delete(message)
    return taken


def test_processes_share_one_file_without_loss_or_double_delivery(url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        shares = list(pool.map(send_and_take, [url] * PROCESSES, range(PROCESSES)))

    taken = [body for share in shares for body in share]
    # The others may be done before the last one has sent.
    assert sorted(taken + bodies_left(url)) == sorted(
        f"{process}-{number}" for process in range(PROCESSES) for number in range(MESSAGES_EACH)
    )


def bodies_left(url: str) -> list[str]:
    left = []
    with closing(SqliteTransport(url)) as transport:
        while messages := receive(transport):
            left += [message.body for message in messages]
    return left


OTHER = """
import sys
from letsgo_queue import Client

client = Client(sys.argv[1])
client.enqueue({"type": "other"})
client.close()
"""

FORKING = """
import os, subprocess, sys
from letsgo_queue import Client

client = Client(sys.argv[1])
client.enqueue({"type": "before"})
parent = os.getpid()
if os.fork():
    client.enqueue({"type": "parent"})
    os._exit(0)
while os.getppid() == parent:
    pass
client.enqueue({"type": "child"})
# Another process is the only one, as far as locks tell, and clears away when it is done.
subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]], check=True)
client.enqueue({"type": "child again"})
print("done")
"""


def test_loses_nothing_when_its_process_forks(url: str) -> None:
    """A parent that leaves its child behind, as a daemon's does."""
    script = [sys.executable, "-c", FORKING, url, OTHER]
    # The output ends when the child does.
    done = subprocess.run(script, check=True, timeout=60, capture_output=True, text=True)

    assert done.stdout == "done\n", done.stderr
    types = ["before", "parent", "child", "other", "child again"]
    assert bodies_left(url) == [f'{{"type":"{type}"}}' for type in types]


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_keeps_messages_when_closed_and_opened_again(transport: SqliteTransport, url: str) -> None:
    message_id = transport.send(outgoing("kept"))
    receive_one(transport, visibility_timeout=0)
    transport.close()
    transport.close()

    with closing(SqliteTransport(url)) as other:
        again = receive_one(other)
    assert (again.message_id, again.body, again.receive_count) == (message_id, "kept", 2)
    assert bodies(transport) == []


def test_path_may_be_relative_and_have_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with closing(Client("sqlite:///my%20queue.db")) as client:
        client.enqueue(order())

    assert (tmp_path / "my queue.db").exists()


def test_moves_a_message_to_the_dead_letters(url: str, clock: Clock) -> None:
    transport = SqliteTransport(url + "?max_receive_count=2&visibility_timeout=10", clock=clock)
    transport.send(outgoing("poison", group_id="g"))
    transport.send(outgoing("fine", delay_seconds=900))

    for count in (1, 2):
        assert receive_one(transport).receive_count == count
        clock.advance(10)

    assert receive(transport) == []
    with closing(sqlite3.connect(file_of(url))) as connection:
        dead = connection.execute(
            "SELECT body, group_id, receive_count, dead_at FROM queue_dead_letters"
        ).fetchall()
    assert dead == [("poison", "g", 2, clock.now)]
    clock.advance(900)
    assert bodies(transport) == ["fine"]
    transport.close()


def test_defaults_are_those_of_sqs(transport: SqliteTransport, clock: Clock) -> None:
    transport.send(outgoing())

    receive_one(transport)
    clock.advance(29.999)
    assert receive(transport) == []
    clock.advance(0.001)
    assert receive_one(transport).receive_count == 2
    assert transport.max_message_bytes() == MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("sqlite://", "a SQLite queue is sqlite:///relative/path.db"),
        ("sqlite:///", "a SQLite queue is sqlite:///relative/path.db"),
        ("sqlite://work.db", "a SQLite queue is sqlite:///relative/path.db"),
        ("sqlite:///work.db?visibility_timeout=-1", "visibility_timeout: Input should be greater"),
        ("sqlite:///work.db?visibility_timeout=43201", "visibility_timeout: Input should be less"),
        (
            "sqlite:///work.db?visibility_timeout=soon",
            "visibility_timeout: Input should be a valid",
        ),
        ("sqlite:///work.db?visibility_timeout=", "visibility_timeout: Input should be a valid"),
        ("sqlite:///work.db?visibility_timeout=0", "visibility_timeout: Input should be greater"),
        ("sqlite:///work.db?max_receive_count=0", "max_receive_count: Input should be greater"),
        ("sqlite:///work.db?max_message_bytes=10", "max_message_bytes: Input should be greater"),
        (
            "sqlite:///work.db?visibilty_timeout=1",
            "visibilty_timeout: there is no such name; there are visibility_timeout, max_",
        ),
    ],
)
def test_refuses_a_wrong_url(bad: str, text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text) as refused:
        SqliteTransport(bad)

    assert repr(bad) in str(refused.value)


def test_refuses_the_file_of_a_newer_version(url: str) -> None:
    with closing(sqlite3.connect(file_of(url))) as connection, connection:
        connection.execute("CREATE TABLE queue_schema (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO queue_schema VALUES (?)", (SCHEMA_VERSION + 1,))

    transport = SqliteTransport(url)
    text = rf"has schema {SCHEMA_VERSION + 1}, .* reads {SCHEMA_VERSION}\. Upgrade letsgo-"
    for call in (lambda: transport.send(outgoing()), lambda: receive(transport)):
        with pytest.raises(SettingsInvalid, match=text):
            call()


def corrupt(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (corrupt, r"not a database .*Check that the file can be written"),
        (make_folder, "unable to open database file"),
    ],
)
def test_says_what_is_wrong_with_the_file(url: str, spoil: object, text: str) -> None:
    assert callable(spoil)
    spoil(file_of(url))

    assert_unusable(url, text)


def test_says_that_the_folder_is_missing(tmp_path: Path) -> None:
    assert_unusable(f"sqlite:///{tmp_path}/missing/queue.db", "folder of .* does not exist")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to what is read-only")
def test_says_that_the_file_is_read_only(transport: SqliteTransport, url: str) -> None:
    transport.send(outgoing())
    transport.close()
    file_of(url).chmod(0o400)

    assert_unusable(url, "readonly database")


def assert_unusable(url: str, text: str) -> None:
    transport = SqliteTransport(url)  # it opens nothing that could be closed

    with pytest.raises(SendFailed, match=text) as not_sent:
        transport.send(outgoing(SECRET))
    with pytest.raises(QueueUnavailable, match=text) as not_received:
        receive(transport)

    for error in (not_sent.value, not_received.value):
        assert str(file_of(url)) in str(error)
        assert not error.retryable
        assert SECRET not in str(error)


FULL_DISK = """
import resource, signal, sys
from letsgo_queue import Client, SendFailed

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
client = Client(sys.argv[1])
client.enqueue({"type": "first"})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    client.enqueue({"type": "large", "payload": "x" * 200_000})
except SendFailed as error:
    print(error.retryable, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
client.enqueue({"type": "second"})
"""


def test_full_disk_refuses_a_message_and_leaves_the_queue_usable(url: str) -> None:
    """A limit on the size of files stands in for the disk."""
    script = [sys.executable, "-c", FULL_DISK, url]
    output = subprocess.run(script, check=True, timeout=60, capture_output=True, text=True).stdout

    assert output.startswith("True message of type 'large' was not enqueued: SQLite says")
    assert bodies_left(url) == ['{"type":"first"}', '{"type":"second"}']


def test_waits_for_another_writer(transport: SqliteTransport, url: str) -> None:
    transport.send(outgoing("there"))
    with (
        closing(sqlite3.connect(file_of(url), isolation_level=None)) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE queue_messages SET body = 'changed'")
        received = pool.submit(receive_one, transport)
        # Until this one is done; a receive that does not wait fails, or has the other body.
        wait_for(received.running, "the receive to begin")
        other.execute("COMMIT")

        assert received.result(DEADLINE_SECONDS).body == "changed"


def test_send_that_breaks_off_holds_nobody_up(
    transport: SqliteTransport, url: str, clock: Clock
) -> None:
    """A middleware that makes a body that is no text, for instance."""
    with pytest.raises(UnicodeDecodeError):
        transport.send(outgoing(b"\xff"))

    with closing(SqliteTransport(url, clock=clock)) as other:
        other.send(outgoing("other"))
    transport.send(outgoing("next"))
    assert bodies(transport) == ["other", "next"]
