"""What the tests of a claim's life share: bodies that are stored, and deliveries that end."""

from __future__ import annotations

import re
from typing import Any

import pytest

from claimcheck import ClaimCheck
from claimcheck.stores.base import PART_BYTES
from tests.claimcheck.support import noisy_body, ticket_in

BODY = noisy_body(6_000)
TWO_PARTS = noisy_body(2 * PART_BYTES + 1_000)

ANY_PURGE = pytest.mark.parametrize("purge", ["after", "before", "never"])


def handle(check: ClaimCheck, sealed: str, **options: Any) -> str:
    """Open it as a delivery whose handler succeeds; gives what the handler got."""
    with check.open(sealed, **options) as opened:
        return opened.body


def as_written_back(backup: object, sealed: str) -> str:
    """What a store has, whether contents are as they were sealed, or expire a little later."""
    expires: int = ticket_in(sealed)["expires"]
    expiries = "|".join(str(expires + later) for later in range(6))
    return re.sub(expiries, "the expiry", repr(backup))


def fail(check: ClaimCheck, sealed: str, **options: Any) -> None:
    """Open it as a delivery whose handler fails."""
    with pytest.raises(ZeroDivisionError), check.open(sealed, **options):
        raise ZeroDivisionError
