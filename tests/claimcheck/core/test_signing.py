"""Signed tickets: who made a ticket, and that nothing in it was changed."""

from __future__ import annotations

import hmac
import json
import logging
import traceback
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest

from claimcheck import (
    ClaimCheck,
    ClaimCheckError,
    ClaimCheckMiddleware,
    SettingsInvalid,
    TicketForged,
    TicketInvalid,
)
from claimcheck.core.signing import MIN_KEY_BYTES, Signer
from claimcheck.core.ticket import StoredTicket
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, Message, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import (
    body_of,
    carry,
    claim_record,
    forge,
    message_body,
    noisy_body,
    parts_left,
    small_claim_check,
    ticket_in,
)

KEY = "the-key-of-this-quarter"
OLD_KEY = "the-key-of-the-last-one"
STRANGE_KEY = "the-key-of-somebody-else"

STORED_BODY = noisy_body(6_000)
CARRIED_BODY = body_of(6_000)
BODIES = pytest.mark.parametrize("body", [STORED_BODY, CARRIED_BODY], ids=["stored", "carried"])


def seal(store: MemoryClaimStore, body: str, key: object = KEY) -> str:
    return claim_check(store, key).seal(body).body.decode()


def claim_check(store: MemoryClaimStore, key: object = KEY) -> ClaimCheck:
    return small_claim_check(store, signing_key=key)


def assert_forged(store: MemoryClaimStore, body: str, key: object = KEY) -> TicketForged:
    with pytest.raises(TicketForged, match="not signed with a key that this worker has") as refused:
        claim_check(store, key).open(body, message_id="m-1")
    assert not refused.value.retryable
    assert "message m-1 of type" in str(refused.value)
    return refused.value


@BODIES
def test_what_was_signed_opens(store: MemoryClaimStore, body: str) -> None:
    sealed = seal(store, body)

    assert claim_check(store).open(sealed).body == body


def test_the_signature_is_that_of_the_fields_and_the_type() -> None:
    """What another implementation has to sign: other versions verify it."""
    ticket = StoredTicket(
        v=1,
        encoding="zstd",
        size=10,
        sha256=sha256(b"").hexdigest(),
        id="a" * 24,
        parts=1,
        stored=5,
        expires=1796745600,
        store="dynamodb:eu-west-1:letsgo-claims",
    )

    signed = (
        b'["order:new",[["encoding","zstd"],["expires",1796745600],'
        b'["id","aaaaaaaaaaaaaaaaaaaaaaaa"],["parts",1],'
        b'["sha256","e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],'
        b'["size",10],["store","dynamodb:eu-west-1:letsgo-claims"],["stored",5],["v",1]]]'
    )
    expected = hmac.new(KEY.encode(), signed, sha256).hexdigest()
    assert Signer([KEY]).sign("order:new", ticket) == expected


@BODIES
def test_an_unsigned_ticket_is_refused(store: MemoryClaimStore, body: str) -> None:
    sealed = seal(store, body, None)

    assert "sig" not in ticket_in(sealed)
    assert_forged(store, sealed)
    assert claim_check(store, None).open(sealed).body == body, "and the claim was not touched"


@BODIES
def test_a_signature_of_another_key_is_refused(store: MemoryClaimStore, body: str) -> None:
    sealed = seal(store, body, STRANGE_KEY)

    assert_forged(store, sealed)
    assert claim_check(store, STRANGE_KEY).open(sealed).body == body


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "encoding": lambda _: "identity",
    "size": lambda ticket: ticket["size"] + 1,
    "sha256": lambda _: sha256(b"other").hexdigest(),
    "id": lambda ticket: ticket["id"][::-1],
    "stored": lambda ticket: ticket["stored"] - 1,
    "expires": lambda ticket: ticket["expires"] - 1,
    "store": lambda _: "dynamodb:eu-west-1:another",
    "sig": lambda ticket: ticket["sig"][::-1],
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_is_refused(store: MemoryClaimStore, field: str) -> None:
    sealed = seal(store, STORED_BODY)

    assert_forged(store, forge(sealed, **{field: CHANGES[field](ticket_in(sealed))}))

    assert parts_left(store, sealed) == 1
    assert claim_record(store, sealed) is None
    assert claim_check(store).open(sealed).body == STORED_BODY


def test_a_changed_number_of_parts_is_refused(store: MemoryClaimStore) -> None:
    sealed = claim_check(store).seal(noisy_body(200_000)).body.decode()

    assert_forged(store, forge(sealed, parts=2))


