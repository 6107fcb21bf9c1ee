"""What a message costs, wherever it is measured: calls, bytes, and units that AWS bills."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from claimcheck import ClaimCheck, ClaimCheckMiddleware, EnqueueResult, unwrap_claim_check
from claimcheck.stores.base import PART_BYTES
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from letsgo_queue import Client
from letsgo_queue.transports.sqs import SqsTransport
from tests.benchmarks.billing import message_size
from tests.benchmarks.emulator import Emulator, Proxy, make_emulator
from tests.benchmarks.payloads import PAYLOADS, PayloadFile, PayloadName, encode, write_payload
from tests.benchmarks.peers.base import Message
from tests.benchmarks.plan import NEW_QUEUE, OLD_QUEUE
from tests.benchmarks.prices import READ_UNIT_BYTES, WRITE_UNIT_BYTES, Units, dollars_per_million
from tests.benchmarks.traffic import Traffic
from tests.support.servers import AwsServer

ONE_MESSAGE = {"sqs SendMessage": 1, "sqs ReceiveMessage": 1, "sqs DeleteMessage": 1}

OVERHEAD = 1_500
"""Bytes of heads, names and keys in one call, at most."""

RETURNED = "what the handler got is what was sent"


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> Mapping[PayloadName, PayloadFile]:
    folder = tmp_path_factory.mktemp("payloads")
    return {name: write_payload(name, folder) for name in PAYLOADS if name != "20 MB"}


@pytest.fixture(scope="module")
def proxy(ministack_url: str) -> Iterator[Proxy]:
    with Proxy(ministack_url, "unshaped") as proxy:
        yield proxy


@pytest.fixture
def emulator(ministack: AwsServer, proxy: Proxy) -> Emulator:
    return make_emulator(ministack, proxy)


@dataclass(slots=True)
class _Ends:
    """Both ends of a queue behind the proxy."""

    emulator: Emulator
    queue_limit: int
    transport: SqsTransport = field(init=False)
    client: Client = field(init=False)
    claim_check: ClaimCheck = field(init=False)

    def __post_init__(self) -> None:
        place = self.emulator.place(self.emulator.make_queue(self.queue_limit), "AWS-like")
        self.transport = SqsTransport(place.queue_url)
        self.claim_check = ClaimCheck(
            DynamoDBClaimStore(
                place.table,
                region=self.emulator.server.region,
                endpoint_url=self.emulator.proxy.urls["dynamodb"],
            )
        )
        self.client = Client(self.transport, middleware=[ClaimCheckMiddleware(self.claim_check)])
        # Asked for once for each queue, and not for each message.
        self.transport.max_message_bytes()

    def round(self, payload: PayloadFile) -> tuple[EnqueueResult, str, Traffic]:
        """Send, receive and be done with a message: the result, what was on the queue, traffic."""
        message: Message = json.loads(payload.path.read_text())

        @unwrap_claim_check(claim_check=self.claim_check)
        def on_record(record: Mapping[str, Any]) -> str:
            assert json.loads(record["body"]) == message, RETURNED
            return RETURNED

        self.emulator.proxy.start(metered=True)
        result = self.client.enqueue(message)
        [received] = self.transport.receive(max_messages=10, wait_seconds=1, visibility_timeout=30)
        assert on_record({"messageId": received.message_id, "body": received.body}) == RETURNED
        self.transport.delete(received)
        traffic = self.emulator.proxy.stop()
        assert isinstance(result, EnqueueResult)
        return result, received.body, traffic

    def close(self) -> None:
        self.claim_check.store.close()
        self.transport.close()


@pytest.fixture
def new_queue(emulator: Emulator) -> Iterator[_Ends]:
    ends = _Ends(emulator, NEW_QUEUE)
    yield ends
    ends.close()


@pytest.fixture
def old_queue(emulator: Emulator) -> Iterator[_Ends]:
    ends = _Ends(emulator, OLD_QUEUE)
    yield ends
    ends.close()


def test_a_small_message_costs_what_it_would_without_claimcheck(
    new_queue: _Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    _, on_queue, traffic = new_queue.round(payloads["2 KB"])

    assert traffic.calls == ONE_MESSAGE
    assert on_queue == payloads["2 KB"].path.read_text()
    assert traffic.units == Units(sqs_requests=3)


@pytest.mark.parametrize(("name", "sqs_requests"), [("300 KB", 3), ("1 MB", 7)])
def test_a_message_that_compresses_makes_no_more_calls_and_is_billed_by_its_smaller_size(
    old_queue: _Ends,
    payloads: Mapping[PayloadName, PayloadFile],
    name: PayloadName,
    sqs_requests: int,
) -> None:
    result, on_queue, traffic = old_queue.round(payloads[name])

    assert result.route == "compressed"
    assert traffic.calls == ONE_MESSAGE
    assert traffic.units == Units(sqs_requests=sqs_requests)
    assert len(on_queue) == result.sent_size < payloads[name].size / 5
    assert traffic.wire_bytes < 2 * result.sent_size + 2 * len(traffic.calls) * OVERHEAD


def test_300_kb_cost_a_fifth_of_what_the_extended_client_is_billed(
    new_queue: _Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    _, _, traffic = new_queue.round(payloads["300 KB"])

    # A pointer sent, received and deleted; an object put and got, and deleted for nothing.
    extended_client = Units(sqs_requests=3, s3_writes=1, s3_reads=1)
    assert dollars_per_million(traffic.units) < 0.2 * dollars_per_million(extended_client)


@pytest.mark.parametrize("name", ["5 MB", "1.5 MB noise"])
def test_a_stored_message_is_written_read_and_removed_once(
    old_queue: _Ends, payloads: Mapping[PayloadName, PayloadFile], name: PayloadName
) -> None:
    result, _, traffic = old_queue.round(payloads[name])

    assert result.route == "stored"
    sizes = _part_sizes(result.stored_size)
    assert traffic.calls == ONE_MESSAGE | {
        "dynamodb PutItem": len(sizes) + 1,
        "dynamodb UpdateItem": 1,
        "dynamodb GetItem": len(sizes),
        "dynamodb DeleteItem": len(sizes) + 1,
    }
    # Parts are written, and removed at the same price; the head is written, taken and removed.
    writes = 2 * sum(math.ceil(size / WRITE_UNIT_BYTES) for size in sizes) + 3
    # Parts never change, so the read at half the price will do.
    reads = sum(math.ceil(size / READ_UNIT_BYTES) for size in sizes) / 2
    assert traffic.units == Units(sqs_requests=3, writes=writes, reads=reads)


@pytest.mark.parametrize("name", ["5 MB", "1.5 MB noise"])
def test_a_stored_payload_travels_once_each_way_and_the_queue_has_none_of_it(
    old_queue: _Ends, payloads: Mapping[PayloadName, PayloadFile], name: PayloadName
) -> None:
    result, on_queue, traffic = old_queue.round(payloads[name])

    assert message_size({"Body": on_queue}) == result.sent_size < 400
    # DynamoDB's protocol has bytes as base64.
    payload = 4 * math.ceil(result.stored_size / 3)
    overhead = traffic.call_count * OVERHEAD
    assert payload < traffic.sent < payload + overhead
    assert payload < traffic.received < payload + overhead


def test_nothing_is_left_in_the_table(
    old_queue: _Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    old_queue.round(payloads["5 MB"])

    table = old_queue.emulator.table
    scanned = old_queue.emulator.server.dynamodb().scan(TableName=table, ConsistentRead=True)
    assert scanned["Items"] == []


def test_ten_messages_are_sent_in_one_call(
    new_queue: _Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    message: Message = json.loads(payloads["2 KB"].path.read_text())
    new_queue.emulator.proxy.start(metered=True)

    new_queue.client.enqueue_many([message] * 30)

    traffic = new_queue.emulator.proxy.stop()
    assert traffic.calls == {"sqs SendMessageBatch": 3}
    assert traffic.units == Units(sqs_requests=3)


@pytest.mark.parametrize("name", ["2 KB", "100 KB", "300 KB", "1 MB", "5 MB"])
def test_a_payload_has_the_size_that_it_is_named_after(
    payloads: Mapping[PayloadName, PayloadFile], name: PayloadName
) -> None:
    number, unit = name.split()
    size = int(number) * {"KB": 1_000, "MB": 1_000_000}[unit]

    message = json.loads(payloads[name].path.read_text())

    assert 0.9 * size < payloads[name].size <= size
    assert payloads[name].size == len(encode(message))


def _part_sizes(stored: int) -> list[int]:
    """Bytes of each part's item: its data, and about a hundred of names, key and expiry."""
    parts = math.ceil(stored / PART_BYTES)
    item = len("id") + len("data") + len("expires_at") + 24 + len("/0") + 7
    return [min(PART_BYTES, stored - at * PART_BYTES) + item for at in range(parts)]
