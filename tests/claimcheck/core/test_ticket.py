from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimcheck import ClaimCheckError, TicketInvalid, TicketUnsupported
from claimcheck.core.ticket import CarriedTicket, SealedMessage, StoredTicket, read, write
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.support import SECRET, forge, message_body

MAX_SIZE = 10_000_000
SHA256 = "0123456789abcdef" * 4

CARRIED = CarriedTicket(v=1, encoding="zstd", size=1_002_933, sha256=SHA256, data="KLUv/Q==")
STORED = StoredTicket(
    v=1,
    encoding="identity",
    size=1_002_933,
    sha256=SHA256,
    id="AAAAAAAAAAAAAAAAAAAAAA",
    parts=1,
    stored=286_003,
    expires=1_796_745_600,
    store="dynamodb:eu-west-1:letsgo-claims",
)
BODIES = {
    "carried": write("order:new", CARRIED).decode(),
    "stored": write("order:new", STORED).decode(),
}

BAD_FIELDS: list[tuple[str, object]] = [
    ("v", 0),
    ("v", -1),
    ("v", "1"),
    ("v", True),
    ("v", None),
    ("v", 1.5),
    ("v", [1]),
    ("encoding", None),
    ("encoding", 1),
    ("encoding", ["zstd"]),
    ("size", 0),
    ("size", -1),
    ("size", "1002933"),
    ("size", 1002933.5),
    ("size", True),
    ("size", None),
    ("size", MAX_SIZE + 1),
    ("size", 10**30),
    ("sha256", ""),
    ("sha256", SHA256[:-1]),
    ("sha256", SHA256 + "0"),
    ("sha256", SHA256.upper()),
    ("sha256", SHA256[:-1] + "g"),
    ("sha256", SHA256 + "\n"),
    ("sha256", 1),
    ("shared", 1),
    ("shared", "true"),
    (SECRET, 1),
    ("payload", {"lines": []}),
]
BAD_CARRIED_FIELDS: list[tuple[str, object]] = [
    ("data", ""),
    ("data", None),
    ("data", 7),
    ("data", {}),
    ("id", STORED.id),
]
BAD_STORED_FIELDS: list[tuple[str, object]] = [
    ("id", ""),
    ("id", "short"),
    ("id", "A" * 65),
    ("id", "../../" + "A" * 22),
    ("id", "A" * 22 + "\n"),
    ("id", None),
    ("id", 10**30),
    ("parts", 0),
    ("parts", -1),
    ("parts", 10**9),
    ("parts", 6),
    ("parts", "1"),
    ("parts", None),
    ("stored", 0),
    ("stored", STORED.size + 1),
    ("stored", 10**30),
    ("stored", None),
    ("expires", -1),
    ("expires", 10**30),
    ("expires", "soon"),
    ("expires", None),
    ("store", ""),
    ("store", "x" * 201),
    ("store", "größe"),
    ("store", "two\nlines"),
    ("store", "\x1b[31m"),
    ("store", None),
    ("store", 1),
]


def cases(kind: str, fields: list[tuple[str, object]]) -> list[Any]:
    return [
        pytest.param(kind, *field, id=f"{kind} {field[0]}={field[1]!r:.20}") for field in fields
    ]


class TestWireForm:
    """Section 5 of the design, byte for byte: other versions and other languages read it."""

    def test_a_ticket_that_carries_the_data(self) -> None:
        assert write("order:new", CARRIED) == (
            b'{"type":"order:new","claimCheck":{"v":1,"encoding":"zstd","size":1002933,'
            b'"sha256":"' + SHA256.encode() + b'","data":"KLUv/Q=="}}'
        )

    def test_a_ticket_that_names_a_claim(self) -> None:
        assert write("order:new", STORED) == (
            b'{"type":"order:new","claimCheck":{"v":1,"encoding":"identity","size":1002933,'
            b'"sha256":"' + SHA256.encode() + b'","id":"AAAAAAAAAAAAAAAAAAAAAA","parts":1,'
            b'"stored":286003,"expires":1796745600,"store":"dynamodb:eu-west-1:letsgo-claims"}}'
        )

    def test_without_a_type(self) -> None:
        assert write(None, CARRIED).startswith(b'{"claimCheck":{"v":1,')

    def test_a_type_is_not_escaped(self) -> None:
        assert write("größe:neu", CARRIED).startswith('{"type":"größe:neu","claim'.encode())

    @pytest.mark.parametrize("ticket", [CARRIED, STORED])
    @pytest.mark.parametrize("message_type", ["order:new", 'quote"back\\slash', "größe:neu", None])
    def test_is_read_as_it_was_written(
        self, message_type: str | None, ticket: CarriedTicket | StoredTicket
    ) -> None:
        body = write(message_type, ticket)

        assert is_sealed(body)
        assert read(body.decode(), max_size=MAX_SIZE) == SealedMessage(message_type, ticket)

    def test_whitespace_and_order_do_not_matter(self) -> None:
        fields = json.loads(BODIES["stored"])
        turned = {"claimCheck": dict(reversed(fields["claimCheck"].items())), "type": "order:new"}

        body = json.dumps(turned, indent=2)

        assert read(body, max_size=MAX_SIZE) == SealedMessage("order:new", STORED)

    @pytest.mark.parametrize(
        "label", ["x", "x" * 200, "sqlite:/var/it's here/claims.db", "memory:"]
    )
    def test_a_store_has_any_label_that_fits_a_line_of_a_log(self, label: str) -> None:
        body = forge(BODIES["stored"], store=label)

        sealed = read(body, max_size=MAX_SIZE)

        assert sealed is not None
        assert isinstance(sealed.ticket, StoredTicket)
        assert sealed.ticket.store == label

    def test_its_size_may_be_max_size(self) -> None:
        body = forge(BODIES["stored"], size=MAX_SIZE)

        assert read(body, max_size=MAX_SIZE) is not None


