"""Sealing and opening, and the life of a claim."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import math
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claimcheck import (
    BodyInvalid,
    BodyTooLarge,
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCheckError,
    ClaimCorrupted,
    ClaimExpired,
    ClaimInProgress,
    ClaimLost,
    ClaimStore,
    ClaimStoreUnavailable,
    Purge,
    SettingsInvalid,
    TicketInvalid,
    TicketUnsupported,
)
from claimcheck.stores.base import PART_BYTES, ClaimHead, Lease
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from tests.claimcheck.faults import faulty
from tests.claimcheck.support import (
    DAY,
    SECRET,
    Clock,
    any_json,
    body_of,
    carry,
    claim_of,
    forge,
    message_body,
    noisy_body,
    rewrite,
    rows_of,
    small_claim_check,
    ticket_in,
)
from tests.support.servers import AwsServer

STORED_BODY = noisy_body(6_000)


def never_asked() -> int:
    raise AssertionError("the queue was asked, and nothing depended on it")


def open_text(check: ClaimCheck, body: bytes, **options: Any) -> str:
    """Open a sealed body as a handler that succeeds does."""
    with check.open(body.decode(), **options) as opened:
        return opened.body


class TestRoutes:
    @pytest.mark.parametrize(
        ("size", "route"), [(249_999, "inline"), (250_000, "inline"), (250_001, "compressed")]
    )
    @pytest.mark.parametrize("fill", ["x", "é", "漢", "🐘"])
    def test_bytes_decide_and_not_characters(
        self, store: MemoryClaimStore, size: int, route: str, fill: str
    ) -> None:
        check = ClaimCheck(store)
        body = body_of(size, fill=fill)

        sealed = check.seal(body)

        assert (sealed.route, sealed.size) == (route, size)
        assert open_text(check, sealed.body) == body
        assert (sealed.body == body.encode()) == (route == "inline")

    @pytest.mark.parametrize(("attributes_size", "route"), [(50, "inline"), (51, "compressed")])
    def test_attributes_count(
        self, store: MemoryClaimStore, attributes_size: int, route: str
    ) -> None:
        sealed = ClaimCheck(store).seal(body_of(249_950), attributes_size=attributes_size)

        assert (sealed.route, sealed.size) == (route, 249_950)

    @pytest.mark.parametrize(("room", "route"), [(0, "compressed"), (-1, "stored")])
    @pytest.mark.parametrize("attributes_size", [0, 100])
    @pytest.mark.parametrize("by_hand", [True, False])
    def test_what_fits_the_queue_to_the_byte_travels_compressed(
        self, room: int, route: str, attributes_size: int, by_hand: bool
    ) -> None:
        store = MemoryClaimStore()
        body = noisy_body(300_000)
        sent_size = len(ClaimCheck(store, inline_limit=1_000_000).seal(body).body)
        limit = sent_size + attributes_size + room
        check = ClaimCheck(store, inline_limit=limit if by_hand else None)

        sealed = check.seal(
            body,
            attributes_size=attributes_size,
            queue_limit=never_asked if by_hand else lambda: limit,
        )

        assert sealed.route == route
        assert len(sealed.body) + attributes_size <= limit
        assert open_text(check, sealed.body) == body

    @pytest.mark.parametrize(("missing", "route"), [(0.1, "compressed"), (0.9, "stored")])
    def test_what_misses_the_queue_by_little_is_compressed_harder(
        self, store: MemoryClaimStore, missing: float, route: str
    ) -> None:
        body = message_body("order:new", [{"id": n, "at": n * 37 % 1009} for n in range(20_000)])
        usual = len(ClaimCheck(store, inline_limit=1_000_000).seal(body).body)
        check = ClaimCheck(store, inline_limit=int(usual * (1 - missing)))

        sealed = check.seal(body)

        assert sealed.route == route
        assert open_text(check, sealed.body) == body

    @pytest.mark.parametrize("text", ["é", "€", "𐐷", "xé€𐐷"])
    @pytest.mark.parametrize("shift", range(4))
    def test_takes_text_however_its_characters_lie(
        self, store: MemoryClaimStore, text: str, shift: int
    ) -> None:
        body = message_body("order:new", "x" * shift + text * 50_000)
        check = ClaimCheck(store, threshold=1_000)

        assert open_text(check, check.seal(body.encode()).body) == body

    @pytest.mark.parametrize("rare", ["", "€", "🎉"])
    def test_makes_no_second_copy_of_a_large_body(self, store: MemoryClaimStore, rare: str) -> None:
        lines = [{"id": n, "at": n * 37 % 1009, "what": f"{n * n % 4099}"} for n in range(100_000)]
        body = message_body("order:new", [*lines, rare, *lines]).encode()
        check = ClaimCheck(store, inline_limit=1_000)
        gc.collect()

        tracemalloc.start()
        try:
            sealed = check.seal(body)
            _, sealing = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            opened = check.open(sealed.body.decode())
            _, opening = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert sealed.route == "stored"
        assert sealing < len(body)
        assert opening - before - sys.getsizeof(opened.body) < 1.5 * len(body)
        assert opened.size == len(body)
        assert opened.body == body.decode()

    @pytest.mark.parametrize("end", [b"\xe2\x82", b"\xff", b"\xed\xa0\x80"])
    @pytest.mark.parametrize("size", [10, 65_535, 65_536, 200_000])
    def test_refuses_bytes_that_end_as_no_text_does(
        self, store: MemoryClaimStore, end: bytes, size: int
    ) -> None:
        with pytest.raises(BodyInvalid, match="not text"):
            ClaimCheck(store).seal(b"x" * size + end)

    @pytest.mark.parametrize(("size", "route"), [(380_000, "compressed"), (420_000, "stored")])
    @pytest.mark.parametrize("queue_limit", [None, lambda: None])
    def test_a_queue_that_does_not_say_is_taken_for_an_old_one(
        self, store: MemoryClaimStore, size: int, route: str, queue_limit: Any
    ) -> None:
        check = ClaimCheck(store)

        assert check.seal(noisy_body(size), queue_limit=queue_limit).route == route
        assert check.seal(noisy_body(size), queue_limit=lambda: 1_048_576).route == "compressed"

    def test_the_queue_is_not_asked_about_what_fits_any(self, store: MemoryClaimStore) -> None:
        sealed = ClaimCheck(store).seal(body_of(250_000), queue_limit=never_asked)

        assert sealed.route == "inline"

    def test_a_stored_body_says_where_it_is(self, store: MemoryClaimStore, clock: Clock) -> None:
        check = ClaimCheck(store, inline_limit=1_000, clock=clock)

        sealed = check.seal(noisy_body(2 * PART_BYTES + 400_000), delay_seconds=60)

        ticket = ticket_in(sealed.body)
        head = claim_of(store, sealed.body).head
        assert list(ticket) == [
            "v",
            "encoding",
            "size",
            "sha256",
            "id",
            "parts",
            "stored",
            "expires",
        ]
        assert (sealed.claim_id, sealed.parts, sealed.stored) == (
            ticket["id"],
            ticket["parts"],
            ticket["stored"],
        )
        assert (head.id, head.parts, head.stored) == (ticket["id"], 2, ticket["stored"])
        assert (head.type, head.created_at) == ("order:new", int(clock.now))
        assert head.expires_at == ticket["expires"] == int(clock.now) + 60 + 15 * DAY
        assert len(ticket["id"]) * 6 >= 128
        assert len(sealed.body) < 400

    def test_no_two_claims_have_one_id(self, store: MemoryClaimStore) -> None:
        check = small_claim_check(store)

        first, second = check.seal(STORED_BODY), check.seal(STORED_BODY)

        assert first.claim_id != second.claim_id
        assert open_text(check, first.body) == open_text(check, second.body) == STORED_BODY

    @pytest.mark.parametrize("inline_limit", [1, 1_000])
    def test_what_does_not_compress_travels_as_it_is(
        self, store: MemoryClaimStore, inline_limit: int
    ) -> None:
        check = ClaimCheck(store, threshold=1, inline_limit=inline_limit)

        sealed = check.seal("short")

        assert ticket_in(sealed.body)["encoding"] == "identity"
        assert open_text(check, sealed.body) == "short"

    def test_a_body_that_was_not_sent_is_discarded(self, store: MemoryClaimStore) -> None:
        check = small_claim_check(store)
        stored, inline = check.seal(STORED_BODY), check.seal("short")

        check.discard(stored)
        check.discard(inline)

        assert rows_of(store, stored.body) == 0


class TestBodies:
    @pytest.mark.parametrize(("limit", "refused"), [(5_000, False), (4_999, True)])
    def test_max_size_is_the_most_that_is_sealed(
        self, store: MemoryClaimStore, limit: int, refused: bool
    ) -> None:
        body = body_of(5_000, fill=SECRET)
        check = small_claim_check(store, max_size=limit)
        if not refused:
            assert open_text(check, check.seal(body).body) == body
            return

        with pytest.raises(BodyTooLarge, match=r"5,000 bytes; max_size allows 4,999\.") as error:
            check.seal(body, type="order:new")

        assert (error.value.size, error.value.limit) == (5_000, 4_999)
        assert "'order:new'" in str(error.value)
        assert SECRET not in str(error.value)

    @pytest.mark.parametrize("body", ["", b""])
    def test_an_empty_body_is_refused(self, store: MemoryClaimStore, body: str | bytes) -> None:
        with pytest.raises(BodyInvalid, match="empty"):
            ClaimCheck(store).seal(body)

    @pytest.mark.parametrize("body", [b"\xff\xfe" * 500, "\ud800" * 500, b"caf\xe9"])
    def test_what_is_no_text_is_refused(self, store: MemoryClaimStore, body: str | bytes) -> None:
        with pytest.raises(BodyInvalid, match="UTF-8"):
            small_claim_check(store).seal(body)

    def test_a_body_that_is_no_letsgo_message_has_no_type(self, store: MemoryClaimStore) -> None:
        check = small_claim_check(store)

        sealed = check.seal("plain text. " * 200)

        assert list(json.loads(sealed.body)) == ["claimCheck"]
        assert open_text(check, sealed.body) == "plain text. " * 200

    def test_another_type_than_the_body_has_is_refused(self, store: MemoryClaimStore) -> None:
        with pytest.raises(BodyInvalid, match="'order:old' but says 'order:new'"):
            small_claim_check(store).seal(STORED_BODY, type="order:old")

    @pytest.mark.parametrize("size", [100, 6_000, 300_000])
    def test_what_looks_sealed_is_sealed_again(self, store: MemoryClaimStore, size: int) -> None:
        body = carry(b"x" * size, size=1, message_type="order:new")
        check = ClaimCheck(store)

        sealed = check.seal(body)

        assert sealed.route == "compressed"
        assert open_text(check, sealed.body) == body

    def test_what_is_sealed_three_times_is_opened_three_times(
        self, store: MemoryClaimStore
    ) -> None:
        check = small_claim_check(store)
        once = check.seal(STORED_BODY).body.decode()
        twice = check.seal(once).body.decode()
        thrice = check.seal(twice).body

        assert open_text(check, thrice) == twice
        assert open_text(check, twice.encode()) == once
        assert open_text(check, once.encode()) == STORED_BODY

    @pytest.mark.parametrize(
        "body",
        [
            message_body("order:new", "claimCheck"),
            message_body("order:new", {"claimCheck": {"v": 1}}),
            'a "claimCheck" in text',
            '{"type":"order:new","payload":1,"claimCheck":{"v":1}}',
        ],
    )
    def test_what_only_names_a_claim_check_stays_inline(
        self, store: MemoryClaimStore, body: str
    ) -> None:
        check = ClaimCheck(store)

        sealed = check.seal(body)

        assert (sealed.route, sealed.body) == ("inline", body.encode())
        assert open_text(check, sealed.body) == body

    @given(
        body=st.text(min_size=1, max_size=400)
        | any_json().map(lambda payload: message_body("order:new", payload))
        | st.integers(170, 230).map(lambda size: body_of(size, fill="é"))
        | st.integers(300, 1_000).map(noisy_body)
    )
    @example(body='{"claimCheck":1}')
    @example(body='{"type":"\\ud800","payload":"' + "x" * 400 + '"}')
    @pytest.mark.parametrize("route", ["inline", "compressed", "stored"])
    def test_any_body_comes_back_byte_for_byte(self, route: str, body: str) -> None:
        store = MemoryClaimStore()
        threshold = 200 if route == "inline" else 1
        check = ClaimCheck(
            store, threshold=threshold, inline_limit=1 if route == "stored" else 10**6
        )
        try:
            encoded = body.encode()
        except UnicodeEncodeError:
            with pytest.raises(BodyInvalid):
                check.seal(body)
            return

        sealed = check.seal(encoded)

        assert open_text(check, sealed.body) == body
        if len(encoded) > 200 or (len(encoded) > 1 and route != "inline"):
            assert sealed.route == ("compressed" if route == "inline" else route)
        if sealed.route == "stored":
            assert rows_of(store, sealed.body) == 0


class TestSettingsInCode:
    @pytest.mark.parametrize("name", ["threshold", "inline_limit", "max_size", "lease_seconds"])
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
    def test_a_number_is_above_0(self, store: MemoryClaimStore, name: str, value: float) -> None:
        with pytest.raises(SettingsInvalid, match=f"{name}={value}: give a number above 0"):
            ClaimCheck(store, **{name: value})  # type: ignore[arg-type]  # that is the test

    def test_purge_is_one_of_three(self, store: MemoryClaimStore) -> None:
        with pytest.raises(SettingsInvalid, match="purge='sometimes': give 'after', 'before' or"):
            ClaimCheck(store, purge="sometimes")  # type: ignore[arg-type]  # that is the test


class TestHostileMessages:
    """What anybody who can write to the queue can send."""

    @pytest.fixture
    def check(self, store: MemoryClaimStore, clock: Clock) -> ClaimCheck:
        return small_claim_check(store, clock=clock, max_size=100_000)

    def test_an_error_names_the_message(self, check: ClaimCheck) -> None:
        body = forge(carry(b"x", size=1), sha256="?")

        with pytest.raises(TicketInvalid, match=r"^message m-1: its ticket is malformed"):
            check.open(body, message_id="m-1")
        with pytest.raises(TicketUnsupported, match=r"^message \(no id\): .* Upgrade"):
            check.open(forge(body, v=2))

    @pytest.mark.parametrize(
        "data", ["not base64!", "KLUv", "====", "é", " " * 8, "KLUv/Q", "KLUv_w=="]
    )
    def test_base64_that_is_none(self, check: ClaimCheck, data: str) -> None:
        body = forge(carry(b"x", size=1, message_type="order:new"), data=data)

        with pytest.raises(ClaimCheckError, match=r"message m-1 of type 'order:new'.*(base64|SHA)"):
            check.open(body, message_id="m-1")

    @pytest.mark.parametrize("change", ["truncated", "flipped", "other"])
    def test_data_that_was_changed(self, check: ClaimCheck, change: str) -> None:
        body = check.seal(body_of(2_000)).body
        data = ticket_in(body)["data"]
        changed = {"truncated": data[:-4], "flipped": "A" + data[1:], "other": "AAAA"}[change]

        with pytest.raises(ClaimCorrupted, match="SHA-256 differs"):
            check.open(forge(body, data=changed))

    @pytest.mark.parametrize("size", [1, 1_999, 2_001, 100_000])
    @pytest.mark.parametrize("encoding", ["zstd", "identity"])
    def test_a_size_that_lies(self, check: ClaimCheck, size: int, encoding: str) -> None:
        body = check.seal(body_of(2_000)).body

        with pytest.raises(ClaimCorrupted, match=r"message m-1 of type 'order:new': .* sealed"):
            check.open(forge(body, size=size, encoding=encoding), message_id="m-1")

    def test_a_size_over_max_size(self, check: ClaimCheck) -> None:
        body = check.seal(body_of(2_000)).body

        with pytest.raises(TicketInvalid, match=r"over max_size \(100,000\)\. Raise max_size"):
            check.open(forge(body, size=100_001))

    def test_bytes_that_are_no_text(self, check: ClaimCheck) -> None:
        with pytest.raises(ClaimCorrupted, match="is not text"):
            check.open(carry(b"\xff\xfe", size=2, encoding="identity"))

    @pytest.mark.parametrize("outside", ["order:paid", None])
    def test_another_type_inside(self, check: ClaimCheck, outside: str | None) -> None:
        inside = body_of(100).encode()
        body = carry(inside, size=100, encoding="identity", message_type=outside)

        with pytest.raises(TicketInvalid, match="another type was sealed"):
            check.open(body)

    def test_a_type_outside_and_none_inside(self, check: ClaimCheck) -> None:
        body = carry(b"text", size=4, encoding="identity", message_type="order:new")

        with pytest.raises(TicketInvalid, match="another type was sealed"):
            check.open(body)

    @pytest.mark.parametrize("stored", [True, False])
    def test_a_stored_claim_under_another_type_is_put_back(
        self, store: MemoryClaimStore, check: ClaimCheck, stored: bool
    ) -> None:
        sealed = check.seal(STORED_BODY)
        body = sealed.body.decode().replace("order:new", "order:paid")
        if stored:  # a store that was written by whoever wrote the message
            claim = claim_of(store, sealed.body)
            rewrite(
                store, replace(claim.head, type="order:paid"), [part or b"" for part in claim.parts]
            )

        with pytest.raises(TicketInvalid, match="another type was sealed"):
            check.open(body)
        assert store.look_up(str(sealed.claim_id), now=0) is not None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("size", 70_001),
            ("sha256", "0" * 64),
            ("parts", 1),
            ("stored", 69_999),
            ("encoding", "zstd"),
        ],
    )
    def test_a_ticket_that_does_not_fit_its_claim_leaves_it_alone(
        self, store: MemoryClaimStore, check: ClaimCheck, name: str, value: object
    ) -> None:
        # Not compressed and in two parts, so that other values stay within what a ticket may say.
        data = body_of(70_000).encode()
        sealed = check.seal(noisy_body(70_000))
        head = replace(
            claim_of(store, sealed.body).head,
            encoding="identity",
            size=len(data),
            stored=len(data),
            parts=2,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        rewrite(store, head, [data[:66_000], data[66_000:]])
        facts = asdict(head)
        honest = forge(sealed.body, **{n: facts[n] for n in ticket_in(sealed.body) if n in facts})
        before = claim_of(store, honest)

        with pytest.raises(TicketInvalid, match=r"\(claim .*\): its ticket does not describe"):
            check.open(forge(honest, **{name: value}))

        assert claim_of(store, honest) == before
        assert store.look_up(head.id, now=0) == head
        assert open_text(check, honest.encode()) == body_of(70_000)

    def test_its_victim_still_opens(self, store: MemoryClaimStore, check: ClaimCheck) -> None:
        victim, other = check.seal(STORED_BODY), check.seal(noisy_body(7_000, seed=2))

        with pytest.raises(TicketInvalid):
            check.open(forge(other.body, id=victim.claim_id))

        assert open_text(check, victim.body) == STORED_BODY
        assert open_text(check, other.body) == noisy_body(7_000, seed=2)

    def test_a_key_that_does_not_exist(self, check: ClaimCheck) -> None:
        body = forge(check.seal(STORED_BODY).body, id="A" * 24)

        with pytest.raises(ClaimAlreadyProcessed, match=r"claim A{24}\) was handled before"):
            check.open(body)

    @pytest.mark.parametrize("parts", [0, 2, 10**9])
    def test_a_number_of_parts_that_cannot_be(
        self, store: MemoryClaimStore, check: ClaimCheck, parts: int
    ) -> None:
        sealed = check.seal(STORED_BODY)

        with pytest.raises(TicketInvalid, match="parts"):
            check.open(forge(sealed.body, parts=parts))
        assert store.look_up(str(sealed.claim_id), now=0) is not None

    @given(
        route=st.sampled_from(["compressed", "stored"]),
        name=st.sampled_from(
            [
                "v",
                "encoding",
                "size",
                "sha256",
                "data",
                "id",
                "parts",
                "stored",
                "expires",
                "anything",
            ]
        ),
        value=any_json() | st.integers(0, 10_000) | st.binary().map(lambda data: data.hex()),
    )
    def test_any_value_in_any_field_is_an_error_of_our_own(
        self, route: str, name: str, value: object
    ) -> None:
        store = MemoryClaimStore()
        check = ClaimCheck(store, threshold=1, inline_limit=1 if route == "stored" else 10_000)
        sealed = check.seal(STORED_BODY)
        before = claim_of(store, sealed.body) if route == "stored" else None

        try:
            opened = check.open(forge(sealed.body, **{name: value}))
        except ClaimCheckError:
            pass
        else:  # it was what it had been, or says something else of when the claim expires
            assert opened.body == STORED_BODY
            assert opened.put_back()

        if before is not None:
            assert claim_of(store, sealed.body) == before
            assert store.look_up(before.head.id, now=0) == before.head

    @given(data=st.binary(max_size=300), size=st.integers(1, 2_000))
    def test_any_bytes_in_place_of_the_data_are_an_error_of_our_own(
        self, data: bytes, size: int
    ) -> None:
        check = ClaimCheck(MemoryClaimStore())

        with pytest.raises(ClaimCheckError):
            check.open(carry(data, size=size, message_type="order:new"))


class Life:
    """Section 7 of the design: what a delivery finds, and what becomes of the claim."""

    @pytest.fixture
    def check(self, store: ClaimStore, clock: Clock) -> ClaimCheck:
        return small_claim_check(store, clock=clock)

    def is_back(self, store: ClaimStore, body: bytes) -> bool:
        return store.look_up(ticket_in(body)["id"], now=0) is not None

    def test_taken_it_is_gone_for_everyone_and_purged_it_is_gone(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        sealed = check.seal(STORED_BODY)

        opened = check.open(sealed.body.decode())

        assert (opened.body, opened.route) == (STORED_BODY, "stored")
        assert opened.claim_id == sealed.claim_id == ticket_in(sealed.body)["id"]
        assert store.look_up(str(sealed.claim_id), now=clock.now) is None
        assert rows_of(store, sealed.body) == 2
        assert opened.purge()
        assert rows_of(store, sealed.body) == 0

    def test_in_progress_elsewhere_it_says_when_to_come_back(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body.decode()
        first = check.open(body, lease_until=clock.now + 40)
        clock.advance(15)

        with pytest.raises(
            ClaimInProgress, match=r"message m-1 of type 'order:new'.*another"
        ) as no:
            check.open(body, message_id="m-1")

        assert no.value.retryable
        assert no.value.retry_after == pytest.approx(25)
        assert first.purge()

    def test_without_a_known_end_a_lease_lasts_two_minutes(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body
        check.open(body.decode())

        clock.advance(119.9)
        with pytest.raises(ClaimInProgress):
            check.open(body.decode())
        clock.advance(0.1)

        assert open_text(check, body) == STORED_BODY

    def test_processed_before_it_is_a_duplicate(self, check: ClaimCheck) -> None:
        body = check.seal(STORED_BODY).body
        open_text(check, body)

        with pytest.raises(ClaimAlreadyProcessed, match=r"handled before.*duplicate") as error:
            open_text(check, body, receive_count=2)
        assert not error.value.retryable

    def test_not_fetched_in_time_it_has_expired(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        sealed = check.seal(STORED_BODY, delay_seconds=900)
        check.discard(sealed)  # as TTL does

        clock.advance(900 + 15 * DAY - 1)
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed.body.decode())
        clock.advance(1)
        with pytest.raises(ClaimExpired, match="expired before anybody fetched it"):
            check.open(sealed.body.decode())

    def test_ttl_may_be_late(self, check: ClaimCheck, clock: Clock) -> None:
        body = check.seal(STORED_BODY).body
        clock.advance(17 * DAY)

        assert open_text(check, body) == STORED_BODY

    def test_ttl_may_begin_with_a_part(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body
        claim = claim_of(store, body)
        rewrite(store, claim.head, [])
        clock.advance(15 * DAY)

        with pytest.raises(ClaimExpired, match="1 of 1 parts of its claim have expired"):
            check.open(body.decode())

    def test_a_lease_that_has_ended_already_holds_the_claim_all_the_same(
        self, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body.decode()
        with check.open(body, lease_until=clock.now - 1), pytest.raises(ClaimInProgress) as held:
            check.open(body, lease_until=clock.now - 1)
        assert held.value.retry_after == 120

    @pytest.mark.parametrize("purge", ["after", "before"])
    def test_a_failure_renews_what_has_grown_old(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock, purge: Purge
    ) -> None:
        """It opens as long as the message can be in a dead-letter queue, and be redriven."""
        body = check.seal(STORED_BODY).body
        made = int(clock.now)
        for days, expires_in in ((0.4, 15), (10, 25), (10.2, 25), (24, 39)):
            clock.now = made + days * DAY
            with pytest.raises(ConnectionError), check.open(body.decode(), purge=purge):
                raise ConnectionError
            assert claim_of(store, body).head.expires_at == made + expires_in * DAY

        clock.now = made + 38 * DAY
        assert open_text(check, body) == STORED_BODY
        assert rows_of(store, body) == 0

    def test_a_failure_puts_it_back_byte_for_byte(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body
        before = claim_of(store, body)

        with pytest.raises(ZeroDivisionError), check.open(body.decode()):
            _ = 1 / 0

        assert self.is_back(store, body)
        assert claim_of(store, body) == before
        assert open_text(check, body) == STORED_BODY

    def test_success_purges_it(self, store: ClaimStore, check: ClaimCheck) -> None:
        body = check.seal(STORED_BODY).body

        with check.open(body.decode()) as opened:
            assert opened.body == STORED_BODY
            assert rows_of(store, body) == 2

        assert rows_of(store, body) == 0

    def test_after_a_crash_it_opens_when_the_lease_ends(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body
        check.open(body.decode(), lease_until=clock.now + 30)  # and nothing more

        clock.advance(29)
        with pytest.raises(ClaimInProgress):
            check.open(body.decode(), receive_count=2)
        clock.advance(1)

        assert open_text(check, body, receive_count=3) == STORED_BODY
        assert rows_of(store, body) == 0

    def test_extended_it_is_held_longer(self, check: ClaimCheck, clock: Clock) -> None:
        body = check.seal(STORED_BODY).body.decode()
        opened = check.open(body, lease_until=clock.now + 30)

        assert opened.extend(clock.now + 300)

        clock.advance(299)
        with pytest.raises(ClaimInProgress):
            check.open(body)
        assert opened.purge()

    def test_who_was_taken_over_changes_nothing(
        self,
        store: ClaimStore,
        check: ClaimCheck,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        body = check.seal(STORED_BODY).body
        slow = check.open(body.decode())
        clock.advance(121)
        second = check.open(body.decode())

        assert not slow.extend(clock.now + 900)
        assert not slow.put_back()
        assert not slow.purge()
        with slow:
            pass
        assert "lease ran out and another delivery took it; nothing was changed" in caplog.text

        with pytest.raises(ClaimInProgress):
            check.open(body.decode())
        assert rows_of(store, body) == 2
        assert second.purge()
        assert not slow.put_back()
        assert rows_of(store, body) == 0

    @pytest.mark.parametrize("damage", ["a part is missing", "a bit", "the end", "the order"])
    def test_damaged_it_is_put_back_for_inspection(
        self, store: ClaimStore, clock: Clock, damage: str
    ) -> None:
        check = small_claim_check(store, clock=clock)
        body = check.seal(noisy_body(2 * PART_BYTES + 1_000)).body
        claim = claim_of(store, body)
        first, second = (part or b"" for part in claim.parts)
        parts = {
            "a part is missing": [first],
            "a bit": [first[:-1] + bytes([first[-1] ^ 1]), second],
            "the end": [first, second[:-1]],
            "the order": [second, first],
        }[damage]
        rewrite(store, claim.head, parts)

        said = "1 of 2 parts are missing" if len(parts) == 1 else "SHA-256 differs"
        with pytest.raises(ClaimCorrupted, match=rf"claim {claim.head.id}\).*{said}") as error:
            check.open(body.decode())

        assert not error.value.retryable
        assert self.is_back(store, body)
        kept = [part for part in claim_of(store, body).parts if part is not None]
        assert kept == parts

    def test_purged_before_nothing_is_there_while_the_handler_runs(
        self, store: ClaimStore, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body

        with check.open(body.decode(), purge="before") as opened:
            assert opened.body == STORED_BODY
            assert rows_of(store, body) == 0
            assert opened.extend(clock.now + 900)

        assert rows_of(store, body) == 0
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(body.decode(), purge="before", receive_count=1)

    def test_purged_before_a_failure_puts_it_back_byte_for_byte(
        self, store: ClaimStore, clock: Clock
    ) -> None:
        check = small_claim_check(store, clock=clock, purge="before")
        body = check.seal(noisy_body(2 * PART_BYTES + 1_000)).body
        before = claim_of(store, body)

        with pytest.raises(ZeroDivisionError), check.open(body.decode()):
            _ = 1 / 0

        assert self.is_back(store, body)
        assert claim_of(store, body) == before
        assert rows_of(store, body) == 3
        assert open_text(check, body, receive_count=2) == noisy_body(2 * PART_BYTES + 1_000)

    def test_purged_before_a_crash_loses_it(self, store: ClaimStore, clock: Clock) -> None:
        check = small_claim_check(store, clock=clock, purge="before")
        body = check.seal(STORED_BODY).body
        check.open(body.decode())  # and nothing more

        with pytest.raises(ClaimLost, match=r"received 2 times, purge='before'.*cannot be told"):
            check.open(body.decode(), receive_count=2)
        assert rows_of(store, body) == 0

    def test_purged_never_several_consumers_get_it(self, store: ClaimStore, clock: Clock) -> None:
        check = small_claim_check(store, clock=clock, purge="never")
        body = check.seal(STORED_BODY).body

        with check.open(body.decode()) as one, check.open(body.decode()) as other:
            assert one.body == other.body == STORED_BODY
            assert one.extend(clock.now + 900)
        with pytest.raises(ZeroDivisionError), check.open(body.decode()):
            _ = 1 / 0

        assert self.is_back(store, body)
        assert rows_of(store, body) == 2

    def test_purged_never_it_must_not_be_gone(self, store: ClaimStore, clock: Clock) -> None:
        check = small_claim_check(store, clock=clock, purge="never")
        sealed = check.seal(STORED_BODY)
        check.discard(sealed)

        with pytest.raises(ClaimLost, match="every consumer of this queue has that setting"):
            check.open(sealed.body.decode())
        clock.advance(15 * DAY)
        with pytest.raises(ClaimExpired):
            check.open(sealed.body.decode())

    def test_purged_never_it_waits_for_who_does_purge(
        self, check: ClaimCheck, clock: Clock
    ) -> None:
        body = check.seal(STORED_BODY).body.decode()
        check.open(body, lease_until=clock.now + 30)

        with pytest.raises(ClaimInProgress) as error:
            check.open(body, purge="never")
        assert error.value.retry_after == pytest.approx(30)


class TestLifeInMemory(Life):
    pass


class TestLifeInSqlite(Life):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteClaimStore]:
        store = SqliteClaimStore(tmp_path / "claims.db")
        yield store
        store.close()


class TestLifeInDynamoDB(Life):
    @pytest.fixture
    def store(self, aws: AwsServer) -> Iterator[DynamoDBClaimStore]:
        name = aws.make_table_name()
        ClaimTable(name, region=aws.region).create()
        store = DynamoDBClaimStore(name, region=aws.region)
        yield store
        store.close()


class TestAStoreThatFails:
    @pytest.mark.parametrize("which", ["head", "part"])
    def test_purging_before_that_breaks_off_loses_nothing(
        self, ministack: AwsServer, which: str
    ) -> None:
        name = ministack.make_table_name()
        ClaimTable(name, region=ministack.region).create()
        with faulty(str(ministack.endpoint_url)) as server:
            store = DynamoDBClaimStore(name, region=ministack.region, endpoint_url=server.url)
            check = small_claim_check(store, purge="before")
            body = check.seal(noisy_body(2 * PART_BYTES + 1_000)).body
            before = claim_of(store, body)
            server.refuse(
                "DeleteItem",
                "AccessDeniedException",
                matches=lambda r: ("/" in r["Key"]["id"]["S"]) == (which == "part"),
            )

            # Nobody can tell what is left of it: the handler gets the body, and its end settles it.
            def handle() -> None:
                with check.open(body.decode()) as opened:
                    assert opened.body == noisy_body(2 * PART_BYTES + 1_000)
                    raise InterruptedError

            with pytest.raises(InterruptedError):
                handle()

            assert claim_of(store, body) == before
            server.faults.clear()
            assert open_text(check, body, receive_count=2) == noisy_body(2 * PART_BYTES + 1_000)
            assert rows_of(store, body) == 0
            store.close()

    def test_purging_before_gives_way_to_who_took_it_meanwhile(self, clock: Clock) -> None:
        class SlowStore(MemoryClaimStore):
            def purge(self, claim_id: str, parts: int, lease: Lease) -> bool:
                self.take(claim_id, parts, Lease("another's", lease.until + 60), now=lease.until)
                return super().purge(claim_id, parts, lease)

        store = SlowStore()
        check = small_claim_check(store, purge="before", clock=clock)
        body = check.seal(STORED_BODY).body

        with pytest.raises(ClaimInProgress):
            check.open(body.decode())

        assert rows_of(store, body) == 2
        assert store.look_up(ticket_in(body)["id"], now=clock.now + 150) is None

    @pytest.mark.parametrize("method", ["purge", "put_back"])
    def test_settling_is_logged_and_left_to_the_lease(
        self, clock: Clock, caplog: pytest.LogCaptureFixture, method: str
    ) -> None:
        class FailingStore(MemoryClaimStore):
            pass

        def fail(*_: object) -> bool:
            raise ClaimStoreUnavailable("the test says so")

        setattr(FailingStore, method, fail)
        store = FailingStore()
        check = small_claim_check(store, clock=clock)
        sealed = check.seal(STORED_BODY)

        with caplog.at_level(logging.WARNING):
            try:
                with check.open(sealed.body.decode()) as opened:
                    assert opened.body == STORED_BODY
                    if method == "put_back":
                        _ = 1 / 0
            except ZeroDivisionError:
                assert method == "put_back"

        done = "purged" if method == "purge" else "put back"
        assert f"claim {sealed.claim_id} could not be {done}; its lease" in caplog.text
        assert "the test says so" in caplog.text
        clock.advance(120)
        assert store.look_up(str(sealed.claim_id), now=clock.now) is not None


class TestPurgedBefore:
    """The bytes are here only while the handler runs: putting them back is worth some patience."""

    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("claimcheck.core.life.WRITE_AGAIN_PAUSES_SECONDS", (0.01, 0.01))

    @pytest.mark.parametrize(("outages", "is_there"), [(2, True), (3, False)])
    def test_a_store_that_is_down_for_a_moment_loses_nothing(
        self, caplog: pytest.LogCaptureFixture, outages: int, is_there: bool
    ) -> None:
        class Down(MemoryClaimStore):
            outages = 0

            def write(self, head: ClaimHead, parts: Sequence[bytes | memoryview]) -> None:
                if self.outages:
                    self.outages -= 1
                    raise ClaimStoreUnavailable("the store is down")
                super().write(head, parts)

        store = Down()
        check = small_claim_check(store, purge="before")
        sealed = check.seal(STORED_BODY)

        opened = check.open(sealed.body.decode())
        store.outages = outages
        with pytest.raises(ConnectionError), opened:
            raise ConnectionError

        assert (store.look_up(str(sealed.claim_id), now=0) is not None) == is_there
        assert ("its payload is lost" in caplog.text) != is_there
