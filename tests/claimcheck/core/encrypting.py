"""What the tests of encryption share: keys, bodies of each route, and claim checks with keys."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from claimcheck import ClaimCheck
from claimcheck.core.compression import decode
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import SECRET, message_body, noise, small_claim_check

KEY, OLD_KEY, STRANGE_KEY = (b64encode(bytes([each]) * 32).decode() for each in b"abc")
AES = f"aes256:{KEY}"

SMALL = message_body("order:new", SECRET)
CARRIED = message_body("order:new", SECRET + noise(200))
STORED = message_body("order:new", SECRET + noise(6_000))
NO_MESSAGE = "a text that is no message of LetsGo"
BODIES = pytest.mark.parametrize(
    "body", [SMALL, CARRIED, STORED, NO_MESSAGE], ids=["small", "carried", "stored", "no message"]
)


def key_and_additional_data(sealed: str, data_key: str) -> tuple[bytes, str]:
    """The key of a message, and its additional data, as docs/wire-format has them."""
    message = json.loads(sealed)
    ticket = message["claimCheck"]
    if "data" in ticket:
        id, lines = ticket["nonce"], ["carried", ticket["nonce"]]
    else:
        id, lines = ticket["id"], ["stored", ticket["id"]]
    lines[0] += " shared" if ticket.get("shared") else ""
    lines += [ticket["encoding"], str(ticket["size"])]
    lines += [ticket["store"]] if "store" in ticket else []
    lines += [message["type"]] if "type" in message else []
    # HKDF-SHA-256 (RFC 5869), which takes one block for 32 bytes.
    extracted = hmac.digest(id.encode(), b64decode(data_key), "sha256")
    key = hmac.digest(extracted, b"letsgo-claimcheck/1 AES-256-GCM\x01", "sha256")
    return key, "\n".join(lines)


def as_another_would(sealed: str, stored: bytes | None, data_key: str = KEY) -> str:
    """Open a message by its documentation, with other tools than the library has."""
    ticket = json.loads(sealed)["claimCheck"]
    data = b64decode(ticket["data"]) if stored is None else stored
    assert sha256(data).hexdigest() == ticket["sha256"]
    key, additional_data = key_and_additional_data(sealed, data_key)
    tag = bytes.fromhex(ticket["encryption"]["tag"])
    encoded = AESGCM(key).decrypt(bytes(12), data + tag, additional_data.encode())
    return decode(ticket["encoding"], [encoded], ticket["size"])


def claim_check(store: MemoryClaimStore, encryption: Any = AES, **options: Any) -> ClaimCheck:
    return small_claim_check(store, encryption=encryption, **options)


def seal(store: MemoryClaimStore, body: str, encryption: Any = AES) -> str:
    return claim_check(store, encryption).seal(body).body.decode()
