"""A sender who may write to the queue, and to nothing else, gets nowhere and stops nobody.

What one ticket does to a claim is in `tests/claimcheck/core/test_hostile_tickets.py`. Here is what
it does to those around it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest
import zstandard

from claimcheck import ClaimCheck, ClaimCheckError, ClaimCheckMiddleware, TicketInvalid
from claimcheck.core.cost import Place
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, Message, Worker
from letsgo_queue.events import Event, MessageFailed, MessageHandled
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import (
    body_of,
    carry,
    contents_of,
    forge,
    message_body,
    noise,
    noisy_body,
    parts_left,
    small_claim_check,
    ticket_in,
)
from tests.faults.conftest import MakeRig
from tests.faults.rig import TYPE, digest_of
from tests.faults.stores import PLACES, names_in
from tests.letsgo_queue.support import outcomes, outgoing

MEGABYTE = 1024 * 1024
VICTIM = noisy_body(6_000, "payslip")


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return small_claim_check(store, max_size=200_000)


def sealed_victim(check: ClaimCheck) -> str:
    return check.seal(VICTIM).body.decode()


class TestAnothersClaim:
    """Its id alone opens nothing; that costs the claim nothing either."""

    def test_while_its_handler_runs_it_stays_held(
        self, check: ClaimCheck, store: MemoryClaimStore
    ) -> None:
        sealed = sealed_victim(check)
        forged = [forge(sealed, sha256="0" * 64), sealed.replace("payslip", "publish")]

        with check.open(sealed) as opened:
            for each in forged:
                with pytest.raises(ClaimCheckError):
                    check.open(each)
            assert opened.extend(60)
            assert contents_of(store, sealed) is not None

        assert parts_left(store, sealed) == 0

    def test_a_ticket_that_says_it_has_expired_removes_nothing(
        self, check: ClaimCheck, store: MemoryClaimStore
    ) -> None:
        sealed = sealed_victim(check)

        assert check.open(forge(sealed, expires=0)).body == VICTIM

        assert parts_left(store, sealed) == 1

    @pytest.mark.parametrize("end", ["/0", "@", "@mine"])
    def test_no_part_and_no_record_is_taken_for_a_claim(self, check: ClaimCheck, end: str) -> None:
        sealed = sealed_victim(check)

        with pytest.raises(TicketInvalid, match=r"malformed \(id\)"):
            check.open(forge(sealed, id=ticket_in(sealed)["id"] + end))

    def test_ids_are_not_guessed(self, check: ClaimCheck) -> None:
        """144 random bits: neither order nor time is in them."""
        ids = [ticket_in(sealed_victim(check))["id"] for _ in range(100)]

        assert len({claim_id[:4] for claim_id in ids}) > 90
        assert all(len(claim_id) == 24 for claim_id in ids)
        assert ids != sorted(ids)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("table", "users"),
        ("region", "eu-west-1"),
        ("url", "http://169.254.169.254/"),
        ("bucket", "others"),
        ("path", "/etc/passwd"),
        ("endpoint_url", "http://localhost"),
        ("lease_id", "mine"),
        ("", 1),
    ],
)
@pytest.mark.parametrize("body", [VICTIM, body_of(6_000)], ids=["stored", "carried"])
def test_a_field_that_says_where_to_look_is_refused(
    check: ClaimCheck, body: str, name: str, value: object
) -> None:
    sealed = check.seal(body).body.decode()

    with pytest.raises(TicketInvalid, match=r"malformed \(another field\)"):
        check.open(forge(sealed, **{name: value}))

    assert check.open(sealed).body == body


@pytest.mark.parametrize("place", PLACES)
def test_no_ticket_makes_the_worker_touch_another_table_bucket_or_queue(
    make_rig: MakeRig, place: Place
) -> None:
    rig = make_rig(place=place, concurrency=1)
    payload = noise(5000, seed=1)
    check = rig.claim_check()
    sealed = check.seal(message_body(TYPE, payload)).body.decode()
    own = [name for name in names_in(rig.store_url) if name]
    others = f"{own[-1]}-of-others"
    for forged in (
        forge(sealed, table=others),
        forge(sealed, id=f"../{others}/aaaaaaaaaaaaaaaa"),
        forge(sealed, id="A" * 24),
        forge(sealed, id="B" * 24, store=f"dynamodb:us-west-2:{others}"),
        forge(sealed, id="B" * 24, store=f"s3:us-west-2:{others}"),
        forge(sealed, id="C" * 24, store="http://169.254.169.254/"),
        forge(sealed, sha256="0" * 64),
    ):
        rig.transport.send(OutgoingMessage(type=TYPE, body=forged.encode()))
    # On its own: a forged ticket holds the claim while its contents are read.
    rig.work()
    rig.transport.send(OutgoingMessage(type=TYPE, body=sealed.encode()))

    rig.work()

    assert rig.succeeded == {digest_of(payload): 1}
    assert rig.proxy.touched == {*own, rig.transport.url}


BOMBS = """
import json, resource, sys
from claimcheck import ClaimCheck, ClaimCheckError
from claimcheck.stores.memory import MemoryClaimStore

