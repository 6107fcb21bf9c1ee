"""What anybody who can write to the queue can send: an error, and no claim is harmed."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimcheck import (
    ClaimCheck,
    ClaimCheckError,
    ClaimCorrupted,
    ClaimMissing,
    Purge,
    TicketInvalid,
    TicketUnsupported,
)
from claimcheck.stores.base import ClaimFacts
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import (
    DAY,
    any_json,
    body_of,
    carry,
    claim_record,
    contents_of,
    forge,
    noisy_body,
    small_claim_check,
    ticket_in,
)
from tests.claimcheck.watched import Watched

STORED_BODY = noisy_body(6_000)

FIELDS = [
    "v",
    "encoding",
    "size",
    "sha256",
    "data",
    "id",
    "parts",
    "stored",
    "expires",
    "store",
    "sig",
    "anything",
]


CONFUSED = [
    *("null", "true", "false", "0", "-1", "1", "2", "1.0", "1e0", "1e999", "-1e999", "NaN", "0.5"),
    *("4294967296", "9007199254740993", "18446744073709551616", "9" * 400, "9" * 5_000),
    *('""', '"1"', '" "', '"zstd"', '"gzip"', '"\\u0000"', '"\\u001b[2J"', '"\\ud800"', '"é"'),
    *('"../../etc/passwd"', '"https://example.com/"', f'"{"a" * 24}"', f'"{"0" * 64}"'),
    *("[]", "[1]", "{}", '{"v":1}', f'"{"x" * 300_000}"', f"{'[' * 100_000}{']' * 100_000}"),
]
"""Values as JSON has them, each of another type, size or character than some field wants."""


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return small_claim_check(store, max_size=100_000)


def open_text(check: ClaimCheck, body: bytes | str) -> str:
    """Open a sealed body as a handler that succeeds does."""
    with check.open(body if isinstance(body, str) else body.decode()) as opened:
        return opened.body


class TestTickets:
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
        with pytest.raises(ClaimCorrupted, match="are not text"):
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


class TestTicketsOfStoredClaims:
    def test_under_another_type_the_claim_is_released(
        self, store: MemoryClaimStore, check: ClaimCheck
    ) -> None:
        sealed = check.seal(STORED_BODY).body.decode()

        with pytest.raises(TicketInvalid, match="another type was sealed"):
            check.open(sealed.replace("order:new", "order:paid"))

        assert claim_record(store, sealed) is None
        assert open_text(check, sealed) == STORED_BODY

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("size", 70_001),
            ("sha256", "0" * 64),
            ("parts", 1),
            ("encoding", "zstd"),
        ],
    )
    def test_that_do_not_fit_their_claim_leave_it_alone(
        self, store: MemoryClaimStore, check: ClaimCheck, name: str, value: object
    ) -> None:
        honest = in_two_parts(store, check)
        before = contents_of(store, honest)

        with pytest.raises(ClaimCorrupted, match=r"\(claim .*\): "):
            check.open(forge(honest, **{name: value}))

        assert contents_of(store, honest) == before
        assert claim_record(store, honest) is None
        assert open_text(check, honest) == body_of(70_000)

    def test_of_another_claim_leave_both_alone(self, check: ClaimCheck) -> None:
        victim, other = check.seal(STORED_BODY), check.seal(noisy_body(7_000, seed=2))

        with pytest.raises(ClaimCorrupted):
            check.open(forge(other.body, id=victim.claim_id))

        assert open_text(check, victim.body) == STORED_BODY
        assert open_text(check, other.body) == noisy_body(7_000, seed=2)

    @pytest.mark.parametrize("purge", ["after", "before", "never"])
    def test_of_another_claim_never_remove_it(self, store: MemoryClaimStore, purge: Purge) -> None:
        check = small_claim_check(store, purge=purge)
        victim, other = check.seal(STORED_BODY), check.seal(noisy_body(7_000, seed=2))
        before = contents_of(store, victim.body)

        with pytest.raises(ClaimCorrupted):
            check.open(forge(other.body, id=victim.claim_id))

        assert contents_of(store, victim.body) == before

    def test_of_no_claim_leave_nothing_behind(
        self, store: MemoryClaimStore, check: ClaimCheck
    ) -> None:
        body = forge(check.seal(STORED_BODY).body, id="A" * 24)

        with pytest.raises(ClaimMissing, match=r"claim A{24}\): the store has neither"):
            check.open(body)

        assert claim_record(store, body) is None

    def test_with_more_parts_than_there_are(
        self, store: MemoryClaimStore, check: ClaimCheck
    ) -> None:
        sealed = check.seal(noisy_body(70_000)).body
        assert ticket_in(sealed)["parts"] == 1
        many = forge(sealed, parts=2, stored=65_537, size=70_000)

        with pytest.raises(ClaimCorrupted, match="is 1 in the store, and 2 in its ticket"):
            check.open(many)

        assert open_text(check, sealed) == noisy_body(70_000)

    @pytest.mark.parametrize("parts", [0, 2, 10**9])
    def test_with_a_number_of_parts_that_cannot_be_ask_no_store(
        self, store: MemoryClaimStore, parts: int
    ) -> None:
        watched = Watched(store)
        sealed = small_claim_check(store).seal(STORED_BODY)

        with pytest.raises(TicketInvalid, match="parts"):
            small_claim_check(watched.store).open(forge(sealed.body, parts=parts))

        assert not watched.calls


class TestAnything:
    @given(
        route=st.sampled_from(["compressed", "stored"]),
        name=st.sampled_from(FIELDS),
        value=any_json() | st.integers(0, 10_000) | st.binary().map(lambda data: data.hex()),
    )
    def test_any_value_in_any_field_is_an_error_of_our_own(
        self, route: str, name: str, value: object
    ) -> None:
        store = MemoryClaimStore()
        check = ClaimCheck(store, threshold=1, inline_limit=1 if route == "stored" else 10_000)
        sealed = check.seal(STORED_BODY)
        before = contents_of(store, sealed.body) if route == "stored" else None

        try:
            opened = check.open(forge(sealed.body, **{name: value}))
        except ClaimCheckError:
            pass
        else:  # the field says what it had said, or nothing that opening depends on
            assert opened.body == STORED_BODY
            assert opened.release()

        if before is not None:
            assert contents_of(store, sealed.body) == before
            assert claim_record(store, sealed.body) is None

    @pytest.mark.parametrize("field", [*FIELDS, "claimCheck", "type"])
    @pytest.mark.parametrize("body", [STORED_BODY, body_of(6_000)], ids=["stored", "carried"])
    @pytest.mark.parametrize("key", [None, "a-key-of-sixteen-bytes"], ids=["plain", "signed"])
    def test_after_each_confused_ticket_the_good_one_opens(
        self, store: MemoryClaimStore, field: str, body: str, key: str | None
    ) -> None:
        check = small_claim_check(store, max_size=100_000, signing_key=key)
        sealed = check.seal(body).body.decode()
        honest, mark = json.loads(sealed), "what is exchanged"

        for text in CONFUSED:
            if field in {"claimCheck", "type"}:
                forged = json.dumps({**honest, field: mark})
            else:
                forged = forge(sealed, **{field: mark})
            forged = forged.replace(json.dumps(mark), text)
            with suppress(ClaimCheckError):  # or it says what it had said, or it is no JSON
                opened = check.open(forged)
                assert opened.body in {body, forged}, text[:50]
                assert opened.body == body or not is_json(forged), text[:50]
                assert opened.release()

        assert open_text(check, sealed) == body

    @given(data=st.binary(max_size=300), size=st.integers(1, 2_000))
    def test_any_bytes_in_place_of_the_data_are_an_error_of_our_own(
        self, data: bytes, size: int
    ) -> None:
        check = ClaimCheck(MemoryClaimStore())

        with pytest.raises(ClaimCheckError):
            check.open(carry(data, size=size, message_type="order:new"))


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def in_two_parts(store: MemoryClaimStore, check: ClaimCheck) -> str:
    """An honest ticket for a claim of two parts that are not compressed.

    So other values stay within what a ticket may say.
    """
    data = body_of(70_000).encode()
    parts = [data[:66_000], data[66_000:]]
    sealed = forge(
        check.seal(noisy_body(70_000)).body,
        encoding="identity",
        size=len(data),
        stored=len(data),
        parts=len(parts),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    ticket = ticket_in(sealed)
    store.write(
        ClaimFacts(
            id=ticket["id"],
            type="order:new",
            parts=len(parts),
            size=len(data),
            stored=len(data),
            created_at=ticket["expires"] - 15 * DAY,
            expires_at=ticket["expires"],
        ),
        parts,
    )
    return sealed
