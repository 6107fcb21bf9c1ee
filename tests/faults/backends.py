"""The queues and stores that messages are lost on, if they are: SQLite, and SQS with DynamoDB."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args

import pytest

from claimcheck import ClaimCheck, ClaimStore, open_store
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import QueueSettings
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import Transport
from tests.conftest import hide, use_emulator
from tests.support.servers import AwsServer, run_ministack

BackendName: TypeAlias = Literal["sqlite", "ministack"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


class Backend(Protocol):
    """A queue and the store that goes with it, and what an administrator sees of them."""

    @property
    def name(self) -> BackendName: ...

    @property
    def queue_url(self) -> str: ...

    @property
    def store_url(self) -> str: ...

    def depth(self) -> int:
        """How many messages are on the queue, visible or not, and dead ones."""
        ...

    def rows(self) -> list[int | None]:
        """When each row in the store expires (seconds since 1970); None for one that does not."""
        ...


class SqliteBackend:
    """Both in one file."""

    name: BackendName = "sqlite"

    def __init__(self, folder: Path, *, largest_message: int = 1_048_576) -> None:
        self._path = folder / "work.db"
        self.queue_url = (
            f"sqlite:///{self._path}?max_receive_count=100&max_message_bytes={largest_message}"
        )
        self.store_url = f"sqlite:///{self._path}"
        transport_of(self).receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        with closing(open_store(self.store_url)) as store:
            store.look_up("makes the table", now=0)

    def depth(self) -> int:
        return int(
            self._ask(
                "SELECT (SELECT count(*) FROM queue_messages)"
                " + (SELECT count(*) FROM queue_dead_letters)"
            )[0][0]
        )

    def rows(self) -> list[int | None]:
        """A part expires with its head; one without would stay for good."""
        return [
            row[0]
            for row in self._ask(
                "SELECT expires_at FROM claims UNION ALL SELECT expires_at"
                " FROM claim_parts LEFT JOIN claims ON claims.id = claim_parts.claim_id"
            )
        ]

    def _ask(self, question: str) -> list[tuple[int, ...]]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            return connection.execute(question).fetchall()


class AwsBackend:
    """A queue and a table on a server that speaks AWS, with the region that the test set."""

    name: BackendName = "ministack"

    def __init__(self, server: AwsServer, *, largest_message: int = 1_048_576) -> None:
        self._sqs, self._dynamodb = server.sqs(), server.dynamodb()
        self.queue_url = server.make_queue(MaximumMessageSize=str(largest_message))
        self._table = server.make_table_name()
        self.store_url = f"dynamodb://{self._table}"
        ClaimTable(self._table, region=server.region).create()

    def depth(self) -> int:
        attributes = self._sqs.get_queue_attributes(
            QueueUrl=self.queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return sum(map(int, attributes.values()))

    def rows(self) -> list[int | None]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table, ConsistentRead=True, ProjectionExpression="expires_at"
        )
        return [
            int(item["expires_at"]["N"]) if "expires_at" in item else None
            for page in pages
            for item in page["Items"]
        ]


def environment_of(backend: Backend) -> Mapping[str, str]:
    """What tells a process to use it."""
    return {"LETSGO_QUEUE_URL": backend.queue_url, "CLAIMCHECK_STORE": backend.store_url}


def transport_of(backend: Backend) -> Transport:
    return open_transport(backend.queue_url, QueueSettings.from_environment())


def store_of(backend: Backend) -> ClaimStore:
    return open_store(backend.store_url, region=QueueSettings.from_environment().region)


def claim_check_of(backend: Backend) -> ClaimCheck:
    return ClaimCheck(store_of(backend))


@contextmanager
def ministack_server(folder: Path) -> Iterator[AwsServer]:
    """MiniStack outside of pytest, for a command; the environment names it meanwhile."""
    with pytest.MonkeyPatch.context() as patch, run_ministack(folder) as url:
        hide(patch, "AWS_", "CLAIMCHECK_", "LETSGO_")
        yield use_emulator(patch, "ministack", url)
