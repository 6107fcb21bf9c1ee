"""What a message costs on any machine: calls, bytes, and the units that AWS bills."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic_core import from_json

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimCorrupted,
    ClaimInProgress,
    ClaimMissing,
    EnqueueResult,
    Sealed,
    open_store,
)
from claimcheck.stores.base import PART_BYTES, Lease
from letsgo_queue import Client, Worker, envelope, whole
from letsgo_queue.transports.memory import MemoryTransport
from tests.benchmarks.billing import message_size
from tests.benchmarks.counting import ONE_MESSAGE, Ends
from tests.benchmarks.emulator import Emulator
from tests.benchmarks.payloads import PayloadFile, PayloadName, encode
from tests.benchmarks.peers.base import Message
from tests.benchmarks.plan import NEW_QUEUE, OLD_QUEUE
from tests.benchmarks.prices import WRITE_UNIT_BYTES, Units, dollars_per_million, estimated

OVERHEAD = 1_500
"""The most bytes of heads, names and keys in a call."""


@pytest.fixture
def new_queue(emulator: Emulator) -> Iterator[Ends]:
    ends = Ends(emulator, NEW_QUEUE)
    yield ends
    ends.close()


@pytest.fixture
def old_queue(emulator: Emulator) -> Iterator[Ends]:
    ends = Ends(emulator, OLD_QUEUE)
    yield ends
    ends.close()


def test_a_small_message_costs_nothing_more(
    new_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    _, on_queue, traffic = new_queue.round(payloads["2 KB"])

    assert traffic.calls == ONE_MESSAGE
    assert on_queue == payloads["2 KB"].path.read_text()
    assert traffic.units == Units(sqs_requests=3) == estimated(len(on_queue))


@pytest.mark.parametrize(("name", "sqs_requests"), [("300 KB", 3), ("1 MB", 7)])
def test_a_compressed_message_needs_no_more_calls_and_is_billed_by_its_smaller_size(
    old_queue: Ends,
    payloads: Mapping[PayloadName, PayloadFile],
    name: PayloadName,
    sqs_requests: int,
) -> None:
    result, on_queue, traffic = old_queue.round(payloads[name])

    assert result.route == "compressed"
    assert traffic.calls == ONE_MESSAGE
    assert traffic.units == Units(sqs_requests=sqs_requests) == estimated(result.sent_size)
    assert len(on_queue) == result.sent_size < payloads[name].size / 5
    assert traffic.wire_bytes < 2 * result.sent_size + 2 * len(traffic.calls) * OVERHEAD


def test_300_kb_cost_a_fifth_of_what_the_extended_client_is_billed(
    new_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    _, _, traffic = new_queue.round(payloads["300 KB"])

    # It sends, receives and deletes a pointer; it puts and gets an object, and deletes it for free.
    extended_client = Units(sqs_requests=3, s3_writes=1, s3_reads=1)
    assert dollars_per_million(traffic.units) < 0.2 * dollars_per_million(extended_client)


@pytest.mark.parametrize("name", ["5 MB", "1.5 MB noise"])
def test_a_stored_message_is_written_read_and_removed_once_and_its_record_written_twice(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile], name: PayloadName
) -> None:
    result, _, traffic = old_queue.round(payloads[name])

    assert result.route == "stored"
    parts = _part_count(result)
    assert traffic.calls == ONE_MESSAGE | {
        "dynamodb PutItem": parts,
        "dynamodb UpdateItem": 2,
        "dynamodb GetItem": parts,
        "dynamodb DeleteItem": parts,
    }
    assert traffic.units == estimated(result.sent_size, result.stored_size)
    # Contents are billed for each KB, to write them and to remove them, and little else is billed.
    kilobytes = math.ceil(result.stored_size / WRITE_UNIT_BYTES)
    assert 2 * kilobytes + 2 <= traffic.units.writes <= 2 * (kilobytes + parts) + 2
    assert kilobytes / 8 <= traffic.units.reads <= (kilobytes / 4 + parts) / 2


def test_contents_that_are_left_to_expire_are_billed_half(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    result, _, traffic = old_queue.round(payloads["5 MB"], purge="never")
    _, _, removed = old_queue.round(payloads["5 MB"])

    parts = _part_count(result)
    assert traffic.calls == ONE_MESSAGE | {
        "dynamodb PutItem": parts,
        "dynamodb UpdateItem": 2,
        "dynamodb GetItem": parts,
    }
    assert traffic.units == estimated(result.sent_size, result.stored_size, purge="never")
    record = 2
    assert traffic.units.writes - record == (removed.units.writes - record) / 2


def test_contents_that_are_removed_before_the_handler_cost_two_more_writes_of_the_record(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    result, _, traffic = old_queue.round(payloads["5 MB"], purge="before")

    assert traffic.calls["dynamodb UpdateItem"] == 4
    assert traffic.units == estimated(result.sent_size, result.stored_size, purge="before")


def test_a_small_message_that_is_handled_once_costs_two_writes_of_its_record(
    new_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    new_queue.claim_check.store.acquire("another", Lease("x", 1))  # which learns DynamoDB's time
    _, _, traffic = new_queue.round(payloads["2 KB"], once=True)

    assert traffic.calls == ONE_MESSAGE | {"dynamodb UpdateItem": 2}
    assert traffic.units == Units(sqs_requests=3, writes=2)


def test_a_reader_asks_once_at_most_for_the_time_of_dynamodb(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    reader = ClaimCheck(old_queue.open_store())
    messages = [_seal(old_queue, payloads["5 MB"]) for _ in range(2)]
    old_queue.emulator.proxy.start()

    for message in messages:
        reader.open(message.body.decode()).complete()

    calls = old_queue.emulator.proxy.stop().calls
    reader.store.close()
    parts = sum(message.parts for message in messages)
    # Not at all if a part, which is read at the same time, comes first: its answer has the time.
    assert calls["dynamodb GetItem"] in {parts, parts + 1}
    assert calls["dynamodb UpdateItem"] == 2 * 2


def test_a_claim_that_is_held_costs_whoever_is_refused_one_write_and_no_read_of_the_record(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    body = _seal(old_queue, payloads["5 MB"]).body.decode()
    with old_queue.claim_check.open(body):
        old_queue.emulator.proxy.start(metered=True)

        with pytest.raises(ClaimInProgress):
            old_queue.claim_check.open(body)

        old_queue.claim_check.store.close()  # and so waits for reads that were begun
        refused = old_queue.emulator.proxy.stop()
    assert refused.calls["dynamodb UpdateItem"] == refused.units.writes == 1
    assert refused.calls.keys() <= {"dynamodb UpdateItem", "dynamodb GetItem"}
    # Parts are read beside the write, as far as that is begun before the write is refused. A record
    # would be read at the full price.
    assert refused.units.reads == refused.calls.get("dynamodb GetItem", 0) / 2


def test_a_duplicate_costs_one_write(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    body = _seal(old_queue, payloads["5 MB"]).body.decode()
    old_queue.claim_check.open(body).complete()
    old_queue.emulator.proxy.start(metered=True)

    with pytest.raises(ClaimAlreadyProcessed):
        old_queue.claim_check.open(body)

    old_queue.claim_check.store.close()
    duplicate = old_queue.emulator.proxy.stop()
    assert duplicate.calls["dynamodb UpdateItem"] == duplicate.units.writes == 1
    # The first parts are looked for beside the write. Each is gone, and so looked for twice.
    assert duplicate.units.reads <= 2 * 1.5


FORGED_PARTS = 1_024
FORGED_BYTES = FORGED_PARTS * 65_536
"""The most parts, and the fewest bytes, that a ticket with the usual max_size may name."""


@pytest.mark.parametrize(("name", "reads"), [("5 MB", 1), ("1.5 MB noise", 2), (None, 6)])
def test_a_forged_number_of_parts_costs_no_more_calls(
    old_queue: Ends,
    payloads: Mapping[PayloadName, PayloadFile],
    name: PayloadName | None,
    reads: int,
) -> None:
    there = name is not None
    sealed = json.loads(_seal(old_queue, payloads[name or "5 MB"]).body)
    sealed["claimCheck"] |= {
        "parts": FORGED_PARTS,
        "stored": FORGED_BYTES,
        "size": FORGED_BYTES,
        **({} if there else {"id": "A" * 24}),
    }
    old_queue.emulator.proxy.start(metered=True)

    with pytest.raises(ClaimCorrupted if there else ClaimMissing):
        old_queue.claim_check.open(json.dumps(sealed))

    old_queue.claim_check.store.close()
    forged = old_queue.emulator.proxy.stop()
    # Part 0 and one beside it, twice where nothing is there; the record is acquired and released.
    assert forged.calls.keys() == {
        "dynamodb GetItem",
        "dynamodb UpdateItem",
        "dynamodb DeleteItem",
    }
    assert forged.calls["dynamodb GetItem"] <= max(reads, 2)
    assert forged.calls["dynamodb UpdateItem"] == forged.calls["dynamodb DeleteItem"] == 1


@pytest.mark.parametrize("name", ["5 MB", "1.5 MB noise"])
def test_stored_contents_travel_once_each_way_and_not_through_the_queue(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile], name: PayloadName
) -> None:
    result, on_queue, traffic = old_queue.round(payloads[name])

    assert message_size({"Body": on_queue}) == result.sent_size < 400
    # The protocol of DynamoDB has bytes as base64.
    payload = 4 * math.ceil(result.stored_size / 3)
    overhead = traffic.call_count * OVERHEAD
    assert payload < traffic.sent < payload + overhead
    assert payload < traffic.received < payload + overhead


def test_only_the_receipt_is_left_in_the_table(
    old_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    result, _, _ = old_queue.round(payloads["5 MB"])

    table = old_queue.emulator.table
    scanned = old_queue.emulator.server.dynamodb().scan(TableName=table, ConsistentRead=True)
    [receipt] = scanned["Items"]
    assert (receipt["id"], receipt["state"]) == ({"S": f"{result.claim_id}@"}, {"S": "done"})


def test_ten_messages_are_sent_in_one_call(
    new_queue: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    message: Message = json.loads(payloads["2 KB"].path.read_text())
    new_queue.emulator.proxy.start(metered=True)

    new_queue.client.enqueue_many([message] * 30)

    traffic = new_queue.emulator.proxy.stop()
    assert traffic.calls == {"sqs SendMessageBatch": 3}
    assert traffic.units == Units(sqs_requests=3)


@pytest.mark.parametrize("payload", ["300 KB", "5 MB"])
def test_a_large_body_is_parsed_for_its_handler_and_for_nobody_else(
    payloads: Mapping[PayloadName, PayloadFile],
    payload: PayloadName,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fields named `type` are in these payloads too."""
    parsed: list[int] = []

    def parse(body: str | bytes, **options: Any) -> Any:
        parsed.append(len(body))
        return from_json(body, **options)

    monkeypatch.setattr(envelope, "from_json", parse)
    monkeypatch.setattr(whole, "from_json", parse)
    message = json.loads(payloads[payload].path.read_text())
    check = ClaimCheckMiddleware(ClaimCheck(open_store("memory://"), inline_limit=OLD_QUEUE))
    queue = MemoryTransport()
    worker = Worker(queue, middleware=[check])
    handled: list[object] = []

    @worker.handler(message["type"])
    def on_message(message: dict[str, Any]) -> None:
        handled.append(message)

    result = Client(queue, middleware=[check]).enqueue(message)
    worker.run(burst=True)

    assert handled == [message]
    assert result.sent_size < result.size
    assert max(parsed, default=0) <= result.sent_size


@pytest.mark.parametrize("name", ["2 KB", "100 KB", "300 KB", "1 MB", "5 MB"])
def test_a_payload_has_the_size_that_its_name_says(
    payloads: Mapping[PayloadName, PayloadFile], name: PayloadName
) -> None:
    number, unit = name.split()
    size = int(number) * {"KB": 1_000, "MB": 1_000_000}[unit]

    message = json.loads(payloads[name].path.read_text())

    assert 0.9 * size < payloads[name].size <= size
    assert payloads[name].size == len(encode(message))


def _part_count(result: EnqueueResult) -> int:
    return math.ceil(result.stored_size / PART_BYTES)


def _seal(ends: Ends, payload: PayloadFile) -> Sealed:
    sealed = ends.claim_check.seal(payload.path.read_bytes())
    assert sealed.route == "stored"
    return sealed
