"""Encrypted messages: what they are, who can open them, and what is refused."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from itertools import pairwise
from typing import Any

import pytest

from claimcheck import (
    ClaimCheckMiddleware,
    ClaimCorrupted,
    EncryptionKeyMissing,
    EncryptionKeyUnknown,
    EncryptionMissing,
    TicketForged,
    TicketInvalid,
    TicketUnsupported,
)
from claimcheck.core import aes_gcm
from claimcheck.stores.base import PART_BYTES
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Message, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.core.encrypting import (
    AES,
    BODIES,
    CARRIED,
    KEY,
    NO_MESSAGE,
    OLD_KEY,
    SMALL,
    STORED,
    STRANGE_KEY,
    as_another_would,
    claim_check,
    seal,
)
from tests.claimcheck.core.lives import handle
from tests.claimcheck.support import (
    SECRET,
    body_of,
    claim_record,
    contents_of,
    forge,
    noisy_body,
    parts_left,
    rewrite_parts,
    ticket_in,
)


@BODIES
def test_every_message_is_sealed_and_opens(store: MemoryClaimStore, body: str) -> None:
    sealed = claim_check(store).seal(body)
    text = sealed.body.decode()

    assert sealed.route == ("stored" if body == STORED else "compressed")
    assert json.loads(text).get("type") == ("order:new" if body != NO_MESSAGE else None)
    assert ticket_in(text)["encryption"]["key"].startswith("aes256:")
    assert claim_check(store).open(text).body == body


@BODIES
def test_nobody_sees_the_content(store: MemoryClaimStore, body: str) -> None:
    sealed = seal(store, body)
    data = b64decode(ticket_in(sealed).get("data", ""))
    if body == STORED:
        contents = contents_of(store, sealed)
        assert contents is not None
        data = b"".join(part or b"" for part in contents.parts)

    assert SECRET.encode() not in data
    assert b"\x28\xb5\x2f\xfd" not in data, "a zstd frame"
    assert as_another_would(sealed, data) == body


def test_parts_are_one_message(store: MemoryClaimStore) -> None:
    body = noisy_body(5 * PART_BYTES)
    sealed = seal(store, body)
    contents = contents_of(store, sealed)
    assert contents is not None

    assert ticket_in(sealed)["parts"] == 3
    assert as_another_would(sealed, b"".join(part or b"" for part in contents.parts)) == body
    assert claim_check(store).open(sealed).body == body


def test_no_two_messages_share_a_key(
    store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nonce is always the same, so a key that came twice would give both messages away."""
    keys: list[bytes] = []
    make = aes_gcm._message_key

    def watched(*args: Any) -> bytes:
        keys.append(make(*args))
        return keys[-1]

    monkeypatch.setattr(aes_gcm, "_message_key", watched)
    for body in (SMALL, SMALL, STORED, STORED):
        seal(store, body)

    assert len(keys) >= 4
    assert len({*keys}) == len(keys)


class TestRefused:
    @BODIES
    def test_without_a_key(self, store: MemoryClaimStore, body: str) -> None:
        sealed = seal(store, body)

        with pytest.raises(EncryptionKeyMissing, match=r"message m-1: .*CLAIMCHECK_ENCRYPTION"):
            claim_check(store, None).open(sealed, message_id="m-1")
        self.assert_still_opens(store, sealed, body)

    @BODIES
    def test_with_another_key(self, store: MemoryClaimStore, body: str) -> None:
        sealed = seal(store, body)
        named = ticket_in(sealed)["encryption"]["key"]

        with pytest.raises(EncryptionKeyUnknown, match=f"message m-1 of type .*{named}"):
            claim_check(store, f"aes256:{STRANGE_KEY}").open(sealed, message_id="m-1")
        self.assert_still_opens(store, sealed, body)

    @pytest.mark.parametrize("body", [SMALL, CARRIED, STORED], ids=["small", "carried", "stored"])
    def test_a_message_that_is_not_encrypted(self, store: MemoryClaimStore, body: str) -> None:
        sealed = seal(store, body, None)

        with pytest.raises(EncryptionMissing, match=r"message m-1: it is not encrypted.*enqueue"):
            claim_check(store).open(sealed, message_id="m-1")
        assert claim_check(store, None).open(sealed).body == body

    def test_a_size_that_nobody_opens_counts_as_none(self, store: MemoryClaimStore) -> None:
        assert claim_check(store).opened_size(SMALL) == 0
        assert claim_check(store, None).opened_size(seal(store, STORED)) == 0
        assert claim_check(store).opened_size(seal(store, STORED)) == len(STORED)

    @staticmethod
    def assert_still_opens(store: MemoryClaimStore, sealed: str, body: str) -> None:
        if body == STORED:
            assert claim_record(store, sealed) is None, "it was acquired"
        assert claim_check(store).open(sealed).body == body

    @pytest.mark.parametrize(
        ("field", "value"), [("algorithm", "AES-512-GCM"), ("key", "vault:abc"), ("key", "abc")]
    )
    def test_an_encryption_of_a_newer_version(
        self, store: MemoryClaimStore, field: str, value: str
    ) -> None:
        sealed = seal(store, STORED)
        encryption = {**ticket_in(sealed)["encryption"], field: value}

        for key in (AES, None):
            with pytest.raises(TicketUnsupported, match="Upgrade letsgo-claimcheck"):
                claim_check(store, key).open(forge(sealed, encryption=encryption))

    @pytest.mark.parametrize(
        "encryption",
        [
            1,
            "AES-256-GCM",
            [],
            {},
            {"algorithm": "AES-256-GCM"},
            {"tag": ""},
            {"tag": "0" * 31},
            {"tag": "G" * 32},
            {"key": None},
            {"key": "aes256:"},
            {"key": "aes256:0123456789ABCDEF"},
            {"key": "kms:"},
            {"key": "kms:not base64"},
            {"key": "kms:" + "A" * 8_193},
            {"more": 1},
        ],
        ids=str,
    )
    def test_an_encryption_that_is_malformed(
        self, store: MemoryClaimStore, encryption: object
    ) -> None:
        sealed = seal(store, STORED)
        if isinstance(encryption, dict) and encryption and "algorithm" not in encryption:
            encryption = {**ticket_in(sealed)["encryption"], **encryption}

        with pytest.raises(TicketInvalid, match=r"malformed \(encryption\)"):
            claim_check(store).open(forge(sealed, encryption=encryption))

    def test_a_carried_ticket_without_a_nonce(self, store: MemoryClaimStore) -> None:
        with pytest.raises(TicketInvalid, match=r"malformed \(nonce\)"):
            claim_check(store).open(forge(seal(store, SMALL), "nonce"))


