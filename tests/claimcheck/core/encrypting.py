"""What the tests of encryption share: keys, bodies of each route, and claim checks with keys."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from claimcheck import ClaimCheck
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


def claim_check(store: MemoryClaimStore, encryption: Any = AES, **options: Any) -> ClaimCheck:
    return small_claim_check(store, encryption=encryption, **options)


def seal(store: MemoryClaimStore, body: str, encryption: Any = AES) -> str:
    return claim_check(store, encryption).seal(body).body.decode()
