"""`letsgo-queue queue`, and what `letsgo-queue enqueue` takes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.letsgo_queue.admin.support import queue_at
from tests.letsgo_queue.support import SECRET, outgoing, receive_one
from tests.support.command import run, run_on_terminal
from tests.support.servers import AwsServer


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'work.db'}"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    return url


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
