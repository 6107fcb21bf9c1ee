"""The queues and stores that messages are lost on, if they are: SQLite, and those of AWS."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from claimcheck import ClaimCheck, ClaimStore
from claimcheck.core.cost import Place
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import QueueSettings
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import Transport
from tests.conftest import SETTINGS, hide, shorten_retries, use_emulator
from tests.faults.stores import PLACE_NAMES, Clock, Rows, make_store, open_place, rows_in
from tests.support.aws_models import read_once
from tests.support.servers import AwsServer, run_ministack, run_moto

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BackendName: TypeAlias = Literal["sqlite", "ministack", "moto", "bucket", "s3"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
ATOMIC: tuple[BackendName, ...] = ("sqlite", "ministack", "bucket", "s3")
"""Without moto, which answers two conditional writes at one moment with success."""

NAMES: Mapping[BackendName, str] = {
    "sqlite": "SQLite",
    "ministack": PLACE_NAMES["dynamodb"],
    "moto": "DynamoDB (moto)",
    "bucket": PLACE_NAMES["bucket"],
    "s3": PLACE_NAMES["s3"],
}

ServerName: TypeAlias = Literal["ministack", "moto"]

IN_S3: tuple[BackendName, ...] = ("bucket", "s3")
"""Those that have contents in a bucket."""

_PLACES: Mapping[BackendName, Place] = {
    "ministack": "dynamodb",
    "moto": "dynamodb",
    "bucket": "bucket",
    "s3": "s3",
}

MOST_RECEIVES = 100


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
    """A queue and a store on a server that speaks AWS, with the region that the test set."""

    def __init__(
        self,
        server: AwsServer,
        name: BackendName = "ministack",
        *,
        largest_message: int = 1_048_576,
        visibility_timeout: int = 600,
        most_receives: int = MOST_RECEIVES,
    ) -> None:
        self.name = name
        self._server = server
        self._sqs: SQSClient = server.lasting("sqs")
        self._dead_letters = server.make_queue(name="dead-letters")
        self.queue_url = server.make_queue(
            MaximumMessageSize=str(largest_message),
            VisibilityTimeout=str(visibility_timeout),
            RedrivePolicy=self._redrive_policy(most_receives),
        )
        self.store_url = make_store(server, _PLACES[name])

    def depth(self) -> int:
        return self._depth(self.queue_url)

    def dead(self) -> int:
        return self._depth(self._dead_letters)

    def rows(self) -> Rows:
        return rows_in(self._server, self.store_url)

    def make_visible(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            with suppress(ClientError):  # the message was acknowledged
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


def server_of(name: BackendName) -> ServerName:
    """Which server a backend is on."""
    return "moto" if name == "moto" else "ministack"


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
    return open_place(backend.store_url, region=region, clock=clock)


def claim_check_of(backend: Backend, *, clock: Clock | None = None) -> ClaimCheck:
    return ClaimCheck(store_of(backend, clock=clock))


@dataclass(frozen=True, slots=True)
class Servers:
    """Every server that speaks AWS, outside of pytest, for a command.

    Attributes:
        urls: Where each is.
    """

    urls: Mapping[ServerName, str]

    @contextmanager
    def use(self, name: ServerName) -> Iterator[AwsServer]:
        """Have the environment name a server; what is made there is removed in the end."""
        with pytest.MonkeyPatch.context() as patch:
            hide(patch, *SETTINGS)
            server = use_emulator(patch, name, self.urls[name])
            yield server
            server.remove_all()

    @contextmanager
    def backend(self, name: BackendName, folder: Path, **options: int) -> Iterator[Backend]:
        """A queue and a store of their own; the options are those of a backend."""
        if name == "sqlite":
            yield SqliteBackend(folder, **options)
        else:
            with self.use(server_of(name)) as server:
                yield AwsBackend(server, name, **options)


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
        read_once()
        shorten_retries(patch)
        yield Servers({"ministack": ministack_url, "moto": moto_url})
