"""docs/how-to/claims.md: the table is made, and the files run, on MiniStack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.support import Reader, commands, write_blocks
from tests.support.servers import AwsServer

PAGE = "docs/how-to/claims.md"
EXPORT, CREATE, CHECK, LIST, SHOW, RELEASE, DELETE = commands(PAGE)
TABLE = "letsgo-claims"


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks(PAGE, tmp_path) == {"own_session.py", "installed.py", "installed_route.py"}
    name, _, value = EXPORT.removeprefix("export ").partition("=")
    assert value == f"dynamodb://{TABLE}"
    return Reader(tmp_path, **{name: value})


@pytest.fixture
def table(ministack: AwsServer) -> Iterator[str]:
    yield TABLE
    ministack.dynamodb().delete_table(TableName=TABLE)


def test_on_aws(reader: Reader, ministack: AwsServer, table: str) -> None:
    # Small enough that the report is stored.
    reader.settings["LETSGO_QUEUE_URL"] = ministack.make_queue(MaximumMessageSize="262144")

    assert table in reader.type(CREATE)
    reader.type(CHECK)
    assert reader.type("python own_session.py").splitlines() == [
        "stored",
        "a report of 488890 characters",
    ]

    assert "0 claims, 0 bytes stored" in reader.type(LIST)
    assert "0 claims of dynamodb://letsgo-claims would go" in reader.type(DELETE)
    (receipt,) = ministack.dynamodb().scan(TableName=table)["Items"]
    assert receipt["state"] == {"S": "done"}
    receipt_of = receipt["id"]["S"].removesuffix("@")
    assert "contents  gone" in reader.type(SHOW.replace(SHOW.split()[-1], receipt_of))
    assert RELEASE.split()[-1] == SHOW.split()[-1]


def test_install(reader: Reader) -> None:
    reader.settings["LETSGO_QUEUE_URL"] = "sqlite:///work.db"

    assert reader.type("python installed.py") == "a report of 2000000 characters\n"
    assert reader.type("python installed_route.py").split() == ["compressed", "inline"]
