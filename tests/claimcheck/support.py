"""What the tests of the claim check share: a clock, bodies of a known size, and forged tickets."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from claimcheck import ClaimCheck, ClaimStore
from claimcheck.stores.base import ClaimFacts, Contents, Record

SECRET = "hunter2-never-in-an-error"
"""Payload content that a test can look for where it must not be."""

DAY = 24 * 3600


def any_json() -> st.SearchStrategy[object]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )


def body_of(size: int, message_type: str = "order:new", fill: str = "x") -> str:
    """A LetsGo message of exactly `size` bytes."""
    frame = message_body(message_type, "")
    count, rest = divmod(size - len(frame), len(fill.encode()))
    body = message_body(message_type, fill * count + "x" * rest)
    assert len(body.encode()) == size
    return body


def message_body(message_type: str, payload: object) -> str:
    return json.dumps(
        {"type": message_type, "payload": payload}, separators=(",", ":"), ensure_ascii=False
    )


def noise(size: int, seed: int = 1) -> str:
    """Text of `size` bytes that compresses to about half, and no further."""
    return random.Random(seed).randbytes(size // 2).hex()


def noisy_body(size: int, message_type: str = "order:new", seed: int = 1) -> str:
    return message_body(message_type, noise(size, seed))


def ticket_in(body: str | bytes) -> dict[str, Any]:
    """The fields of the ticket in a sealed body."""
    fields: dict[str, Any] = json.loads(body)["claimCheck"]
    return fields


def forge(body: str | bytes, *without: str, **fields: object) -> str:
    """A sealed body with other fields in its ticket."""
    message = json.loads(body)
    ticket = {**message["claimCheck"], **fields}
    for name in without:
        del ticket[name]
    return json.dumps({**message, "claimCheck": ticket})


def carry(data: bytes, *, size: int, message_type: str | None = None, **fields: object) -> str:
    """A sealed body that carries `data`, whatever that is."""
    ticket = {
        "v": 1,
        "encoding": "zstd",
        "size": size,
        "sha256": sha256(data).hexdigest(),
        "data": b64encode(data).decode(),
        **fields,
    }
    outside = {} if message_type is None else {"type": message_type}
    return json.dumps({**outside, "claimCheck": ticket})


def contents_of(store: ClaimStore, sealed_body: str | bytes) -> Contents | None:
    """The contents that a sealed body names, as they are in the store."""
    ticket = ticket_in(sealed_body)
    return store.read(ticket["id"], ticket["parts"], stored=ticket["stored"]).result()


def rewrite_parts(
    store: ClaimStore, sealed_body: str | bytes, change: Callable[[list[bytes]], Sequence[bytes]]
) -> None:
    """Have other parts where those are that a sealed body names; of the only part, its halves."""
    ticket = ticket_in(sealed_body)
    contents = contents_of(store, sealed_body)
    assert contents is not None
    facts = ClaimFacts(
        id=ticket["id"],
        type=json.loads(sealed_body).get("type"),
        parts=ticket["parts"],
        size=ticket["size"],
        stored=ticket["stored"],
        created_at=ticket["expires"] - 15 * DAY,
        expires_at=contents.expires_at,
    )
    parts = [bytes(part or b"") for part in contents.parts]
    if store.part_bytes is None:
        whole = b"".join(parts)
        parts = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    store.remove(facts.id, facts.parts)
    store.write(facts, change(parts))


def claim_record(store: ClaimStore, sealed_body: str | bytes) -> Record | None:
    """The record of the claim that a sealed body names."""
    return store.look_up(f"{ticket_in(sealed_body)['id']}@")


def parts_left(store: ClaimStore, sealed_body: str | bytes) -> int:
    """How many parts of a sealed body's contents are in the store."""
    contents = contents_of(store, sealed_body)
    return 0 if contents is None else sum(part is not None for part in contents.parts)


def small_claim_check(store: ClaimStore, **options: Any) -> ClaimCheck:
    """A claim check that stores everything over 1,000 bytes that does not compress to that."""
    return ClaimCheck(store, **{"threshold": 1_000, "inline_limit": 1_000, **options})
