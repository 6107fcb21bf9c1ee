"""One store of each kind, and what people do to one behind its back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from claimcheck import ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from letsgo_queue.deployment import Deployment
from tests.support.servers import AwsServer

_TABLES = ("claim_contents", "claim_parts", "claim_records")


class Left(NamedTuple):
    """What a store has."""

    parts: int
    records: int


class Place(Protocol):
    """Where claims are kept."""

    @property
    def store(self) -> ClaimStore:
        """The store, with the clock of the test."""
        ...

    @property
    def elsewhere(self) -> ClaimStore:
        """A store of the same kind, as a wrong setting leads to."""
        ...

    def left(self) -> Left:
        """How many parts and records the store has, also those that should have expired."""
        ...

    def remove_record(self, claim_id: str) -> None:
        """Remove the record of a claim, as somebody may by hand, or a TTL that is set wrong."""
        ...

    def backup(self) -> object:
        """A copy of all that the store has."""
        ...

    def restore(self, backup: Any) -> None:
        """Have the store as it was."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


class MemoryPlace:
    def __init__(self, clock: Clock) -> None:
        self.store = MemoryClaimStore(clock=clock)
        self.elsewhere = MemoryClaimStore(clock=clock)

    def close(self) -> None:
        """Nothing to release."""

    def left(self) -> Left:
        parts = sum(len(each.parts) for each in self.store._contents.values())
        return Left(parts, len(self.store._records))

    def remove_record(self, claim_id: str) -> None:
        del self.store._records[f"{claim_id}@"]

    def backup(self) -> tuple[object, object]:
        return dict(self.store._contents), dict(self.store._records)

    def restore(self, backup: Any) -> None:
        self.store._contents, self.store._records = map(dict, backup)


class SqlitePlace:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / "claims.db"
        self.store = SqliteClaimStore(self._path, clock=clock)
        self.elsewhere = SqliteClaimStore(folder / "elsewhere.db", clock=clock)
        self.store.look_up("none")  # which makes the file

    def close(self) -> None:
        self.store.close()
        self.elsewhere.close()

    def left(self) -> Left:
        rows = self.backup()
        return Left(len(rows["claim_parts"]), len(rows["claim_records"]))

    def remove_record(self, claim_id: str) -> None:
        with self._file() as file:
            file.execute("DELETE FROM claim_records WHERE key = ?", (f"{claim_id}@",))

    def backup(self) -> Mapping[str, Sequence[Any]]:
        with self._file() as file:
            return {each: file.execute(f"SELECT * FROM {each}").fetchall() for each in _TABLES}

    def restore(self, backup: Any) -> None:
        with self._file() as file:
            for table, rows in backup.items():
                file.execute(f"DELETE FROM {table}")
                for row in rows:
                    file.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection


class DynamoDBPlace:
    """Tables that serve many tests, as making one takes longer than most of them."""

    def __init__(self, aws: AwsServer) -> None:
        self.server = aws
        self._client = aws.dynamodb()
        self.store = self._make()

    @cached_property
    def elsewhere(self) -> DynamoDBClaimStore:
        return self._make()

    @property
    def is_moto(self) -> bool:
        return self.server.name == "moto"

    def begin(self, clock: Clock) -> None:
        """Be empty, and go by the clock of a test."""
        for store in self._stores():
            store._clock = clock
            self._remove_all(store.table)

    def left(self) -> Left:
        hash_key = self.store.layout.hash_key
        keys = [each[hash_key]["S"] for each in self.backup()]
        records = sum("@" in key for key in keys)
        return Left(len(keys) - records, records)

    def remove_record(self, claim_id: str) -> None:
        key = self.store.layout.key(f"{claim_id}@")
        self._client.delete_item(TableName=self.store.table, Key=key)

    def backup(self) -> list[Mapping[str, Any]]:
        return self._items(self.store.table)

    def restore(self, backup: Any) -> None:
        self._remove_all(self.store.table)
        for item in backup:
            self._client.put_item(TableName=self.store.table, Item=item)

    def close(self) -> None:
        for store in self._stores():
            store.close()
        self._client.close()

    def _make(self) -> DynamoDBClaimStore:
        table = self.server.make_table_name()
        ClaimTable(table, region=self.server.region).create()
        clock = self.store._clock if "store" in vars(self) else None
        return DynamoDBClaimStore(table, region=self.server.region, clock=clock)

    def _stores(self) -> Iterator[DynamoDBClaimStore]:
        yield self.store
        if "elsewhere" in vars(self):
            yield self.elsewhere

    def _items(self, table: str) -> list[Mapping[str, Any]]:
        pages = self._client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def _remove_all(self, table: str) -> None:
        for item in self._items(table):
            layout = self.store.layout
            key = {name: item[name] for name in layout.key("any")}
            self._client.delete_item(TableName=table, Key=key)


class LetsGoPlace(DynamoDBPlace):
    """The same in tables that are LetsGo's."""

    def _make(self) -> DynamoDBClaimStore:
        clock = self.store._clock if "store" in vars(self) else None
        return make_letsgo_store(self.server, clock)


def make_letsgo_store(aws: AwsServer, clock: Callable[[], float] | None) -> LetsGoClaimStore:
    """A store in the table of a LetsGo deployment, made as LetsGo makes it."""
    prefix, _, name = aws.make_table_name().partition("-")
    store = LetsGoClaimStore(Deployment(name, prefix), region=aws.region, clock=clock)
    make_letsgo_table(aws, store.table)
    return store


def make_letsgo_table(aws: AwsServer, table: str) -> None:
    """A table as LetsGo makes it."""
    client = aws.dynamodb()
    client.create_table(
        TableName=table,
        KeySchema=[
            {"AttributeName": "category", "KeyType": "HASH"},
            {"AttributeName": "key", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "category", "AttributeType": "S"},
            {"AttributeName": "key", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.get_waiter("table_exists").wait(TableName=table)
    client.update_time_to_live(
        TableName=table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"},
    )
    client.close()
