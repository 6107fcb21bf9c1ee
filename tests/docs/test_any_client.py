"""docs/how-to/any-client.md: its lines, with boto3 on MiniStack and with asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claimcheck.stores.dynamodb_table import ClaimTable
from tests.docs.support import Reader, write_blocks
from tests.support.servers import AwsServer

PAGE = "docs/how-to/any-client.md"
TABLE = "letsgo-claims"

TRY = """
import sys
from contextlib import suppress

from botocore.exceptions import ClientError
from receiving import work
from sending import claim_check, send, sqs

queue, large = sys.argv[1], "".join(map(str, range(100_000)))
handled = []

def fail(body):
    raise ZeroDivisionError

def receive():
    assert work(queue, handled.append) == 1

print(send(queue, "small"), send(queue, large))
with suppress(ClientError):
    send(queue + "-that-is-not-there", large)
receive()
receive()
sealed = claim_check.seal(large).text
for _ in range(4):
    sqs.send_message(QueueUrl=queue, MessageBody=sealed)
with suppress(ZeroDivisionError):
    work(queue, fail)
another = claim_check.open(sealed)
receive()  # in progress
another.release()
receive()
receive()  # a duplicate
assert sorted(handled) == sorted(["small", large, large])
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks(PAGE, tmp_path) == {"sending.py", "receiving.py", "notifying.py"}
    return Reader(tmp_path)


@pytest.fixture
def table(ministack: AwsServer) -> Iterator[str]:
    ClaimTable(TABLE, region=ministack.region).create()
    yield TABLE
    ministack.dynamodb().delete_table(TableName=TABLE)


def test_boto3(reader: Reader, ministack: AwsServer, table: str) -> None:
    url = ministack.make_queue(MaximumMessageSize="262144")
    (reader.folder / "try.py").write_text(TRY)

    said = reader.type(f"python try.py {url}").splitlines()

    assert said == ["inline stored", "a duplicate"]
    items = ministack.dynamodb().scan(TableName=table)["Items"]
    assert [item.get("state") for item in items] == [{"S": "done"}] * 2  # nothing but receipts
    found = ministack.sqs().get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    # What failed, and what was in progress, comes again.
    assert found["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "2"}


def test_asyncio(reader: Reader) -> None:
    assert reader.type("python notifying.py").splitlines() == [
        "stored",
        "handling 488890 characters",
        "a duplicate",
    ]
