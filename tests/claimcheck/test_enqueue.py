"""`claimcheck.enqueue`, and what a send that fails leaves behind."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import claimcheck
import letsgo_queue
from claimcheck import (
    BodyTooLarge,
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimStoreUnavailable,
    EnqueueResult,
    MessageSealed,
)
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue import (
    Client,
    Event,
    Message,
    MessageInvalid,
    MessageSent,
    MessageTooLarge,
    Middleware,
    SendContext,
    SendFailed,
    SendUncertain,
    Worker,
)
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.claimcheck.support import (
    DAY,
    contents_of,
    message_body,
    noise,
    small_claim_check,
    ticket_in,
)
from tests.claimcheck.watched import Watched
from tests.support.faulty_server import Failure, FaultyServer
from tests.support.servers import AwsServer

SMALL = {"type": "order:new", "payload": {"note": "größer"}}
SMALL_BODY = message_body("order:new", {"note": "größer"})
COMPRESSIBLE = {"type": "order:new", "payload": "x" * 5_000}
LARGE = {"type": "order:new", "payload": noise(6_000)}
LARGE_BODY = message_body("order:new", noise(6_000))


class Order(BaseModel):
    note: str


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the environment says: a queue in a file, its claims beside it, and low limits."""
    url = f"sqlite:///{tmp_path}/work.db"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
    return url


@pytest.fixture
def claims(queue: str) -> Iterator[SqliteClaimStore]:
    store = SqliteClaimStore(queue.removeprefix("sqlite:///"))
    yield store
    store.close()


def receive(queue: str) -> list[ReceivedMessage]:
    transport = SqliteTransport(queue)
    try:
        return list(transport.receive(max_messages=10, wait_seconds=0, visibility_timeout=60))
    finally:
        transport.close()


def opened(store: claimcheck.ClaimStore, body: str) -> str:
    with small_claim_check(store).open(body) as message:
        return message.body


class TestEnqueue:
    @pytest.mark.parametrize("message", [SMALL, OrderNew(payload=Order(note="größer"))])
    def test_a_small_message_travels_untouched(self, queue: str, message: Any) -> None:
        result = claimcheck.enqueue(message)

        (on_queue,) = receive(queue)
        assert on_queue.body == SMALL_BODY
        size = len(SMALL_BODY.encode())
        assert result == EnqueueResult(
            message_id=on_queue.message_id,
            queue=queue,
            route="inline",
            size=size,
            sent_size=size,
            stored_size=0,
            claim_id=None,
        )

    def test_a_larger_one_is_compressed(self, queue: str, claims: SqliteClaimStore) -> None:
        result = claimcheck.enqueue(COMPRESSIBLE)

        (on_queue,) = receive(queue)
        sealed = json.loads(on_queue.body)
        assert (sealed["type"], list(sealed)) == ("order:new", ["type", "claimCheck"])
        assert opened(claims, on_queue.body) == message_body("order:new", "x" * 5_000)
        assert (result.route, result.stored_size, result.claim_id) == ("compressed", 0, None)
        assert (result.size, result.sent_size) == (5_033, len(on_queue.body))

    def test_what_still_does_not_fit_is_stored(self, queue: str, claims: SqliteClaimStore) -> None:
        result = claimcheck.enqueue(LARGE, attributes={"name": "value"})

        (on_queue,) = receive(queue)
        assert result.route == "stored"
        assert result.size == len(LARGE_BODY) + len("nameStringvalue")
        assert result.sent_size == len(on_queue.body) + len("nameStringvalue")
        contents = contents_of(claims, on_queue.body)
        assert contents is not None
        assert result.stored_size == sum(len(part or b"") for part in contents.parts)
        assert result.claim_id == ticket_in(on_queue.body)["id"]
        assert on_queue.attributes["name"].value == "value"
        assert opened(claims, on_queue.body) == LARGE_BODY

    def test_the_same_for_asyncio(self, queue: str, claims: SqliteClaimStore) -> None:
        result = asyncio.run(claimcheck.aenqueue(LARGE))

        (on_queue,) = receive(queue)
        assert (result.route, result.message_id) == ("stored", on_queue.message_id)
        assert opened(claims, on_queue.body) == LARGE_BODY

    def test_a_delay_is_kept_and_the_claim_lives_longer_for_it(
        self, queue: str, claims: SqliteClaimStore
    ) -> None:
        result = claimcheck.enqueue(LARGE, delay_seconds=600)

        contents = claims.read(str(result.claim_id), 1, stored=result.size).result()
        assert receive(queue) == []
        assert contents is not None
        assert contents.expires_at == pytest.approx(time.time() + 600 + 15 * DAY, abs=60)

    def test_another_queue_than_the_default(self, queue: str, tmp_path: Path) -> None:
        other = f"sqlite:///{tmp_path}/other.db"

        result = claimcheck.enqueue(LARGE, queue=other)

        (on_queue,) = receive(other)
        assert result.queue == other
        assert receive(queue) == []
        store = SqliteClaimStore(tmp_path / "other.db")
        assert opened(store, on_queue.body) == LARGE_BODY
        store.close()

    def test_listeners_of_the_default_client_hear_of_every_message(self, queue: str) -> None:
        heard: list[Event] = []
        letsgo_queue.default_client().add_listener(heard.append)

        results = [claimcheck.enqueue(message) for message in (SMALL, COMPRESSIBLE, LARGE)]

        sealed = [event for event in heard if isinstance(event, MessageSealed)]
        sent = [event for event in heard if isinstance(event, MessageSent)]
        assert len(heard) == 6
        assert [(e.type, e.queue) for e in sealed] == [("order:new", queue)] * 3
        assert [(e.route, e.size, e.sent_size, e.stored_size, e.claim_id) for e in sealed] == [
            (r.route, r.size, r.sent_size, r.stored_size, r.claim_id) for r in results
        ]
        assert [(e.message_id, e.size, e.sent_size, e.result) for e in sent] == [
            (r.message_id, r.size, r.sent_size, r) for r in results
        ]
        assert all(0 < e.duration < 60 for e in sealed)

    def test_what_already_looks_sealed_arrives_as_it_was(
        self, queue: str, claims: SqliteClaimStore
    ) -> None:
        forwarded = {"type": "order:new", "claimCheck": {"v": 1, "from": "elsewhere"}}

        claimcheck.enqueue(forwarded)

        (on_queue,) = receive(queue)
        assert json.loads(opened(claims, on_queue.body)) == forwarded