class TestNotSealed:
    @pytest.mark.parametrize(
        "body",
        [
            "",
            "claimCheck",
            'no JSON with a "claimCheck" in it',
            '{"type":"order:new","claimCheck":',
            '"claimCheck"',
            '["claimCheck"]',
            message_body("order:new", "claimCheck"),
            message_body("order:new", {"claimCheck": {"v": 1}}),
            '{"type":"order:new","payload":{},"claimCheck":{"v":1}}',
        ],
    )
    def test_is_left_alone(self, body: str) -> None:
        assert read(body, max_size=MAX_SIZE) is None
        assert not is_sealed(body.encode())


class TestHostileTickets:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param('{"type":"\\ud800","claimCheck":{"v":1}}', id="half a surrogate pair"),
            pytest.param('{"type":"a:b","claim\\u0043heck":{"v":1}}', id="an escape in the name"),
            pytest.param('{"type":"a:b","claimCheck":{"v":NaN}}', id="a number that JSON lacks"),
            pytest.param('{"type":"a:b","claimCheck":' + "[" * 300 + "]" * 300 + "}", id="deep"),
        ],
    )
    def test_odd_json_hides_no_ticket(self, body: str) -> None:
        with pytest.raises(TicketInvalid):
            read(body, max_size=MAX_SIZE)

    @pytest.mark.parametrize(
        ("kind", "name", "value"),
        [
            *cases("carried", BAD_FIELDS + BAD_CARRIED_FIELDS),
            *cases("stored", BAD_FIELDS + BAD_STORED_FIELDS),
        ],
    )
    def test_a_bad_field_is_refused(self, kind: str, name: str, value: object) -> None:
        body = forge(BODIES[kind], **{name: value})

        with pytest.raises(TicketInvalid) as error:
            read(body, max_size=MAX_SIZE)

        assert not isinstance(error.value, TicketUnsupported)
        assert SECRET not in str(error.value)
        known = (CarriedTicket if kind == "carried" else StoredTicket).model_fields
        shown = name if name in known else "another field"
        assert f"malformed ({shown})" in str(error.value) or "claims" in str(error.value)

    @pytest.mark.parametrize(
        "name", [name for name, field in StoredTicket.model_fields.items() if field.is_required()]
    )
    def test_a_missing_field_is_named(self, name: str) -> None:
        body = forge(BODIES["stored"], name)

        with pytest.raises(TicketInvalid, match=rf"malformed \({name}\)"):
            read(body, max_size=MAX_SIZE)

    @pytest.mark.parametrize("ticket", [None, True, 1, "1", [], [1], {}])
    def test_a_ticket_that_is_none_is_refused(self, ticket: object) -> None:
        body = json.dumps({"type": "order:new", "claimCheck": ticket})

        with pytest.raises(TicketInvalid, match="its ticket is"):
            read(body, max_size=MAX_SIZE)

    @pytest.mark.parametrize("message_type", [1, True, [], {}])
    def test_a_type_that_is_no_text_is_refused(self, message_type: object) -> None:
        body = json.dumps({**json.loads(BODIES["stored"]), "type": message_type})

        with pytest.raises(TicketInvalid, match="`type` is not text"):
            read(body, max_size=MAX_SIZE)

    @pytest.mark.parametrize("kind", ["carried", "stored"])
    @pytest.mark.parametrize(
        ("name", "value"), [("v", 2), ("v", 10**30), ("encoding", "brotli"), ("encoding", "")]
    )
    def test_a_newer_version_says_to_upgrade(self, kind: str, name: str, value: object) -> None:
        body = forge(BODIES[kind], **{name: value})

        with pytest.raises(TicketUnsupported, match=r"Upgrade letsgo-claimcheck where"):
            read(body, max_size=MAX_SIZE)

    def test_a_newer_version_may_have_other_fields(self) -> None:
        body = forge(BODIES["stored"], "sha256", v=2, blake3="...")

        with pytest.raises(TicketUnsupported):
            read(body, max_size=MAX_SIZE)

    def test_more_than_max_size_says_what_to_raise(self) -> None:
        with pytest.raises(TicketInvalid, match=r"claims 1,002,933 bytes, over max_size \(1,000\)"):
            read(BODIES["stored"], max_size=1_000)

    @given(
        kind=st.sampled_from(["carried", "stored"]),
        name=st.sampled_from([*CarriedTicket.model_fields, *StoredTicket.model_fields, "x"]),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
    def test_any_value_in_any_field_is_read_or_refused(
        self, kind: str, name: str, value: object
    ) -> None:
        body = forge(BODIES[kind], **{name: value})

        try:
            sealed = read(body, max_size=MAX_SIZE)
        except ClaimCheckError:
            return
        # What was not refused is within the limits.
        assert sealed is not None
        assert 1 <= sealed.ticket.size <= MAX_SIZE
        if isinstance(sealed.ticket, StoredTicket):
            assert 1 <= sealed.ticket.stored <= sealed.ticket.size
            assert 1 <= sealed.ticket.parts <= MAX_SIZE // 65_536 + 1
