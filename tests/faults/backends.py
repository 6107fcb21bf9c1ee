"""The queues and stores that messages are lost on, if they are: SQLite, and SQS with DynamoDB."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from claimcheck import ClaimCheck, ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import QueueSettings
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import Transport
from tests.conftest import hide, read_aws_models_once, use_emulator
from tests.support.servers import AwsServer, run_ministack, run_moto

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BackendName: TypeAlias = Literal["sqlite", "ministack", "moto"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
ATOMIC: tuple[BackendName, ...] = ("sqlite", "ministack")
"""Without moto, which answers two conditional writes at one moment with success."""

NAMES: Mapping[BackendName, str] = {
    "sqlite": "SQLite",
    "ministack": "MiniStack",
    "moto": "moto",
}

Clock: TypeAlias = Callable[[], float]

MOST_RECEIVES = 100
DAY = 24 * 3600
LATEST_EXPIRY = 31 * DAY
"""Records are kept 30 days, contents 15."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows in a store, by kind.

    Attributes:
        parts: Parts of contents.
        receipts: Records of messages that were handled.
        records: Records of messages that were not.
        for_good: How many of these would never expire, or too late.
    """

    parts: int = 0
    receipts: int = 0
    records: int = 0
    for_good: int = 0

    @classmethod
    def count(cls, rows: Iterable[tuple[str | None, float | None]]) -> Rows:
        """Count rows, each given by the state of a record (None for a part) and its expiry."""
        found = list(rows)
        states = [state for state, _ in found]
        latest = time.time() + LATEST_EXPIRY
        return cls(
            parts=states.count(None),
            receipts=states.count("done"),
            records=len(states) - states.count(None) - states.count("done"),
            for_good=sum(expires is None or expires > latest for _, expires in found),
        )


class Backend(Protocol):
    """A queue and the store that goes with it, and what an administrator sees and does there."""

    @property
    def name(self) -> BackendName: ...

    @property
    def queue_url(self) -> str: ...

    @property
    def store_url(self) -> str: ...

    def depth(self) -> int:
        """How many messages are on the queue, visible or not."""
        ...

    def dead(self) -> int:
        """How many dead letters there are."""
        ...

    def rows(self) -> Rows:
        """The rows in the store."""
        ...

    def make_visible(self, receipts: Sequence[str]) -> None:
        """Make messages visible that a process had in hand, as if their timeout had ended."""
        ...


class SqliteBackend:
    """Both in one file."""

    name: BackendName = "sqlite"

    def __init__(
        self,
        folder: Path,
        *,
        largest_message: int = 1_048_576,
        visibility_timeout: int = 600,
        most_receives: int = MOST_RECEIVES,
    ) -> None:
        self._path = folder / "work.db"
        self.queue_url = (
            f"sqlite:///{self._path}?max_receive_count={most_receives}"
            f"&max_message_bytes={largest_message}&visibility_timeout={visibility_timeout}"
        )
        self.store_url = f"sqlite:///{self._path}"
        with closing(transport_of(self)) as transport:  # makes the tables
            transport.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        with closing(store_of(self)) as store:
            store.look_up("none")

    def depth(self) -> int:
        return self._count("SELECT count(*) FROM queue_messages")

    def dead(self) -> int:
        return self._count("SELECT count(*) FROM queue_dead_letters")

    def rows(self) -> Rows:
        """A part expires with its claim; one without would stay for good."""
        return Rows.count(
            self._ask(
                "SELECT NULL, expires_at FROM claim_parts LEFT JOIN claim_contents"
                " USING (claim_id) UNION ALL SELECT state, expires_at FROM claim_records"
            )
        )

    def make_visible(self, receipts: Sequence[str]) -> None:
        self._ask("UPDATE queue_messages SET visible_at = 0")

    def _count(self, question: str) -> int:
        (count, *_) = self._ask(question)[0]
        return int(count)

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()


class AwsBackend:
    """A queue and a table on a server that speaks AWS, with the region that the test set."""

    def __init__(
        self,
        server: AwsServer,
        *,
        largest_message: int = 1_048_576,
        visibility_timeout: int = 600,
        most_receives: int = MOST_RECEIVES,
    ) -> None:
        self.name: BackendName = "moto" if server.name == "moto" else "ministack"
        self._sqs, self._dynamodb = server.sqs(), server.dynamodb()
        self._dead_letters = server.make_queue(name="dead-letters")
        self.queue_url = server.make_queue(
            MaximumMessageSize=str(largest_message),
            VisibilityTimeout=str(visibility_timeout),
            RedrivePolicy=self._redrive_policy(most_receives),
        )
        self._table = server.make_table_name()
        self.store_url = f"dynamodb://{self._table}"
        ClaimTable(self._table, region=server.region).create()

    def depth(self) -> int:
        return self._depth(self.queue_url)

    def dead(self) -> int:
        return self._depth(self._dead_letters)

    def rows(self) -> Rows:
        return rows_in(self._dynamodb, self._table)

    def make_visible(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            with suppress(ClientError):  # of one that was acknowledged
                self._sqs.change_message_visibility(
                    QueueUrl=self.queue_url, ReceiptHandle=receipt, VisibilityTimeout=0
                )

    def _redrive_policy(self, most_receives: int) -> str:
        dead_letters = self._sqs.get_queue_attributes(
            QueueUrl=self._dead_letters, AttributeNames=["QueueArn"]
        )
        arn = dead_letters["Attributes"]["QueueArn"]
        return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": most_receives})

    def _depth(self, queue: str) -> int:
        attributes = self._sqs.get_queue_attributes(
            QueueUrl=queue,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return sum(map(int, attributes.values()))


def rows_in(dynamodb: DynamoDBClient, table: str) -> Rows:
    """The rows of a table."""
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ConsistentRead=True,
        ProjectionExpression="#state, expires_at",
        ExpressionAttributeNames={"#state": "state"},
    )
    return Rows.count(
        (
            item["state"]["S"] if "state" in item else None,
            float(item["expires_at"]["N"]) if "expires_at" in item else None,
        )
        for page in pages
        for item in page["Items"]
    )


def environment_of(backend: Backend) -> Mapping[str, str]:
    """What tells a process to use it."""
    return {"LETSGO_QUEUE_URL": backend.queue_url, "CLAIMCHECK_STORE": backend.store_url}


def transport_of(backend: Backend) -> Transport:
    return open_transport(backend.queue_url, QueueSettings.from_environment())


def store_of(backend: Backend, *, clock: Clock | None = None) -> ClaimStore:
    """The store, going by a clock of the test's own where there is one."""
    parts = urlsplit(backend.store_url)
    if parts.scheme == "sqlite":
        return SqliteClaimStore(parts.path.removeprefix("/"), clock=clock or time.time)
    region = QueueSettings.from_environment().region
    return DynamoDBClaimStore(parts.netloc, region=region, clock=clock)


