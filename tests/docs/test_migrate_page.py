"""docs/how-to/migrate-from-aws.md: each of its steps, with AWS's client at the other end."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimcheck.stores.dynamodb_table import ClaimTable
from tests.claimcheck.extended_client import ExtendedClient
from tests.docs.support import Reader, write_blocks
from tests.support.servers import AwsServer

BODY = "x" * 2_000_000


def test_each_step(tmp_path: Path, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(tmp_path)
    names = write_blocks("docs/how-to/migrate-from-aws.md", tmp_path)
    assert names == {"consumer.py", "sender.py"}
    table, bucket = ministack.make_table_name(), ministack.make_bucket()
    ClaimTable(table, region=ministack.region).create()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    queue = ministack.make_queue()
    theirs = ExtendedClient(queue, bucket)
    pointers = f"CLAIMCHECK_AWS_POINTERS={bucket}"
    consume = f"{pointers} python consumer.py {queue}"
    write = f"{pointers} CLAIMCHECK_WRITE=aws-pointer python sender.py {queue}"

    theirs.send(BODY)
    assert reader.type(consume) == f"{len(BODY)}\n"

    reader.type(write)
    assert theirs.receive() == [BODY]
    queue_of_ours = ministack.make_queue()
    reader.type(write.replace(queue, queue_of_ours))
    assert reader.type(consume.replace(queue, queue_of_ours)) == f"{len(BODY)}\n"

    reader.type(f"python sender.py {queue_of_ours}")
    assert reader.type(f"python consumer.py {queue_of_ours}") == f"{len(BODY)}\n"
