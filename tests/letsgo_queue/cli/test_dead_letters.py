"""`letsgo-queue dead-letter`: list, show, redrive, delete."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from letsgo_queue import Client, Message, Reject, Worker
from letsgo_queue.admin.sqs import SqsAdmin
from letsgo_queue.admin.sqs_visit import Visit
from letsgo_queue.cli.app import app
from letsgo_queue.errors import QueueUnavailable
from letsgo_queue.failure import Failure
from letsgo_queue.place import Place
from letsgo_queue.transports.base import ReceivedMessage
from tests.letsgo_queue.admin.support import Queue, make_sqs_queue, queue_at
from tests.letsgo_queue.support import SECRET, receive_one
from tests.support.command import run, run_on_terminal
from tests.support.servers import AwsServer

HOSTILE = "\x9b31m\u202eno lines"
"""What a terminal would take for commands."""

NO_STOCK = Failure(
    reason="failed in delivery 5, max_receive_count=5: NoStock",
    error="shop.stock.NoStock",
    place=Place(file="shop/stock.py", line=12, function="take"),
    attempts=5,
    first_received_at=datetime.now(UTC) - timedelta(hours=4),
    failed_at=datetime.now(UTC) - timedelta(hours=3),
    worker="host:4711",
)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'work.db'}"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    return url


@pytest.fixture
def queue(url: str) -> Queue:
    return queue_at(url)


def kill(queue: Queue, message_type: str, failure: Failure | str = "no use") -> str:
    """Make a dead letter; returns its id."""
    client = Client(queue.transport)
    payload = {"card": SECRET}
    sent = client.enqueue({"type": message_type, "payload": payload}, attributes={"who": SECRET})
    why = Failure.because(failure) if isinstance(failure, str) else failure
    assert queue.transport.move_to_dead_letters(receive_one(queue.transport), why)
    return sent.message_id


def command(*arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, ["dead-letter", *arguments], catch_exceptions=False)


def read_json(*arguments: str) -> Any:
    """What a command prints for programs: one document, and nothing else."""
    done = command(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def types_left(queue: Queue) -> list[str | None]:
    return [letter.type for letter in queue.admin.dead_letters()]


class TestList:
    def test_it_is_a_table_without_content(self, queue: Queue) -> None:
        failed = kill(queue, "order:new", NO_STOCK)
        rejected = kill(queue, "refund", HOSTILE)

        listed = command("list")

        head, first, second = listed.stdout.splitlines()
        assert head.split("  ")[0] == "message id"
        assert first.startswith(f"{failed}  order:new  ")
        assert first.endswith(f"inline  {NO_STOCK.reason} (shop/stock.py:12 in take)")
        assert second.startswith(f"{rejected}  refund  ")
        assert second.endswith(r"\x9b31m\u202eno lines")
        assert SECRET not in listed.stdout

    def test_the_text_of_an_error_of_the_library_is_told(self, queue: Queue) -> None:
        text = "message 1 of type 'order:new' does not fit the handler: payload.lines (missing)."
        invalid = Failure(reason="failed", error="letsgo_queue.errors.MessageInvalid", text=text)
        kill(queue, "order:new", invalid)
        kill(queue, "order:new", Failure(reason="failed", error="shop.NoStock", text=SECRET))

        _, ours, theirs = command("list").stdout.splitlines()

        assert ours.endswith(f"failed: {text}")
        assert theirs.endswith("failed")

    def test_programs_get_the_facts(self, queue: Queue) -> None:
        kill(queue, "order:new", NO_STOCK)

        (letter,) = read_json("list")

        assert NO_STOCK.failed_at is not None
        assert (letter["type"], letter["attempts"], letter["route"]) == ("order:new", 5, "inline")
        assert letter["reason"] == NO_STOCK.reason
        assert letter["failure"]["error"] == "shop.stock.NoStock"
        assert letter["failure"]["place"]["line"] == 12
        assert letter["since"] == letter["failure"]["failed_at"] == NO_STOCK.failed_at.isoformat()
        assert SECRET not in json.dumps(letter)

    def test_nothing_is_nothing(self, queue: Queue) -> None:
        queue.transport.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)

        assert command("list").stdout == ""
        assert read_json("list") == []

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            (["--type", "order:new"], ["order:new"]),
            (["--type", "order:new", "--type", "refund"], ["order:new", "refund"]),
            (["--error", "NoStock"], ["order:new", "stock:take"]),
            (["--error", "shop.stock.NoStock", "--type", "stock:take"], ["stock:take"]),
            (["--error", "stock.NoStock"], []),
            (["--older-than", "2h"], ["order:new", "stock:take"]),
            (["--older-than", "4h"], []),
            (["--limit", "1"], ["order:new"]),
            (["--limit", "1", "--type", "refund"], ["refund"]),
        ],
    )
    def test_filters(self, queue: Queue, options: list[str], found: list[str]) -> None:
        kill(queue, "order:new", NO_STOCK)
        kill(queue, "refund")
        kill(queue, "stock:take", NO_STOCK)

        assert [letter["type"] for letter in read_json("list", *options)] == found

    @pytest.mark.parametrize(
        "wrong", [("--limit", "0"), ("--older-than", "2"), ("--older-than", "2 weeks")]
    )
    def test_wrong_usage(self, queue: Queue, wrong: tuple[str, str]) -> None:
        assert command("list", *wrong).exit_code == 2


class TestShow:
    def test_it_has_all_but_the_payload(self, queue: Queue) -> None:
        message_id = kill(queue, "order:new", NO_STOCK)

        shown = command("show", message_id)

        lines = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
        assert lines["error"] == "shop.stock.NoStock"
        assert lines["place"] == "shop/stock.py:12 in take"
        assert lines["attempts"] == "5"
        assert lines["worker"] == "host:4711"
        assert lines["route"] == "inline"
        assert SECRET not in shown.stdout

    def test_the_payload_is_shown_on_request(self, queue: Queue) -> None:
        message_id = kill(queue, "order:new", NO_STOCK)

        shown = command("show", message_id, "--payload")
        letter = read_json("show", message_id, "--payload")

        assert shown.stdout.count(SECRET) == 2
        assert json.loads(letter["body"])["payload"] == {"card": SECRET}
        assert letter["attributes"] == {"who": {"type": "String", "value": SECRET}}
        assert "body" not in read_json("show", message_id)

    def test_the_text_of_an_error_is_shown_where_a_worker_kept_it(self, queue: Queue) -> None:
        full = NO_STOCK.model_copy(update={"text": "no stock of A-1"})
        message_id = kill(queue, "order:new", full)

        assert "error's text    no stock of A-1\n" in command("show", message_id).stdout
        assert "no stock of A-1" not in command("list").stdout

    def test_a_sealed_one_says_how_it_travelled(self, queue: Queue) -> None:
        ticket = {"v": 1, "size": 5_000_000, "id": "x", "parts": 1}
        queue.kill(json.dumps({"type": "big", "claimCheck": ticket}))

        (letter,) = read_json("list")

        assert (letter["type"], letter["route"]) == ("big", "stored")
        assert letter["whole_size"] == 5_000_000
        assert "size enqueued   5,000,000 bytes" in command("show", letter["message_id"]).stdout

    def test_an_id_that_is_not_there(self, queue: Queue) -> None:
        kill(queue, "order:new")

        shown = command("show", "gone")

        assert (shown.exit_code, shown.stdout) == (1, "")
        assert "has the id gone. `letsgo-queue dead-letter list` shows" in shown.stderr


class TestRedrive:
    def test_all_some_or_one(self, queue: Queue, url: str) -> None:
        ids = [kill(queue, f"type-{number}") for number in range(6)]

        limited = read_json("redrive", "--limit", "2")
        named = command("redrive", "--id", ids[5], "--id", "gone")
        rest = command("redrive")

        assert limited["moved"] == 2
        assert limited["letters"] == [
            {"message_id": ids[n], "type": f"type-{n}", "error": None} for n in range(2)
        ]
        assert (named.exit_code, named.stdout) == (1, f"1 dead letter moved to {url}\n")
        assert named.stderr == "error: 1 id of 2 matched no dead letter.\n"
        assert (rest.exit_code, rest.stdout) == (0, f"3 dead letters moved to {url}\n")
        order = [json.loads(message.body)["type"] for message in queue.take_all(6)]
        assert order == [f"type-{number}" for number in (0, 1, 5, 2, 3, 4)]

    def test_what_is_filtered(self, queue: Queue) -> None:
        kill(queue, "order:new", NO_STOCK)
        kill(queue, "refund")

        assert read_json("redrive", "--error", "NoStock")["moved"] == 1

        assert types_left(queue) == ["refund"]

    def test_what_cannot_be_moved_is_named(
        self, queue: Queue, url: str, damage: Callable[[str], None]
    ) -> None:
        good, bad = kill(queue, "order:new"), kill(queue, "order:new")
        damage(bad)

        moved = command("redrive", "--json")

        assert moved.exit_code == 1
        assert "1 dead letters were moved" in moved.stderr
        document = json.loads(moved.stdout)
        assert document["moved"] == 1
        errors = {each["message_id"]: each["error"] for each in document["letters"]}
        assert errors[good] is None
        assert "is damaged: group_id cannot be read" in errors[bad]

    def test_a_terminal_has_a_progress_bar(self, tmp_path: Path, queue: Queue) -> None:
        for _ in range(3):
            kill(queue, "order:new")

        code, shown = run_on_terminal("letsgo-queue", "dead-letter", "redrive", cwd=tmp_path)

        assert code == 0
        assert "3/3" in shown


class TestDelete:
    def test_it_asks_for_the_letters_that_are_meant(
        self, tmp_path: Path, queue: Queue, url: str
    ) -> None:
        for message_type in ("order:new", "order:new", "refund"):
            kill(queue, message_type)
        delete = ("dead-letter", "delete", "--type", "order:new")

        unasked = run("letsgo-queue", *delete, cwd=tmp_path, stdin="y\n")
        assert (unasked.returncode, unasked.stdout) == (2, "")
        assert "--yes" in unasked.stderr
        refused, shown = run_on_terminal("letsgo-queue", *delete, answer="n\n", cwd=tmp_path)
        assert refused == 1
        assert f"Delete 2 dead letters of {url} for good?" in shown
        assert len(types_left(queue)) == 3

        agreed, shown = run_on_terminal("letsgo-queue", *delete, answer="y\n", cwd=tmp_path)
        assert agreed == 0
        assert f"2 dead letters of {url} deleted" in shown
        assert types_left(queue) == ["refund"]

    def test_with_yes_it_needs_no_terminal(self, queue: Queue, url: str) -> None:
        message_id = kill(queue, "order:new")

        deleted = read_json("delete", "--yes")

        letter = {"message_id": message_id, "type": "order:new", "error": None}
        assert deleted == {"queue": url, "deleted": 1, "letters": [letter]}
        assert types_left(queue) == []
        assert queue.admin.status().waiting == 0


@pytest.mark.parametrize("name", ["redrive", "delete"])
def test_a_dry_run_changes_nothing(queue: Queue, url: str, name: str) -> None:
    kill(queue, "order:new", NO_STOCK)
    message_id = kill(queue, "refund")

    told = command(name, "--dry-run", "--type", "refund")
    document = read_json(name, "--dry-run", "--type", "refund")

    done = {"redrive": "moved", "delete": "deleted"}[name]
    _, letter, last = told.stdout.splitlines()
    assert letter.startswith(message_id)
    assert last == f"1 dead letter of {url} would be {done}"
    assert (document["dry_run"], document[done]) == (True, 0)
    assert [each["message_id"] for each in document["letters"]] == [message_id]
    assert types_left(queue) == ["order:new", "refund"]


def test_on_sqs(ministack: AwsServer) -> None:
    url = make_sqs_queue(ministack)
    queue = queue_at(url)
    for message_type in ("a", "b", "c"):
        kill(queue, message_type, f"reason {message_type}")
    at = ("--queue", url)

    letters = read_json("list", *at)
    shown = read_json("show", letters[1]["message_id"], *at)
    moved = read_json("redrive", "--type", "a", *at)
    deleted = read_json("delete", "--yes", "--id", shown["message_id"], *at)

    assert [letter["reason"] for letter in letters] == ["reason a", "reason b", "reason c"]
    assert shown["type"] == "b"
    assert [letter["type"] for letter in moved["letters"]] == ["a"]
    assert [letter["type"] for letter in deleted["letters"]] == ["b"]
    assert types_left(queue) == ["c"]
    assert len(queue.take_all(1)) == 1


class TestTheIdInTheLog:
    """On SQS a letter that a worker moved has a new id, and the log names the old one."""

    @pytest.fixture
    def at(self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> str:
        url = make_sqs_queue(ministack)
        monkeypatch.setenv("LETSGO_QUEUE_URL", url)
        return url

    @pytest.fixture
    def logged(self, at: str) -> str:
        """The id of a message that a worker moved to the dead letters."""
        sent = Client(at).enqueue({"type": "order:new", "payload": None})
        worker = Worker(at)

        @worker.handler("order:new")
        def on_order(message: Message[None]) -> None:
            raise Reject("no stock")

        worker.run(burst=True)
        return sent.message_id

    def test_it_leads_to_the_letter_and_back(
        self, logged: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        by_log = read_json("show", logged)
        letter_id = by_log["message_id"]

        assert letter_id != logged
        assert by_log["earlier_id"] == by_log["failure"]["message_id"] == logged
        assert f"id in logs      {logged}" in command("show", letter_id).stdout
        head, row = command("list").stdout.splitlines()
        assert head.split()[:5] == ["message", "id", "id", "in", "logs"]
        assert row.split()[:2] == [letter_id, logged]
        line = f"message {logged} is a dead letter now, with the id {letter_id}: no stock"
        assert line in [record.getMessage() for record in caplog.get_records("setup")]

    def test_it_chooses_a_letter_to_delete(self, logged: str, at: str, tmp_path: Path) -> None:
        delete = ("dead-letter", "delete", "--id", logged)

        code, shown = run_on_terminal("letsgo-queue", *delete, answer="y\n", cwd=tmp_path)

        assert (code, f"1 dead letter of {at} deleted" in shown) == (0, True), shown


@pytest.mark.parametrize("ended_by", [QueueUnavailable("SQS is away."), KeyboardInterrupt()])
def test_what_was_done_before_an_end_is_printed(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, ended_by: BaseException
) -> None:
    url = make_sqs_queue(ministack)
    kill(queue_at(url), "order:new")
    receive_letters = Visit._receive

    def receive_once(visit: Visit) -> tuple[int, Sequence[ReceivedMessage]]:
        monkeypatch.setattr(Visit, "_receive", end)
        return receive_letters(visit)

    def end(_: Visit) -> tuple[int, Sequence[ReceivedMessage]]:
        raise ended_by

    monkeypatch.setattr(Visit, "_receive", receive_once)
    result = command("redrive", "--json", "--queue", url)

    assert result.exit_code != 0
    document = json.loads(result.stdout)
    assert (document["moved"], len(document["letters"])) == (1, 1)
    assert ("SQS is away." in result.stderr) == isinstance(ended_by, QueueUnavailable)


def test_letters_that_somebody_else_has_in_hand_are_told(ministack: AwsServer) -> None:
    url = make_sqs_queue(ministack)
    queue = queue_at(url)
    kill(queue, "order:new")
    assert isinstance(queue.admin, SqsAdmin)

    with queue.admin._visit(60) as visit:  # a list that goes on, or was killed
        assert len(next(iter(visit.batches()))) == 1
        result = command("redrive", "--queue", url)

    assert (result.exit_code, result.stdout) == (0, f"0 dead letters moved to {url}\n")
    assert "1 dead letter was counted before, and not met" in result.stderr
    assert command("redrive", "--queue", url).stderr == ""


def test_without_a_dead_letter_queue(ministack: AwsServer, tmp_path: Path) -> None:
    url = ministack.make_queue()

    status = run("letsgo-queue", "queue", "status", "--queue", url, cwd=tmp_path)
    listed = run("letsgo-queue", "dead-letter", "list", "--json", "--queue", url, cwd=tmp_path)

    assert "no dead-letter queue" in status.stdout
    assert (listed.returncode, listed.stdout) == (1, "")
    assert "has no dead-letter queue" in listed.stderr


@pytest.fixture
def damage(url: str) -> Callable[[str], None]:
    """Damages the row of a letter."""

    def change(message_id: str) -> None:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(
                "UPDATE queue_dead_letters SET group_id = x'00' WHERE message_id = ?",
                (message_id,),
            )

    return change
