"""Very many claims are listed by a process that needs little memory for it.

    python -m tests.faults.inventories --claims 20000

So many are in a table, and ten times as many in a file.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.sqlite import SqliteClaimStore
from tests.conftest import use_emulator
from tests.support.servers import AwsServer, run_ministack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import WriteRequestTypeDef

MOST_BYTES = 15_000_000
"""How much more a listing of very many may take than one of a single claim."""

BATCH = 25
EXPIRES_AT = 2_000_000_000

# Not ru_maxrss: a child inherits that from its parent.
LIST = """
import re, sys
from pathlib import Path
from claimcheck.cli.app import app
try:
    app(["claims", "list", "--json", "--store", sys.argv[1], *sys.argv[2:]])
finally:
    peak = re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
    print(1024 * int(peak[1]), file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing came to.

    Attributes:
        count: Claims that were printed.
        held: How many of them a delivery holds.
        peak: The most bytes of memory that the process had.
    """

    count: int
    held: int
    peak: int


def fill_file(path: Path, count: int) -> str:
    """Make a SQLite store with so many claims, and return its URL."""
    store = SqliteClaimStore(path)
    store.look_up("none")  # which makes the file
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO claim_contents VALUES (?, 'order:new', 1, 9, 9, ?, ?)",
            ((claim_id, number, EXPIRES_AT) for number, claim_id in enumerate(ids(count))),
        )
    return store.url


def fill_table(server: AwsServer, count: int) -> str:
    """Make a table with so many claims, each second one held, and return its store's URL."""
    table = server.make_table_name()
    ClaimTable(table, region=server.region).create()
    with closing(server.dynamodb()) as client:
        items = [item for number, each in enumerate(ids(count)) for item in _items(each, number)]
        for start in range(0, len(items), BATCH):
            requests: list[WriteRequestTypeDef] = [
                {"PutRequest": {"Item": each}} for each in items[start : start + BATCH]
            ]
            client.batch_write_item(RequestItems={table: requests})
    return f"dynamodb://{table}?region={server.region}"


def ids(count: int) -> Iterator[str]:
    """So many claim ids."""
    return (f"claim-{number:022}" for number in range(count))


def list_claims(url: str, *options: str) -> Listed:
    """Run `claimcheck claims list` in a process of its own."""
    command = [sys.executable, "-c", LIST, url, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert len({each["id"] for each in document["claims"]}) == document["count"]
    return Listed(document["count"], document["held"], int(done.stderr.split()[-1]))


def problems_of(url: str, *, count: int, held: int) -> list[str]:
    """What a listing of a store does wrong."""
    one, all_ = list_claims(url, "--limit", "1"), list_claims(url)
    print(f"{url}: {all_}, and {one.peak:,} bytes for one", flush=True)
    more = all_.peak - one.peak
    problems = {
        f"{all_.count} of {count} listed": all_.count != count,
        f"{all_.held} of {held} held": all_.held != held,
        f"{more:,} bytes more than for one claim": more > MOST_BYTES,
    }
    return [problem for problem, is_there in problems.items() if is_there]


def _items(claim_id: str, number: int) -> Iterator[dict[str, dict[str, str]]]:
    expires = {"expires_at": {"N": str(EXPIRES_AT)}}
    numbers = {"parts": 1, "size": 9, "stored": 9, "created_at": number}
    yield {
        "id": {"S": f"{claim_id}/0"},
        "data": {"S": "123456789"},
        **{name: {"N": str(value)} for name, value in numbers.items()},
        **expires,
    }
    if number % 2:
        lease = {"lease_id": {"S": "mine"}, "lease_until": {"N": str(EXPIRES_AT)}}
        yield {"id": {"S": f"{claim_id}@"}, "state": {"S": "leased"}, **lease, **expires}


def main() -> None:
    """List a file and a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.inventories")
    parser.add_argument("--claims", type=int, default=20_000)
    count: int = parser.parse_args().claims
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        problems = problems_of(
            fill_file(Path(name, "claims.db"), 10 * count), count=10 * count, held=0
        )
        with run_ministack(Path(name)) as url:
            server = use_emulator(patch, "ministack", url)
            problems += problems_of(fill_table(server, count), count=count, held=count // 2)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