class TestBound:
    """Bytes open for the message that they were encrypted for, and for no other."""

    def assert_corrupted(self, store: MemoryClaimStore, sealed: str) -> None:
        with pytest.raises(ClaimCorrupted, match="does not decrypt"):
            claim_check(store).open(sealed)

    @pytest.mark.parametrize("body", [CARRIED, STORED], ids=["carried", "stored"])
    @pytest.mark.parametrize("other_type", ["order:cancelled", "", None])
    def test_to_its_type(self, store: MemoryClaimStore, body: str, other_type: str | None) -> None:
        message = json.loads(seal(store, body))
        del message["type"]
        if other_type is not None:
            message["type"] = other_type

        self.assert_corrupted(store, json.dumps(message))

    def test_to_its_nonce(self, store: MemoryClaimStore) -> None:
        other = ticket_in(seal(store, SMALL))

        self.assert_corrupted(store, forge(seal(store, SMALL), nonce=other["nonce"]))

    @pytest.mark.parametrize(("field", "value"), [("size", 10**6), ("encoding", "identity")])
    def test_to_the_fields_that_say_how_to_read_it(
        self, store: MemoryClaimStore, field: str, value: object
    ) -> None:
        sealed = seal(store, STORED)
        assert ticket_in(sealed)["encoding"] == "zstd"

        self.assert_corrupted(store, forge(sealed, **{field: value}))

    def test_to_its_claim(self, store: MemoryClaimStore) -> None:
        """Whoever can write to the store and to the queue has one claim's bytes in another."""
        first, second = seal(store, STORED), seal(store, STORED)
        bytes_of_first = contents_of(store, first)
        assert bytes_of_first is not None
        rewrite_parts(
            store, second, lambda _: [bytes(part or b"") for part in bytes_of_first.parts]
        )
        theirs = ticket_in(first)
        moved = {name: theirs[name] for name in ("sha256", "encryption")}

        self.assert_corrupted(store, forge(second, **moved))

        assert parts_left(store, second) == 1
        record = claim_record(store, second)
        assert record is None, "and the claim is released"

    def test_to_its_store(self, store: MemoryClaimStore) -> None:
        """A copy with the label of another store of the reader has no receipt there.

        That store has the bytes too: whoever can write to it put them there.
        """
        other = MemoryClaimStore(clock=store.now)
        sealed = seal(store, STORED)
        other._contents.update(store._contents)
        check = claim_check(store, read_stores=[other])

        assert handle(check, sealed) == STORED
        with pytest.raises(ClaimCorrupted, match="does not decrypt"):
            check.open(forge(sealed, store=other.label))

    def test_to_its_place(self, store: MemoryClaimStore) -> None:
        """Carried by a ticket it would have no receipt, and each copy would be handled."""
        sealed = seal(store, STORED)
        ticket, contents = ticket_in(sealed), contents_of(store, sealed)
        assert contents is not None
        data = b64encode(contents.parts[0] or b"").decode()
        without = ("id", "parts", "stored", "expires", "store")

        self.assert_corrupted(store, forge(sealed, *without, nonce=ticket["id"], data=data))

    @pytest.mark.parametrize("body", [CARRIED, STORED], ids=["carried", "stored"])
    def test_to_its_bytes(self, store: MemoryClaimStore, body: str) -> None:
        """With a SHA-256 that fits, as anybody can make one."""
        sealed = seal(store, body)
        ticket = ticket_in(sealed)
        if body == STORED:
            contents = contents_of(store, sealed)
            assert contents is not None
            changed = flipped(bytes(contents.parts[0] or b""))
            rewrite_parts(store, sealed, lambda _: [changed])
            forged = forge(sealed, sha256=hashlib.sha256(changed).hexdigest())
        else:
            changed = flipped(b64decode(ticket["data"]))
            forged = forge(
                sealed,
                sha256=hashlib.sha256(changed).hexdigest(),
                data=b64encode(changed).decode(),
            )

        self.assert_corrupted(store, forged)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


