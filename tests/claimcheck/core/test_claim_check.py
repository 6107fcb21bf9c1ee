"""Sealing and opening: which way a body goes, and that it comes back byte for byte."""

from __future__ import annotations

import base64
import gc
import json
import math
import random
import secrets
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claimcheck import (
    BodyInvalid,
    BodyTooLarge,
    ClaimCheck,
    ClaimCheckMiddleware,
    SettingsInvalid,
    unwrap_claim_check,
)
from claimcheck.stores.base import PART_BYTES
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import MessageTooLarge
from tests.claimcheck.support import (
    DAY,
    SECRET,
    any_json,
    body_of,
    carry,
    contents_of,
    message_body,
    noisy_body,
    parts_left,
    small_claim_check,
    ticket_in,
)

STORED_BODY = noisy_body(6_000)
SIGNING_KEY = "0123456789abcdef"


def never_asked() -> int:
    raise AssertionError("the queue was asked, and nothing depended on it")


def open_text(check: ClaimCheck, body: bytes) -> str:
    """Open a sealed body as a handler that succeeds does."""
    with check.open(body.decode()) as opened:
        return opened.body


class OneObjectStore(MemoryClaimStore):
    """A store that bills no bytes, as S3: contents are one part."""

    part_bytes = None  # type: ignore[assignment]  # the memory's is a number


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

    def test_what_is_stored_in_parts_is_compressed_harder_than_what_is_one_object(self) -> None:
        body = message_body("order:new", [{"id": n, "at": n * 37 % 1009} for n in range(20_000)])

        in_parts, in_one = (
            ClaimCheck(store, inline_limit=1_000).seal(body)
            for store in (MemoryClaimStore(), OneObjectStore())
        )

        assert in_parts.route == in_one.route == "stored"
        assert in_parts.stored < 0.95 * in_one.stored

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

    def test_the_queue_is_not_asked_about_a_small_message(self, store: MemoryClaimStore) -> None:
        sealed = ClaimCheck(store).seal(body_of(65_536), queue_limit=never_asked)

        assert sealed.route == "inline"

    @pytest.mark.parametrize(
        ("threshold", "limit"), [(500_000, 262_144), (250_000, 100_000), (500_000, None)]
    )
    @pytest.mark.parametrize("by_hand", [True, False])
    def test_a_threshold_over_the_limit_of_the_queue_is_that_limit(
        self, store: MemoryClaimStore, threshold: int, limit: int | None, by_hand: bool
    ) -> None:
        by_hand &= limit is not None
        check = ClaimCheck(store, threshold=threshold, inline_limit=limit if by_hand else None)
        most = limit or 262_144
        queue_limit = never_asked if by_hand else lambda: limit

        at_most = check.seal(body_of(most - 10), attributes_size=10, queue_limit=queue_limit)
        over = check.seal(body_of(most - 9), attributes_size=10, queue_limit=queue_limit)

        assert (at_most.route, over.route) == ("inline", "compressed")

    def test_what_a_ticket_would_make_larger_travels_untouched(
        self, store: MemoryClaimStore
    ) -> None:
        check = ClaimCheck(store)
        text = base64.b64encode(random.Random(1).randbytes(300_000)).decode()
        dense = message_body("order:new", text)

        small = check.seal(
            '{"type":"a","payload":"b"}', attributes_size=300_000, queue_limit=lambda: 1_048_576
        )
        large = check.seal(dense, queue_limit=lambda: 1_048_576)

        assert (small.route, small.body) == ("inline", b'{"type":"a","payload":"b"}')
        assert (large.route, large.body) == ("inline", dense.encode())
        assert check.seal(dense, queue_limit=lambda: 262_144).route == "stored"

    def test_attributes_that_leave_no_room_are_named(self, store: MemoryClaimStore) -> None:
        with pytest.raises(MessageTooLarge, match=r"Only the body can be stored: move") as refused:
            ClaimCheck(store).seal(STORED_BODY, attributes_size=262_000)

        assert refused.value.limit == 262_144
        assert refused.value.size == len(STORED_BODY) + 262_000
        assert store._contents == {}

    def test_a_stored_body_says_where_it_is(self, store: MemoryClaimStore, clock: Clock) -> None:
        check = ClaimCheck(store, inline_limit=1_000)

        sealed = check.seal(noisy_body(2 * PART_BYTES + 400_000), delay_seconds=60)

        ticket = ticket_in(sealed.body)
        contents = contents_of(store, sealed.body)
        assert list(ticket) == [
            "v",
            "encoding",
            "size",
            "sha256",
            "id",
            "parts",
            "stored",
            "expires",
            "store",
        ]
        assert (sealed.claim_id, sealed.parts, sealed.stored) == (
            ticket["id"],
            ticket["parts"],
            ticket["stored"],
        )
        assert contents is not None
        assert [len(part or b"") for part in contents.parts] == [
            PART_BYTES,
            sealed.stored - PART_BYTES,
        ]
        assert contents.expires_at == ticket["expires"] == int(clock.now) + 60 + 15 * DAY
        assert ticket["store"] == store.label
        assert len(ticket["id"]) * 6 >= 128
        assert len(sealed.body) < 400

    def test_no_two_claims_have_one_id(self, store: MemoryClaimStore) -> None:
        check = small_claim_check(store)

        first, second = check.seal(STORED_BODY), check.seal(STORED_BODY)

        assert first.claim_id != second.claim_id
        assert open_text(check, first.body) == open_text(check, second.body) == STORED_BODY

    def test_no_id_begins_with_a_dash_as_an_option_of_a_command_does(
        self, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = iter(["-" + "a" * 23, "-" + "b" * 23, "c-" + "c" * 22])
        monkeypatch.setattr(secrets, "token_urlsafe", lambda _: next(ids))

        assert small_claim_check(store).seal(STORED_BODY).claim_id == "c-" + "c" * 22

    @pytest.mark.parametrize(
        "options", [{"inline_limit": 1}, {"sign_every_message": True, "signing_key": SIGNING_KEY}]
    )
    def test_what_does_not_compress_is_sealed_as_it_is(
        self, store: MemoryClaimStore, options: dict[str, Any]
    ) -> None:
        check = ClaimCheck(store, threshold=1, **options)

        sealed = check.seal("short")

        assert ticket_in(sealed.body)["encoding"] == "identity"
        assert open_text(check, sealed.body) == "short"

    def test_a_body_that_was_not_sent_is_discarded(self, store: MemoryClaimStore) -> None:
        check = small_claim_check(store)
        stored, inline = check.seal(STORED_BODY), check.seal("short")

        check.discard(stored)
        check.discard(inline)

        assert parts_left(store, stored.body) == 0


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
        check = ClaimCheck(
            store,
            threshold=200 if route == "inline" else 1,
            inline_limit=1 if route == "stored" else 10**6,
            signing_key=SIGNING_KEY,
            sign_every_message=route == "compressed",
        )
        try:
            encoded = body.encode()
        except UnicodeEncodeError:
            with pytest.raises(BodyInvalid):
                check.seal(body)
            return

        sealed = check.seal(encoded)

        assert open_text(check, sealed.body) == body
        if route == "compressed" or (route == "stored" and len(encoded) > 1):
            assert sealed.route == route
        if sealed.route == "stored":
            assert parts_left(store, sealed.body) == 0


class TestSettingsInCode:
    @pytest.mark.parametrize("name", ["threshold", "inline_limit", "max_size", "lease_seconds"])
    @pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True])
    def test_a_number_is_above_0(self, store: MemoryClaimStore, name: str, value: object) -> None:
        with pytest.raises(SettingsInvalid, match=rf"^{name}( is of type|={value}: give)"):
            ClaimCheck(store, **{name: value})  # type: ignore[arg-type]  # that is the test

    @pytest.mark.parametrize("wrong", ["memory://", 5])
    def test_a_store_is_a_store_and_a_claim_check_a_claim_check(self, wrong: Any) -> None:
        with pytest.raises(SettingsInvalid, match=r"store is of type .*open_store"):
            ClaimCheck(wrong)
        with pytest.raises(SettingsInvalid, match="claim_check is of type"):
            ClaimCheckMiddleware(wrong)
        with pytest.raises(SettingsInvalid, match="claim_check is of type"):
            unwrap_claim_check(claim_check=wrong)(print)

    def test_purge_is_one_of_three(self, store: MemoryClaimStore) -> None:
        with pytest.raises(SettingsInvalid, match="purge='sometimes': give 'after', 'before' or"):
            ClaimCheck(store, purge="sometimes")  # type: ignore[arg-type]  # that is the test


class TestOpened:
    @pytest.mark.parametrize(
        ("body", "route"),
        [
            (message_body("order:new", "größer"), "inline"),
            (body_of(6_000, fill="é"), "compressed"),
            (STORED_BODY, "stored"),
        ],
    )
    def test_says_which_way_it_came_and_how_large_it_is(
        self, store: MemoryClaimStore, body: str, route: str
    ) -> None:
        check = small_claim_check(store)
        sealed = check.seal(body)

        with check.open(sealed.body.decode()) as opened:
            assert (opened.body, opened.route) == (body, route)
            assert opened.size == len(body.encode())
            assert opened.claim_id == sealed.claim_id

    def test_of_text_that_is_no_unicode_it_knows_the_size_as_well_as_it_can(
        self, store: MemoryClaimStore
    ) -> None:
        assert ClaimCheck(store).open("\ud800é").size == 3

    def test_without_a_claim_it_has_nothing_to_settle(self, store: MemoryClaimStore) -> None:
        opened = ClaimCheck(store).open("text")

        assert opened.extend(60)
        assert opened.complete()
        assert opened.release()
