"""The main job, whole: megabytes of real JSON through a queue and a store; only receipts stay."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore
import pytest

import claimcheck
from claimcheck import (
    DuplicateSuppressed,
    EnqueueResult,
    Route,
    open_store,
    unwrap_claim_check,
)
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import (
    Delivery,
    Event,
    Message,
    MessageHandled,
    Worker,
    default_client,
)
from letsgo_queue.transports.base import OutgoingMessage
from tests.letsgo_queue.support import outcomes
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("own_default_client")

WAIT_SECONDS = 60
VISIBILITY_SECONDS = 10
"""A duplicate is looked at again when the lease that it saw ends, so a test waits that long."""

LIMITS: list[tuple[str, Route]] = [("1048576", "compressed"), ("262144", "stored")]


class ApiModel(Message[dict[str, Any]]):
    type: str = "model:new"


@pytest.fixture(scope="module")
def model() -> ApiModel:
    """4 MB of JSON as it is met in the wild: the API of EC2, in its two newest versions."""
    folder = Path(botocore.__file__).parent / "data" / "ec2"
    files = sorted(folder.glob("*/service-2.json.gz"))[-2:]
    return ApiModel(
        payload={f.parent.name: json.loads(gzip.decompress(f.read_bytes())) for f in files}
    )


@pytest.mark.parametrize(("limit", "route"), LIMITS)
def test_on_sqs_and_dynamodb(
    aws: AwsServer, monkeypatch: pytest.MonkeyPatch, model: ApiModel, limit: str, route: Route
) -> None:
    table = aws.make_table_name()
    ClaimTable(table, region=aws.region).create()
    queue = aws.make_queue(MaximumMessageSize=limit, VisibilityTimeout=str(VISIBILITY_SECONDS))
    monkeypatch.setenv("LETSGO_QUEUE_URL", queue)
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")

    all_the_way(model, route)

    items = aws.dynamodb().scan(TableName=table, ConsistentRead=True)["Items"]
    assert [item["state"]["S"] for item in items] == ["done"] * (route == "stored")


@pytest.mark.parametrize(("limit", "route"), LIMITS)
def test_on_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ApiModel, limit: str, route: Route
) -> None:
    options = f"max_message_bytes={limit}&visibility_timeout={VISIBILITY_SECONDS}"
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path}/queue.db?{options}")
    monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/claims.db")

    all_the_way(model, route)

    if route == "stored":
        with closing(sqlite3.connect(tmp_path / "claims.db")) as claims:
            assert claims.execute("SELECT count(*) FROM claim_parts").fetchone() == (0,)
            assert claims.execute("SELECT state FROM claim_records").fetchall() == [("done",)]


def all_the_way(model: ApiModel, route: Route) -> None:
    """Two settings say which queue and which store; nothing in here does."""
    body = model.model_dump_json()
    assert len(body) > 3_500_000

    result = claimcheck.enqueue(model)

    assert (result.route, result.size) == (route, len(body.encode()))
    assert result.sent_size < 262_144 or route == "compressed"
    shop = Shop()
    if route == "compressed":
        shop.worker().run(burst=True)
    else:
        delivered_three_times(shop, result)
    assert shop.got == [body]
    assert [event for event in shop.heard if isinstance(event, MessageHandled)] != []
    assert on_queue() == []


def delivered_three_times(shop: Shop, result: EnqueueResult) -> None:
    """While the handler runs a second delivery is held; after it, none runs it again."""
    (ticket,) = on_queue()
    fields = json.loads(ticket)["claimCheck"]
    claim_id, parts, stored = str(result.claim_id), fields["parts"], fields["stored"]
    store = open_store(claimcheck.ClaimCheckSettings.from_environment().store or "")

    def state() -> str | None:
        record = store.look_up(f"{claim_id}@")
        return None if record is None else record.state

    def is_there() -> bool:
        return store.read(claim_id, parts, stored=stored).result() is not None

    assert (state(), is_there()) == (None, True)
    shop.handler_may_end.clear()
    with running(shop.worker()) as first:
        assert shop.handler_began.wait(WAIT_SECONDS)
        assert (state(), is_there()) == ("leased", True)

        send_again(ticket)
        with running(shop.worker()):
            wait_for(lambda: on_queue() == [], "the duplicate is in a worker's hand")
            shop.handler_may_end.set()
            shop.wait_for(MessageHandled)
            first.stop()
            assert (state(), is_there()) == ("done", False)
            # It is tried again when the lease would have ended, and is acknowledged.
            shop.wait_for(DuplicateSuppressed)

            send_again(ticket)
            shop.wait_for(DuplicateSuppressed, 2)
    store.close()


@dataclass
class Shop:
    """Workers, what their handlers got, and what their listeners heard."""

    got: list[str] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)
    handler_began: threading.Event = field(default_factory=threading.Event)
    handler_may_end: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.handler_may_end.set()

    def worker(self) -> Worker:
        worker = Worker(wait_seconds=1)
        worker.add_listener(outcomes(self.heard))

        @worker.handler("model:new")
        @unwrap_claim_check
        def on_model(message: ApiModel, delivery: Delivery) -> None:
            assert delivery.type == message.type
            self.got.append(message.model_dump_json())
            self.handler_began.set()
            assert self.handler_may_end.wait(WAIT_SECONDS)

        return worker

    def wait_for(self, kind: type[Event], count: int = 1) -> list[Event]:
        """Wait until workers have told of so many events of a kind."""

        def found() -> list[Event]:
            return [event for event in self.heard if isinstance(event, kind)]

        wait_for(lambda: len(found()) >= count, f"{count} {kind.__name__}")
        return found()


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(worker.run)
        try:
            yield worker
        finally:
            worker.stop()
        run.result(WAIT_SECONDS)


def on_queue() -> list[str]:
    """The bodies that can be received, left where they are."""
    received = (
        default_client().transport().receive(max_messages=10, wait_seconds=0, visibility_timeout=0)
    )
    return [message.body for message in received]


def send_again(body: str) -> None:
    """Have the queue deliver the very same body once more, as a standard queue may."""
    message = OutgoingMessage(type="model:new", body=body.encode())
    default_client().transport().send(message)