class TestSigned:
    @pytest.mark.parametrize("body", [SMALL, STORED], ids=["carried", "stored"])
    def test_it_is_signed_too(self, store: MemoryClaimStore, body: str) -> None:
        both = claim_check(store, signing_key="0123456789abcdef")
        sealed = both.seal(body).body.decode()

        assert both.open(sealed).body == body
        encryption = {**ticket_in(sealed)["encryption"], "tag": "0" * 32}
        with pytest.raises(TicketForged):
            both.open(forge(sealed, encryption=encryption))

    @pytest.mark.parametrize("body", [SMALL, STORED], ids=["carried", "stored"])
    def test_copies_of_a_message_have_one_receipt(self, store: MemoryClaimStore, body: str) -> None:
        """With `once`, a carried message has it under its nonce, which nobody can change."""
        queue, seen = MemoryTransport(), list[Message[Any]]()
        check = claim_check(store)
        sealed = check.seal(body).body
        for _ in range(3):
            queue.send(OutgoingMessage(type="order:new", body=sealed))
        worker = Worker(queue, middleware=[ClaimCheckMiddleware(check, once=True)])
        worker.default(seen.append)

        worker.run(burst=True)

        assert len(seen) == 1


class TestRotation:
    @pytest.mark.parametrize("sealed_with", [OLD_KEY, KEY])
    @pytest.mark.parametrize("as_list", [True, False])
    def test_each_key_decrypts(
        self, store: MemoryClaimStore, sealed_with: str, as_list: bool
    ) -> None:
        sealed = seal(store, STORED, f"aes256:{sealed_with}")
        both = [AES, f"aes256:{OLD_KEY}"] if as_list else f"{AES},{OLD_KEY}"

        assert claim_check(store, both).open(sealed).body == STORED

    def test_the_first_key_encrypts(self, store: MemoryClaimStore) -> None:
        sealed = seal(store, STORED, f" aes256:{KEY} , {OLD_KEY}")

        with pytest.raises(EncryptionKeyUnknown):
            claim_check(store, f"aes256:{OLD_KEY}").open(sealed)
        assert claim_check(store).open(sealed).body == STORED

    def test_no_message_is_refused_while_keys_change_step_by_step(
        self, store: MemoryClaimStore
    ) -> None:
        steps = [OLD_KEY, f"{OLD_KEY},{KEY}", f"{KEY},{OLD_KEY}", KEY]
        for before, after in pairwise(f"aes256:{each}" for each in steps):
            for sender, worker in ((before, after), (after, before)):
                sealed = seal(store, STORED, sender)
                assert claim_check(store, worker).open(sealed).body == STORED


class TestTurningOn:
    """`none` among the keys: readers first."""

    STEPS = (None, f"none,{AES}", f"{AES},none", AES)

    @BODIES
    def test_no_message_is_refused_step_by_step(self, store: MemoryClaimStore, body: str) -> None:
        checks = [claim_check(store, each) for each in self.STEPS]
        for before, after in pairwise(checks):
            for sender, reader in ((before, before), (before, after), (after, before)):
                assert reader.open(sender.seal(body).body.decode()).body == body

    def test_it_encrypts_from_the_third_on(self, store: MemoryClaimStore) -> None:
        sealed = [seal(store, SMALL, each) for each in self.STEPS]

        assert [SECRET in each for each in sealed] == [True, True, False, False]
        assert [claim_check(store, each).refuses_unsealed for each in self.STEPS] == [
            False,
            False,
            False,
            True,
        ]

    def test_a_nonce_of_a_message_that_is_not_encrypted_is_no_key(
        self, store: MemoryClaimStore
    ) -> None:
        """Or who knows that of another message could have that taken for a duplicate."""
        check = claim_check(store, f"{AES},none")
        victim = check.seal(SMALL).body.decode()
        plain = claim_check(store, None, threshold=100).seal(body_of(900)).body.decode()
        made_up = forge(plain, nonce=ticket_in(victim)["nonce"])

        with check.open(made_up, once="a@"):
            pass
        with check.open(victim, once="b@") as opened:
            assert opened.body == SMALL
