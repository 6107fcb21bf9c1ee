"""Why a claim cannot be taken: another delivery has it, or it is gone.

A claim that is gone was handled, or expired; under `purge="before"` or `"never"` it may be lost.
"""

from __future__ import annotations

from claimcheck.core.life import Purge
from claimcheck.core.ticket import StoredTicket
from claimcheck.errors import (
    ClaimAlreadyProcessed,
    ClaimCheckError,
    ClaimExpired,
    ClaimInProgress,
    ClaimLost,
)


def in_progress(what: str, seconds: float) -> ClaimInProgress:
    """The error for a claim whose lease runs so many seconds yet."""
    return ClaimInProgress(
        f"{what} is being handled by another delivery. It is tried again when that one's lease "
        "ends.",
        retry_after=max(seconds, 0.0),
    )


def gone(
    what: str, ticket: StoredTicket, now: float, receive_count: int, purge: Purge
) -> ClaimCheckError:
    """What it means that the store has no such claim."""
    if now >= ticket.expires:
        return ClaimExpired(
            f"{what}: its claim has expired before anybody fetched it. The queue kept the message "
            "longer than the claim was meant to live; it cannot be handled any more."
        )
    if purge == "never":
        return ClaimLost(
            f"{what}: its claim is gone before its time. With purge='never' no consumer removes "
            "it: check that every consumer of this queue has that setting."
        )
    if purge == "before" and receive_count > 1:
        return ClaimLost(
            f"{what}: its claim was removed before an earlier delivery ran the handler (it was "
            f"received {receive_count} times, purge='before'). Whether that handler finished "
            "cannot be told; check, and enqueue the work again if it did not."
        )
    return ClaimAlreadyProcessed(
        f"{what} was handled before: its claim is gone, so this delivery is a duplicate. (If it "
        "was never handled, this worker's CLAIMCHECK_STORE is not that of the sender.)"
    )
