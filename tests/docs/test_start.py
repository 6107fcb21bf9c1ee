"""The front page, *Start* and *Why*: followed from the first command to the last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.support import ROOT, Reader, commands, write_blocks
from tests.support.servers import AwsServer

LAPTOP, AWS, BY_HAND = "docs/start/five-minutes.md", "docs/start/aws.md", "docs/why/by-hand.md"
FILES = {"uploads.py", "send.py", "work.py"}


def outputs(page: str) -> list[str]:
    """What a page says that commands print."""
    return re.findall(r"```text\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def setting(command: str) -> tuple[str, str]:
    name, _, value = command.removeprefix("export ").partition("=")
    return name, value.strip("'")


def without_figures(text: str) -> str:
    """What was sent has random text in it, so sizes differ by a little."""
    return re.sub(r"[\d,]{3,}", "N", text)


def test_the_front_page(tmp_path: Path) -> None:
    assert write_blocks("docs/index.md", tmp_path) == {"example.py"}
    told = Reader(tmp_path).type("python example.py")
    sent, handled = told.splitlines()
    route, size, sent_size = sent.split()
    assert route == "compressed"
    assert int(size) > 5_000_000
    assert int(sent_size) < 250_000
    assert handled == "a report of 5000000 characters"


def test_five_minutes(tmp_path: Path) -> None:
    assert write_blocks(LAPTOP, tmp_path) == FILES
    venv, install, export, send, work, listing, send_empty, work_again, letters = commands(LAPTOP)
    assert venv.startswith("python3 -m venv")
    assert "letsgo-claimcheck[cli]" in install
    name, value = setting(export)
    reader = Reader(tmp_path, **{name: value})
    sent, handled, left = outputs(LAPTOP)

    assert without_figures(reader.type(send)) == without_figures(sent)
    assert sorted(reader.type(work).splitlines()) == sorted(handled.splitlines())
    assert left.strip() in reader.type(listing)
    reader.type(send_empty)
    reader.type(work_again)
    assert "ValueError" in reader.type(letters)


@pytest.fixture
def account(ministack: AwsServer) -> Iterator[AwsServer]:
    """Has neither the queue nor the store; what is made there is removed."""
    ministack._tables.append("letsgo-claims")
    ministack._buckets.append("my-company-claims")
    yield ministack
    for url in ministack.sqs().list_queues(QueueNamePrefix="uploads").get("QueueUrls", []):
        ministack.sqs().delete_queue(QueueUrl=url)


def test_ten_minutes_to_aws(tmp_path: Path, account: AwsServer) -> None:
    write_blocks(LAPTOP, tmp_path)
    region, create, url, store, create_store, doctor, send, work, sender, worker = commands(AWS)
    assert setting(region)[0] == "AWS_REGION"
    assert setting(url)[1].endswith("/uploads")
    reader = Reader(tmp_path, **dict([setting(store)]))

    made = reader.type(create).strip()
    assert made.endswith("/uploads")
    reader.settings["LETSGO_QUEUE_URL"] = made
    assert "my-company-claims" in reader.type(create_store)
    assert "round-trip" in reader.type(doctor)
    assert "large.csv: stored" in reader.type(send)
    assert "large.csv has 150,000 rows" in reader.type(work)
    actions = {
        role: {
            action
            for statement in json.loads(reader.type(command))["Statement"]
            for action in statement["Action"]
        }
        for role, command in {"sender": sender, "worker": worker}.items()
    }
    assert "sqs:SendMessage" in actions["sender"]
    assert "sqs:ReceiveMessage" in actions["worker"] - actions["sender"]


BY_HAND_TRY = """
import sys
from by_hand import receive, send, sqs

queue, table = sys.argv[1:]
send(queue, table, "an order")
(message,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
receive("another-table-of-ours", message["Body"], print)
print("nobody was told")
receive(table, message["Body"], print)
"""


def test_by_hand(tmp_path: Path, ministack: AwsServer) -> None:
    """It works, and it loses a message where the worker has another table."""
    assert write_blocks(BY_HAND, tmp_path) == {"by_hand.py", "with_it.py"}
    (tmp_path / "try.py").write_text(BY_HAND_TRY)
    table = ministack.make_table_name()
    for each in (table, "another-table-of-ours"):
        ministack._tables.append(each)
        ministack.dynamodb().create_table(
            TableName=each,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    reader = Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")

    told = reader.type(f"python try.py {ministack.make_queue()} {table}")
    assert told == "nobody was told\nan order\n"
    assert reader.type("python with_it.py") == "an order of 3000000 characters\n"
