"""What the tests of the stores share: contents to write, and ways to look behind a store's back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

from claimcheck import ClaimStore, open_store
from claimcheck.testing.claims import (
    CREATED_AT,
    MINE,
    OTHERS,
    Claim,
    make_claim,
    read,
    remove,
    renew,
    write,
)

SPAWN = multiprocessing.get_context("spawn")

OPERATIONS: dict[str, Callable[[ClaimStore, Claim], object]] = {
    "write": lambda store, claim: store.write(claim.facts, claim.parts),
    "read": read,
    "remove": remove,
    "renew": lambda store, claim: renew(store, claim, CREATED_AT),
    "acquire": lambda store, claim: store.acquire(claim.key, MINE),
    "extend": lambda store, claim: store.extend(claim.key, MINE),
    "hand over": lambda store, claim: store.hand_over(claim.key, MINE.id),
    "release": lambda store, claim: store.release(claim.key, MINE.id),
    "complete": lambda store, claim: store.complete(claim.key, MINE.id),
    "look up": lambda store, claim: store.look_up(claim.key),
}
"""Everything that a store is asked."""


def change(path: Path, statement: str, *values: object) -> None:
    """Change a SQLite file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def rows(path: Path) -> dict[str, int]:
    """How many rows each table of a SQLite file has."""
    tables = ("claim_contents", "claim_parts", "claim_records")
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        }


def in_a_process_of_its_own(function: Callable[[str], None], argument: str) -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        pool.submit(function, argument).result()


def fork_and_share(url: str) -> None:
    """Use a store, fork, and use it on both sides."""
    store = open_store(url)
    claim, childs = write(store), make_claim()
    child_has_begun, parent_has_closed = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a store whose threads stayed behind waits for good
        acquired = store.acquire(claim.key, MINE)
        found = read(store, claim)
        os.write(child_has_begun[1], b".")
        os.read(parent_has_closed[0], 1)
        store.write(childs.facts, childs.parts)
        os._exit(0 if acquired is None and found == claim.contents else 1)
    os.close(child_has_begun[1])  # so that reading ends with the child, too
    os.read(child_has_begun[0], 1)
    store.close()
    os.write(parent_has_closed[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    found_record = store.acquire(claim.key, OTHERS)
    assert found_record is not None
    assert found_record.is_held
    assert read(store, childs) == childs.contents
    store.close()