MEGABYTE = 1024 * 1024
check = ClaimCheck(MemoryClaimStore(), max_size=8 * MEGABYTE)
refused = []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for line in sys.stdin:
    try:
        check.open(json.loads(line))
    except ClaimCheckError as error:
        refused.append(type(error).__name__)
spent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([refused, spent // 1024]))
"""


FRAME = b"\x28\xb5\x2f\xfd"
"""How a frame of zstd begins: https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1."""

RAW_BLOCK = b"\x09\x00\x00x"
"""The last block of a frame: one byte, as it is."""


@cache
def bombs() -> Sequence[str]:
    """Frames of some KB that inflate to 1 GiB, with sizes that tell of it, and that do not."""
    zeros = b"\0" * (64 * MEGABYTE)
    compressor = zstandard.ZstdCompressor(level=3)
    stating = compressor.compress(zeros)
    streaming = compressor.compressobj()
    unstated = b"".join(streaming.compress(zeros) for _ in range(16)) + streaming.flush()
    lying = zstandard.ZstdCompressor(level=3).compress(b"\0" * 1000)
    return [
        carry(stating, size=64 * MEGABYTE),  # over max_size
        carry(stating, size=8 * MEGABYTE),  # the frame states more than the ticket
        carry(unstated, size=8 * MEGABYTE),  # the frame states nothing
        carry(unstated, size=1),
        carry(stating * 2, size=8 * MEGABYTE),
        carry(lying + stating, size=1000),  # a second frame behind the first
        carry(stating, size=8 * MEGABYTE, encoding="identity"),
        carry(b"", size=8 * MEGABYTE),
        carry(FRAME + b"\x00\xf8" + RAW_BLOCK, size=1),  # a window of 2 TB
        carry(FRAME + b"\x00\xff" + RAW_BLOCK, size=1),
        carry(FRAME + b"\xe0" + b"\xff" * 8 + RAW_BLOCK, size=1),  # a size of 2^64 - 1
        carry(FRAME + b"\x03\x00" + b"\xff" * 4 + RAW_BLOCK, size=1),  # a dictionary
        carry(zstandard.compress(b"x") * 50_000, size=1),
        carry(zstandard.compress(b"x") * 50_000, size=50_000),
        carry(zstandard.compress(b"") * 50_000 + zstandard.compress(b"x"), size=1),
        carry(b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip" * 50_000, size=1),
    ]


def test_bombs_cost_no_memory() -> None:
    made = bombs()
    process = subprocess.run(
        [sys.executable, "-c", BOMBS],
        input="\n".join(json.dumps(bomb) for bomb in made),
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    refused, megabytes = json.loads(process.stdout)

    assert len(refused) == len(made)
    assert megabytes < 8, "max_size bounds what one message costs"


def nested(depth: int, name: str = "payload") -> str:
    return f'{{"type":"order:new","{name}":' + "[" * depth + "]" * depth + "}"


def hostile_bodies(check: ClaimCheck) -> list[str]:
    """Messages that no handler is to get."""
    sealed = check.seal(noisy_body(6_000)).body.decode()
    ticket = json.dumps(ticket_in(sealed))
    data = b64encode(b"x").decode()
    return [
        "",
        "no JSON",
        "null",
        "[]",
        '"text"',
        "{}",
        '{"type":null}',
        '{"type":["order:new"]}',
        '{"type":"order:new"',
        '{"type":"order:new"}',
        '{"type":"order:new","payload":1e999}',
        '{"type":"order:new","payload":' + "9" * 5000 + "}",
        '{"type":"\\ud800","payload":1}',
        '{"type":"nobody handles this","payload":1}',
        '{"type":"order:new","type":"payslip","payload":{}}',
        nested(199),
        nested(5_000),
        nested(100_000),
        nested(100_000, "claimCheck"),
        '{"a":' * 100_000,
        "[" * 1_000_000,
        " " * 1_000_000,
        "\\" * 1_000_000,
        "\ufeff" + noisy_body(1_000),
        '{"type":"order:new","payload":"\0"}',
        '{"type":"order:new\\u0000","payload":"\\u001b[31m"}',
        '{"type":"\\u202e\\u001b]0;owned\\u0007","payload":"x"}',
        '{"type":"' + "x" * 1_000_000 + '","payload":"x"}',
        "{" + '"a":1,' * 100_000 + '"type":"order:new"}',
        '{"type":"order:new","payload":-1e-999999999}',
        '{"type":"order:new","payload":NaN}',
        f'{{"type":"order:new","claimCheck":{ticket},"claimCheck":{{}}}}',
        f'{{"type":"other","claim\\u0043heck":{ticket}}}',
        f'{{"type":"order:new","claimCheck":{json.dumps(ticket)}}}',
        f'{{"type":"order:new","claimCheck":[{ticket}]}}',
        '{"type":"order:new","claimCheck":null}',
        '{"type":"order:new","claimCheck":true}',
        '{"type":"order:new","claimCheck":"data"}',
        f'{{"type":"order:new","claimCheck":{"9" * 5_000}}}',
        '{"type":"order:new","claimCheck":{}}',
        '{"type":"order:new","claimCheck":{"v":2}}',
        '{"type":"order:new","claimCheck":' + "[" * 5_000,
        forge(sealed, size=10**30),
        forge(sealed, parts=10**9, stored=10**15, size=10**15),
        forge(sealed, parts=0),
        forge(sealed, id="x' OR 1=1 --" + "x" * 20),
        forge(sealed, expires=2**53 - 1, id="A" * 24, sha256="0" * 64),
        forge(sealed, sha256="0" * 64),
        forge(sealed, data=data),
        carry(b"\0" * 100, size=1000, message_type="order:new"),
        carry(b'{"type":"payslip"}', size=18, message_type="order:new", encoding="identity"),
        carry(b"\xff\xfe", size=2, message_type="order:new", encoding="identity"),
        *bombs(),
    ]


def test_hostile_messages_keep_no_good_one_from_the_worker(
    check: ClaimCheck, caplog: pytest.LogCaptureFixture
) -> None:
    """It has one slot, which none of them may keep."""
    transport = MemoryTransport(max_message_bytes=10**7)
    middleware = ClaimCheckMiddleware(check)
    client = Client(transport, middleware=[middleware])
    hostile = hostile_bodies(check)
    random.Random(1).shuffle(hostile)
    good = [noise(5_000 if number % 3 else 100, seed=number) for number in range(len(hostile))]
    for body, payload in zip(hostile, good, strict=True):
        transport.send(outgoing(body))
        client.enqueue({"type": "order:new", "payload": payload})
    worker = Worker(transport, middleware=[middleware], concurrency=1, visibility_timeout=600)
    handled: list[str] = []
    events: list[Event] = []
    worker.add_listener(outcomes(events))

    @worker.handler("order:new")
    def on_order(message: Message[str]) -> None:
        handled.append(message.payload)

    worker.run(burst=True)

    assert sorted(handled) == sorted(good)
    happened = Counter(type(event) for event in events)
    assert happened[MessageHandled] == len(good)
    assert happened[MessageFailed] == len(hostile)
    assert all(len(record.getMessage()) < 2_000 for record in caplog.records)
