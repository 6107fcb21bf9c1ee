"""`letsgo-queue queue` and `letsgo-queue dead-letter`, and what `letsgo-queue enqueue` takes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import Client
from letsgo_queue.admin import open_admin
from letsgo_queue.failure import Failure
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports import open_transport
from tests.letsgo_queue.admin.support import Queue, make_sqs_queue
from tests.letsgo_queue.support import SECRET, outgoing, receive_one
from tests.support.command import run, run_on_terminal
from tests.support.servers import AwsServer

HOSTILE = "\x9b31m\u202eno lines"
"""What a terminal would take for commands."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'work.db'}"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    return url


def queue_at(url: str) -> Queue:
    settings = QueueSettings(queue_url=url)
    return Queue(open_transport(None, settings), open_admin(None, settings))


def letter_body(number: int = 0) -> str:
    return json.dumps({"type": "order:new", "payload": {"card": SECRET, "number": number}})


def read_json(*arguments: str, cwd: Path) -> Any:
    """What a command prints for programs: one document, and nothing else."""
    done = run("letsgo-queue", *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


class TestEnqueue:
    def test_attributes_travel_and_the_result_is_json(self, tmp_path: Path, url: str) -> None:
        arguments = ("--type", "greet", "--attribute", "tenant=acme", "--attribute", "note=a=b")

        sent = read_json("enqueue", *arguments, cwd=tmp_path)

        message = receive_one(queue_at(url).transport)
        assert sent == {"message_id": message.message_id, "queue": url}
        assert {name: value.value for name, value in message.attributes.items()} == {
            "tenant": "acme",
            "note": "a=b",
        }

    def test_group_and_deduplication_id_reach_a_fifo_queue(
        self, ministack: AwsServer, tmp_path: Path
    ) -> None:
        url = ministack.make_queue(FifoQueue="true")
        fifo = ("--group", "tenant-1", "--deduplication-id", "one", "--queue", url)

        for _ in range(2):
            read_json("enqueue", "--type", "greet", *fifo, cwd=tmp_path)

        assert receive_one(queue_at(url).transport).group_id == "tenant-1"
        assert queue_at(url).admin.status().waiting == 0

    @pytest.mark.parametrize("given", [("name",), ("a=1", "--attribute", "a=2")])
    def test_an_attribute_without_a_value_is_wrong_usage(
        self, tmp_path: Path, url: str, given: tuple[str, ...]
    ) -> None:
        tried = run("letsgo-queue", "enqueue", "--type", "x", "--attribute", *given, cwd=tmp_path)

        assert (tried.returncode, tried.stdout) == (2, "")
        assert "NAME=VALUE" in tried.stderr


class TestQueue:
    def test_create_makes_what_it_prints(self, tmp_path: Path, url: str) -> None:
        missing = run("letsgo-queue", "queue", "status", cwd=tmp_path)
        made = run("letsgo-queue", "queue", "create", "--max-receive-count", "2", cwd=tmp_path)

        assert missing.returncode == 1
        assert missing.stderr.startswith("error: queue sqlite://")
        assert missing.stderr.count("\n") == 1
        assert made.stdout == f"{url}?max_receive_count=2\n"
        assert read_json("queue", "status", cwd=tmp_path)["dead"] == 0

    def test_create_on_sqs(self, ministack: AwsServer, tmp_path: Path) -> None:
        name = f"letsgo-claimcheck-test-{uuid.uuid4().hex[:8]}"
        options = ("--fifo", "--visibility-timeout", "60", "--deployment", name)

        made = run("letsgo-queue", "queue", "create", name, *options, cwd=tmp_path)
        again = run("letsgo-queue", "queue", "create", name, "--fifo", cwd=tmp_path)
        other = run(
            *("letsgo-queue", "queue", "create", name, "--fifo", "--visibility-timeout", "30"),
            cwd=tmp_path,
        )

        assert made.returncode == 0, made.stderr
        assert made.stdout.endswith(f"/{name}.fifo\n")
        assert made.stderr == ""
        assert (again.returncode, again.stdout) == (0, made.stdout)
        assert again.stderr == "the queue exists already, and was left as it is\n"
        assert (other.returncode, other.stdout) == (1, "")
        assert "VisibilityTimeout is 60, not 30" in other.stderr
        status = read_json("queue", "status", "--queue", made.stdout.strip(), cwd=tmp_path)
        assert status == {
            "queue": made.stdout.strip(),
            "waiting": 0,
            "in_flight": 0,
            "delayed": 0,
            "dead": 0,
        }

    def test_create_says_what_it_takes_from_letsgo(
        self, ministack: AwsServer, tmp_path: Path
    ) -> None:
        name = f"letsgo-claimcheck-test-{uuid.uuid4().hex[:8]}"

        made = run("letsgo-queue", "queue", "create", name, "--deployment", name, cwd=tmp_path)
        second = run(
            "letsgo-queue", "queue", "create", f"{name}-2", "--deployment", name, cwd=tmp_path
        )

        assert made.stderr == "visibility timeout: 360 s, as LetsGo's queues have\n"
        assert (second.returncode, second.stdout) == (1, "")
        assert f"has a queue, {made.stdout.strip()}, and" in second.stderr

    def test_status_fails_where_there_are_dead_letters(self, tmp_path: Path, url: str) -> None:
        queue = queue_at(url)
        queue.transport.send(outgoing(delay_seconds=900))
        fine = run("letsgo-queue", "queue", "status", "--fail-if-dead", cwd=tmp_path)
        queue.kill(letter_body())
        alarm = run("letsgo-queue", "queue", "status", "--fail-if-dead", cwd=tmp_path)

        assert fine.returncode == 0
        assert alarm.returncode == 3
        assert alarm.stderr == ""
        assert "dead       1" in alarm.stdout

    def test_purge_asks_first(self, tmp_path: Path, url: str) -> None:
        queue = queue_at(url)
        queue.transport.send(outgoing())

        refused = run("letsgo-queue", "queue", "purge", cwd=tmp_path, stdin="y\n")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--yes" in refused.stderr
        purge = ("queue", "purge")
        assert run_on_terminal("letsgo-queue", *purge, answer="n\n", cwd=tmp_path)[0] == 1
        assert queue.admin.status().waiting == 1

        agreed, shown = run_on_terminal(
            "letsgo-queue", "queue", "purge", answer="y\n", cwd=tmp_path
        )
        assert agreed == 0
        assert f"1 message of {url} removed" in shown
        assert queue.admin.status().waiting == 0

    def test_purge_with_yes_needs_no_terminal(self, tmp_path: Path, url: str) -> None:
        queue = queue_at(url)
        for _ in range(2):
            queue.transport.send(outgoing())

        purged = run("letsgo-queue", "queue", "purge", "--yes", cwd=tmp_path, stdin="")

        assert (purged.returncode, purged.stdout) == (0, f"2 messages of {url} removed\n")
        assert queue.admin.status().waiting == 0


class TestDeadLetters:
    def test_list_shows_no_content_unless_asked(self, tmp_path: Path, url: str) -> None:
        queue = queue_at(url)
        Client(url).enqueue({"type": "order:new", "payload": SECRET}, attributes={"tenant": SECRET})
        message = receive_one(queue.transport)
        queue.transport.move_to_dead_letters(message, Failure.because(HOSTILE))

        listed = run("letsgo-queue", "dead-letter", "list", cwd=tmp_path)
        (letter,) = read_json("dead-letter", "list", cwd=tmp_path)
        shown = run("letsgo-queue", "dead-letter", "list", "--bodies", cwd=tmp_path)
        (whole,) = read_json("dead-letter", "list", "--bodies", cwd=tmp_path)

        assert listed.returncode == 0, listed.stderr
        assert message.message_id in listed.stdout
        assert "order:new" in listed.stdout
        assert r"\x9b31m\u202eno lines" in listed.stdout
        assert SECRET not in listed.stdout + json.dumps(letter)
        assert (letter["message_id"], letter["reason"]) == (message.message_id, HOSTILE)
        assert (letter["type"], letter["receive_count"]) == ("order:new", 1)
        assert shown.stdout.count(SECRET) == 2
        assert whole["body"] == message.body
        assert whole["attributes"] == {"tenant": {"type": "String", "value": SECRET}}

    def test_list_takes_a_limit(self, tmp_path: Path, url: str) -> None:
        for number in range(3):
            queue_at(url).kill(letter_body(number))

        assert len(read_json("dead-letter", "list", "--limit", "2", cwd=tmp_path)) == 2
        wrong = run("letsgo-queue", "dead-letter", "list", "--limit", "0", cwd=tmp_path)
        assert wrong.returncode == 2

    def test_redrive_of_all_some_or_one(self, tmp_path: Path, url: str) -> None:
        queue = queue_at(url)
        for number in range(6):
            queue.kill(letter_body(number))
        ids = [letter.message_id for letter in queue.admin.dead_letters()]

        limited = read_json("dead-letter", "redrive", "--limit", "2", cwd=tmp_path)
        named = run(
            "letsgo-queue", "dead-letter", "redrive", "--id", ids[5], "--id", "gone", cwd=tmp_path
        )
        rest = run("letsgo-queue", "dead-letter", "redrive", cwd=tmp_path)

        assert limited == {"queue": url, "moved": 2}
        assert (named.returncode, named.stdout) == (1, f"1 dead letter moved to {url}\n")
        assert named.stderr == "error: 1 id of 2 named no dead letter here.\n"
        assert (rest.returncode, rest.stdout, rest.stderr) == (
            0,
            f"3 dead letters moved to {url}\n",
            "",
        )
        order = [json.loads(message.body)["payload"]["number"] for message in queue.take_all(6)]
        assert order == [0, 1, 5, 2, 3, 4]

    def test_a_terminal_has_a_progress_bar(self, tmp_path: Path, url: str) -> None:
        queue = queue_at(url)
        for number in range(3):
            queue.kill(letter_body(number))

        code, shown = run_on_terminal(
            "letsgo-queue", "dead-letter", "redrive", answer="", cwd=tmp_path
        )

        assert code == 0
        assert "3/3" in shown

    def test_on_sqs(self, ministack: AwsServer, tmp_path: Path) -> None:
        url = make_sqs_queue(ministack)
        queue = queue_at(url)
        for number in range(2):
            queue.kill(letter_body(number), f"reason {number}")

        letters = read_json("dead-letter", "list", "--queue", url, cwd=tmp_path)
        moved = read_json("dead-letter", "redrive", "--queue", url, cwd=tmp_path)

        assert [letter["reason"] for letter in letters] == ["reason 0", "reason 1"]
        assert moved == {"queue": url, "moved": 2}
        assert len(queue.take_all(2)) == 2

    def test_without_a_dead_letter_queue(self, ministack: AwsServer, tmp_path: Path) -> None:
        url = ministack.make_queue()

        status = run("letsgo-queue", "queue", "status", "--queue", url, cwd=tmp_path)
        listed = run("letsgo-queue", "dead-letter", "list", "--json", "--queue", url, cwd=tmp_path)

        assert "no dead-letter queue" in status.stdout
        assert (listed.returncode, listed.stdout) == (1, "")
        assert "has no dead-letter queue" in listed.stderr