def claim_check_of(backend: Backend, *, clock: Clock | None = None) -> ClaimCheck:
    return ClaimCheck(store_of(backend, clock=clock))


@dataclass(frozen=True, slots=True)
class Servers:
    """Every server that speaks AWS, outside of pytest, for a command.

    Attributes:
        urls: Where each is.
    """

    urls: Mapping[BackendName, str]

    @contextmanager
    def use(self, name: BackendName) -> Iterator[AwsServer]:
        """Have the environment name a server; what is made there is removed in the end."""
        with pytest.MonkeyPatch.context() as patch:
            hide(patch, "AWS_", "CLAIMCHECK_", "LETSGO_")
            server = use_emulator(patch, name, self.urls[name])
            yield server
            server.remove_all()

    @contextmanager
    def backend(self, name: BackendName, folder: Path, **options: int) -> Iterator[Backend]:
        """A queue and a store of their own; the options are those of a backend."""
        if name == "sqlite":
            yield SqliteBackend(folder, **options)
        else:
            with self.use(name) as server:
                yield AwsBackend(server, **options)


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run them, in folders of their own."""
    ministack, moto = folder / "ministack", folder / "moto"
    ministack.mkdir()
    moto.mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        run_ministack(ministack) as ministack_url,
        run_moto(moto) as moto_url,
    ):
        read_aws_models_once(patch)
        yield Servers({"ministack": ministack_url, "moto": moto_url})
