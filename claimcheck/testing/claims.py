"""Makes claims for tests, and writes, reads, renews and removes them in a store."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from claimcheck.stores.base import ClaimFacts, Contents, ContentsStore, Lease

MINE = Lease("mine", 60)
OTHERS = Lease("another's", 90)

CREATED_AT = 1_800_000_000
EXPIRES_AT = CREATED_AT + 1_000 * 24 * 3600


@dataclass(frozen=True)
class Claim:
    """A claim, as a sender makes it."""

    facts: ClaimFacts
    parts: Sequence[bytes] = field(repr=False)

    @property
    def id(self) -> str:
        """The claim id."""
        return self.facts.id

    @property
    def key(self) -> str:
        """The key of its record."""
        return f"{self.id}@"

    @property
    def contents(self) -> Contents:
        """The contents that a reader must get."""
        return Contents(list(self.parts), self.facts.expires_at)


def make_claim(
    *sizes: int,
    type: str | None = "order:new",
    expires_at: int = EXPIRES_AT,
    in_one_part: bool = False,
) -> Claim:
    """Make a claim with a part, or a piece of the only part, for each of these sizes in bytes."""
    sizes = sizes or (100, 50)
    parts = [random.Random(seed).randbytes(size) for seed, size in enumerate(sizes)]
    facts = ClaimFacts(
        id=f"claim-{secrets.token_urlsafe(18)}",
        type=type,
        parts=1 if in_one_part else len(parts),
        size=2 * sum(sizes),
        stored=sum(sizes),
        created_at=CREATED_AT,
        expires_at=expires_at,
    )
    return Claim(facts, parts)


def write(
    store: ContentsStore,
    *sizes: int,
    type: str | None = "order:new",
    expires_at: int = EXPIRES_AT,
) -> Claim:
    """Write a claim, in one part if the store keeps contents in one part."""
    in_one_part = store.part_bytes is None
    claim = make_claim(*sizes, type=type, expires_at=expires_at, in_one_part=in_one_part)
    store.write(claim.facts, claim.parts)
    return claim


def read(store: ContentsStore, claim: Claim, *, consistent: bool = True) -> Contents | None:
    """Read the contents of a claim; a store's only part is cut into the claim's pieces."""
    facts = claim.facts
    reading = store.read(claim.id, facts.parts, stored=facts.stored, consistent=consistent)
    found = reading.result()
    if found is None or store.part_bytes is not None or None in found.parts:
        return found
    rest = b"".join(part or b"" for part in found.parts)
    assert found.sha256 in {None, hashlib.sha256(rest).hexdigest()}, "another SHA-256 than theirs"
    pieces = []
    for part in claim.parts[:-1]:
        pieces.append(rest[: len(part)])
        rest = rest[len(part) :]
    return Contents([*pieces, rest], found.expires_at)


def remove(store: ContentsStore, claim: Claim) -> None:
    """Remove its contents at once."""
    store.remove(claim.id, claim.facts.parts)


def renew(store: ContentsStore, claim: Claim, expires_at: int) -> None:
    """Have its contents expire later."""
    store.renew(claim.id, claim.facts.parts, expires_at=expires_at)