@pytest.mark.parametrize("field", ["encoding", "size", "sha256", "sig"])
def test_a_changed_field_is_refused_where_the_ticket_carries_the_data(
    store: MemoryClaimStore, field: str
) -> None:
    sealed = seal(store, CARRIED_BODY)

    assert_forged(store, forge(sealed, **{field: CHANGES[field](ticket_in(sealed))}))


def test_other_data_under_a_signature_is_refused(store: MemoryClaimStore) -> None:
    """The signature covers the data's SHA-256, and the data is held to that."""
    other = ticket_in(seal(store, body_of(6_000, fill="y")))
    changed = forge(seal(store, CARRIED_BODY), data=other["data"])

    with pytest.raises(ClaimCheckError, match="its SHA-256 differs"):
        claim_check(store).open(changed)


def test_a_signature_of_another_ticket_is_refused(store: MemoryClaimStore) -> None:
    other = ticket_in(seal(store, STORED_BODY))

    assert_forged(store, forge(seal(store, noisy_body(6_000, seed=2)), sig=other["sig"]))


@BODIES
@pytest.mark.parametrize("other_type", ["order:cancelled", "", None])
def test_another_type_is_refused(
    store: MemoryClaimStore, body: str, other_type: str | None
) -> None:
    message = json.loads(seal(store, body))
    del message["type"]
    if other_type is not None:
        message["type"] = other_type

    assert_forged(store, json.dumps(message))


@pytest.mark.parametrize("sig", ["", "0" * 63, "G" * 64, "A" * 64, "é" * 64, "0" * 64 + "\n", 0])
def test_a_signature_that_is_none_is_malformed(store: MemoryClaimStore, sig: object) -> None:
    with pytest.raises(TicketInvalid, match=r"malformed \(sig\)"):
        claim_check(store).open(forge(seal(store, STORED_BODY), sig=sig))


def test_a_null_signature_is_none(store: MemoryClaimStore) -> None:
    assert_forged(store, forge(seal(store, STORED_BODY), sig=None))


def test_a_ticket_made_by_hand_is_refused(store: MemoryClaimStore) -> None:
    body = message_body("order:new", "by hand").encode()

    assert_forged(store, carry(body, size=len(body), message_type="order:new", encoding="identity"))


def test_without_a_key_a_signature_is_not_looked_at(store: MemoryClaimStore) -> None:
    """So that senders may sign before their workers know the key."""
    sealed = seal(store, STORED_BODY)

    assert claim_check(store, None).open(sealed).body == STORED_BODY


def test_an_inline_message_carries_no_signature(store: MemoryClaimStore) -> None:
    """Signing is about claims; what this page's how-to says it does not protect."""
    small = message_body("order:new", "small")

    assert seal(store, small) == small
    assert claim_check(store).open(small).body == small


class TestRotation:
    @pytest.mark.parametrize("signed_with", [OLD_KEY, KEY])
    def test_each_key_is_accepted(self, store: MemoryClaimStore, signed_with: str) -> None:
        sealed = seal(store, STORED_BODY, signed_with)

        assert claim_check(store, [KEY, OLD_KEY]).open(sealed).body == STORED_BODY

    def test_the_first_key_signs(self, store: MemoryClaimStore) -> None:
        sealed = seal(store, STORED_BODY, [KEY, OLD_KEY])

        assert_forged(store, sealed, OLD_KEY)
        assert claim_check(store, KEY).open(sealed).body == STORED_BODY

    def test_a_key_that_is_retired_is_refused(self, store: MemoryClaimStore) -> None:
        assert_forged(store, seal(store, STORED_BODY, OLD_KEY), [KEY])

    def test_no_message_is_refused_while_keys_change_step_by_step(
        self, store: MemoryClaimStore
    ) -> None:
        """Senders and workers are deployed one after the other, in either order."""
        steps = [[OLD_KEY], [OLD_KEY, KEY], [KEY, OLD_KEY], [KEY]]
        for before, after in pairwise(steps):
            for sender, worker in ((before, after), (after, before)):
                sealed = seal(store, STORED_BODY, sender)
                assert claim_check(store, worker).open(sealed).body == STORED_BODY