class TestRefused:
    """Nothing on the queue, no rows in the store."""

    @pytest.fixture
    def transport(self) -> MemoryTransport:
        return MemoryTransport(max_message_bytes=1_200)

    @pytest.fixture
    def client(self, transport: MemoryTransport, store: MemoryClaimStore) -> Client:
        return Client(transport, middleware=[ClaimCheckMiddleware(small_claim_check(store))])

    def is_empty(self, transport: MemoryTransport, store: MemoryClaimStore) -> bool:
        received = transport.receive(max_messages=10, wait_seconds=0, visibility_timeout=None)
        return not received and not store._contents

    def test_over_max_size(self, transport: MemoryTransport, store: MemoryClaimStore) -> None:
        check = small_claim_check(store, max_size=5_000)

        with pytest.raises(BodyTooLarge, match="max_size allows 5,000"):
            Client(transport, middleware=[ClaimCheckMiddleware(check)]).enqueue(LARGE)
        assert self.is_empty(transport, store)

    @pytest.mark.parametrize(
        ("message", "options"),
        [
            ({"type": "order:new", "payload": [object(), noise(6_000)]}, {}),
            ({"payload": noise(6_000)}, {}),
            ({**LARGE, "type": 7}, {}),
            ({**LARGE, "type": "letsgo:mine"}, {}),
            ({**LARGE, "type": "order\ufffenew"}, {}),
            (LARGE, {"delay_seconds": -1}),
            (LARGE, {"attributes": {f"name{number}": "x" for number in range(11)}}),
            (LARGE, {"attributes": {"name": "nul\0"}}),
            (LARGE, {"deduplication_id": "not-fifo"}),
        ],
    )
    def test_what_breaks_a_rule(
        self,
        client: Client,
        transport: MemoryTransport,
        store: MemoryClaimStore,
        message: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        with pytest.raises(MessageInvalid):
            client.enqueue(message, **options)
        assert self.is_empty(transport, store)

    def test_attributes_that_leave_no_room_for_a_ticket(
        self, client: Client, transport: MemoryTransport, store: MemoryClaimStore
    ) -> None:
        with pytest.raises(MessageTooLarge, match=r"Only the body can be stored"):
            client.enqueue(LARGE, attributes={"name": "x" * 1_100})
        assert self.is_empty(transport, store)

    def test_a_later_middleware_that_refuses(
        self, client: Client, transport: MemoryTransport, store: MemoryClaimStore
    ) -> None:
        class Refuses(Middleware):
            def before_send(
                self, message: OutgoingMessage, context: SendContext
            ) -> OutgoingMessage:
                raise MessageInvalid("not today")

        client.add_middleware(Refuses())

        with pytest.raises(MessageInvalid, match="not today"):
            client.enqueue(LARGE)
        assert self.is_empty(transport, store)

    def test_a_store_that_is_down(
        self, transport: MemoryTransport, store: MemoryClaimStore
    ) -> None:
        watched = Watched(store)
        watched.fail("write")
        check = small_claim_check(watched.store)

        with pytest.raises(ClaimStoreUnavailable, match="the test says so"):
            Client(transport, middleware=[ClaimCheckMiddleware(check)]).enqueue(LARGE)
        assert self.is_empty(transport, store)

    def test_a_claim_that_cannot_be_removed_is_logged(
        self,
        transport: MemoryTransport,
        store: MemoryClaimStore,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        watched = Watched(store)
        watched.fail("remove")
        check = small_claim_check(watched.store, inline_limit=2_000)  # more than the queue takes
        client = Client(transport, middleware=[ClaimCheckMiddleware(check)])

        with caplog.at_level(logging.WARNING), pytest.raises(MessageTooLarge):
            client.enqueue(LARGE, attributes={"name": "x" * 1_100})

        assert "of a message that was not sent, could not be removed and expires" in caplog.text
        assert "the test says so" in caplog.text


class TestSqsOnABadDay:
    @pytest.fixture
    def server(self, aws: AwsServer) -> Iterator[FaultyServer]:
        if aws.endpoint_url is None:
            pytest.skip("the faults are those of an emulator's proxy")
        with FaultyServer(aws.endpoint_url) as server:
            yield server

    @pytest.fixture
    def queue_behind_the_faults(self, aws: AwsServer, server: FaultyServer) -> str:
        return aws.make_queue().replace(str(aws.endpoint_url), server.url)

    @pytest.fixture
    def client(self, queue_behind_the_faults: str, check: ClaimCheck) -> Client:
        return Client(queue_behind_the_faults, middleware=[ClaimCheckMiddleware(check)])

    @pytest.fixture
    def check(self, store: MemoryClaimStore) -> ClaimCheck:
        return small_claim_check(store)

    def handle_all(self, client: Client, check: ClaimCheck) -> list[object]:
        handled: list[object] = []
        worker = Worker(client=client, middleware=[ClaimCheckMiddleware(check)])

        @worker.handler("order:new")
        def on_order(message: Message[str]) -> None:
            handled.append(message.payload)

        worker.run(burst=True)
        return handled

    def test_a_refused_send_leaves_no_rows(
        self, server: FaultyServer, client: Client, check: ClaimCheck, store: MemoryClaimStore
    ) -> None:
        server.refuse("SendMessage", "InvalidMessageContents")

        with pytest.raises(SendFailed, match="InvalidMessageContents"):
            client.enqueue(LARGE)

        assert store._contents == {}
        assert self.handle_all(client, check) == []

    def test_where_nobody_knows_the_claim_is_kept_and_handled_once(
        self, server: FaultyServer, client: Client, check: ClaimCheck, store: MemoryClaimStore
    ) -> None:
        lost = server.inject(Failure.ANSWER_LOST, on="SendMessage")

        with pytest.raises(SendUncertain, match="may or may not be on the queue"):
            client.enqueue(LARGE)

        assert len(store._contents) == 1
        assert lost.happened > 1
        assert self.handle_all(client, check) == [LARGE["payload"]]
        assert store._contents == {}

    def test_a_queue_that_is_gone_leaves_no_rows(
        self, aws: AwsServer, client: Client, store: MemoryClaimStore
    ) -> None:
        url = client.transport().url
        aws.sqs().delete_queue(QueueUrl=url)

        with pytest.raises(letsgo_queue.QueueNotFound, match="does not exist"):
            client.enqueue(LARGE)
        assert store._contents == {}


def test_what_another_middleware_says_of_a_message_goes_with_it(store: MemoryClaimStore) -> None:
    """Whichever fields a message has: those of the claim check's own are the only new ones."""
    given: dict[str, Any] = {
        "delay_seconds": 7,
        "group_id": "group",
        "deduplication_id": "own",
        "trace_header": "Root=1-5759e988-bd862e3fe1be46a994272793",
    }

    class Outside(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext, /) -> OutgoingMessage:
            return replace(message, **given)

    class Inside(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext, /) -> OutgoingMessage:
            seen.append(message)
            return message

    seen: list[OutgoingMessage] = []
    claims = ClaimCheckMiddleware(small_claim_check(store))
    client = Client(MemoryTransport(), middleware=[Outside(), claims, Inside()])

    client.enqueue({"type": "order:new", "payload": noise(6_000)})

    assert {name: getattr(seen[0], name) for name in given} == given
