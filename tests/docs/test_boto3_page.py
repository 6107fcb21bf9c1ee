"""docs/how-to/boto3.md: its programs, on MiniStack."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimcheck.stores.dynamodb_table import ClaimTable
from tests.docs.support import Reader, write_blocks
from tests.support.servers import AwsServer

PAGE = "docs/how-to/boto3.md"


@pytest.mark.parametrize(
    ("program", "printed"), [("use.py", "3888924 True"), ("asyncio_client.py", "2000000")]
)
def test_a_program_gets_what_it_sent(
    tmp_path: Path,
    ministack: AwsServer,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    printed: str,
) -> None:
    reader = Reader(tmp_path)
    assert write_blocks(PAGE, tmp_path) == {"client.py", "use.py", "asyncio_client.py"}
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    queue = ministack.make_queue()
    assert reader.type(f"python {program} {queue}").strip() == printed