class TestKeys:
    @pytest.mark.parametrize(
        "keys", ["short", "x" * (MIN_KEY_BYTES - 1), "", [KEY, "short"], [KEY, ""], [], ()]
    )
    def test_a_short_key_is_refused(self, store: MemoryClaimStore, keys: object) -> None:
        with pytest.raises(SettingsInvalid, match="at least 16 bytes each"):
            claim_check(store, keys)

    @pytest.mark.parametrize("keys", [5, KEY.encode(), [KEY.encode()], [KEY, None]])
    def test_what_is_no_text_is_refused(self, store: MemoryClaimStore, keys: object) -> None:
        with pytest.raises(SettingsInvalid, match="give a key as text, or a list of them"):
            claim_check(store, keys)

    def test_sixteen_bytes_are_enough(self, store: MemoryClaimStore) -> None:
        claim_check(store, "é" * (MIN_KEY_BYTES // 2))

    def test_no_keys_are_refused_where_some_are_needed(self) -> None:
        with pytest.raises(SettingsInvalid, match="at least 16 bytes each"):
            Signer([])


class TestSetting:
    @pytest.mark.parametrize(
        ("value", "keys"),
        [(KEY, (KEY,)), (f"{KEY}\n", (KEY,)), (f"{KEY},{OLD_KEY}", (KEY, OLD_KEY))],
    )
    def test_keys_are_separated_by_commas(self, value: str, keys: tuple[str, ...]) -> None:
        settings = ClaimCheckSettings.from_environment({"CLAIMCHECK_SIGNING_KEY": value})

        assert settings.signing_keys == [*keys]

    @pytest.mark.parametrize("value", ["", " ", "\n"])
    def test_a_key_that_is_set_and_empty_turns_nothing_off(
        self, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_SIGNING_KEY", value)

        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_SIGNING_KEY is set and empty"):
            claim_check_for("memory://")

    @pytest.mark.parametrize("value", [",", f"{KEY},", "short", f"{KEY},short"])
    def test_a_short_key_is_refused_before_anything_is_sealed(
        self, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_SIGNING_KEY", value)

        with pytest.raises(SettingsInvalid, match="at least 16 bytes each") as refused:
            claim_check_for("memory://")
        assert_no_key_in(as_printed(refused.value))

    def test_signs_and_refuses(
        self, monkeypatch: pytest.MonkeyPatch, store: MemoryClaimStore
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
        monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
        monkeypatch.setenv("CLAIMCHECK_STORE", "memory://signing")
        unsigned = claim_check_for("memory://").seal(STORED_BODY).body.decode()
        monkeypatch.setenv("CLAIMCHECK_SIGNING_KEY", f"{KEY},{OLD_KEY}")
        checked = claim_check_for("memory://")

        with pytest.raises(TicketForged):
            checked.open(unsigned)
        assert checked.open(checked.seal(STORED_BODY).body.decode()).body == STORED_BODY


class TestNobodySeesTheKey:
    def test_in_a_repr(self, store: MemoryClaimStore) -> None:
        settings = ClaimCheckSettings.model_validate({"signing_key": [KEY]})
        signing = claim_check(store)

        shown = [repr(settings), str(settings), repr(signing), repr(Signer([KEY]))]
        shown += [str(settings.model_dump()), settings.model_dump_json()]
        assert_no_key_in("\n".join(shown))

    def test_in_an_error_about_settings(self) -> None:
        environment = {"CLAIMCHECK_SIGNING_KEY": KEY, "CLAIMCHECK_MAX_SIZE": "much"}

        with pytest.raises(SettingsInvalid) as refused:
            ClaimCheckSettings.from_environment(environment)
        assert_no_key_in(as_printed(refused.value))

    def test_in_an_error_about_a_key_that_is_no_unicode(self) -> None:
        """As the environment gives bytes that are no UTF-8."""
        with pytest.raises(SettingsInvalid) as refused:
            ClaimCheck(
                MemoryClaimStore(),
                signing_key=ClaimCheckSettings.from_environment(
                    {"CLAIMCHECK_SIGNING_KEY": f"{KEY}\udcff"}
                ).signing_keys,
            )
        assert_no_key_in(as_printed(refused.value))

    def test_in_an_error_about_a_key_in_code_that_is_no_unicode(
        self, store: MemoryClaimStore
    ) -> None:
        with pytest.raises(SettingsInvalid) as refused:
            claim_check(store, f"{KEY}\udcff")
        assert_no_key_in(as_printed(refused.value))

    def test_in_what_a_worker_logs(
        self, store: MemoryClaimStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        transport = MemoryTransport()
        Client(transport, middleware=[ClaimCheckMiddleware(claim_check(store, OLD_KEY))]).enqueue(
            {"type": "order:new", "payload": STORED_BODY}
        )
        worker = Worker(transport, middleware=[ClaimCheckMiddleware(claim_check(store))])
        runs: list[Message[object]] = []
        worker.handler("order:new")(runs.append)

        worker.run(burst=True)

        assert "not signed with a key that this worker has" in caplog.text
        assert not runs
        assert_no_key_in(caplog.text)


def as_printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def assert_no_key_in(text: str) -> None:
    for key in (KEY, OLD_KEY, STRANGE_KEY):
        assert key not in text
