"""A claim check for Amazon SQS: messages of any size, and handlers that do not notice.

    from claimcheck import enqueue, unwrap_claim_check

Everything public is here; the modules below are how it is made.
"""

from claimcheck.claim_check import ClaimCheck, Opened, Route, Sealed
from claimcheck.enqueue import aenqueue, aenqueue_many, enqueue, enqueue_many, install
from claimcheck.errors import (
    BodyInvalid,
    BodyTooLarge,
    ClaimAlreadyProcessed,
    ClaimCheckError,
    ClaimCorrupted,
    ClaimExpired,
    ClaimInProgress,
    ClaimLost,
    ClaimStoreError,
    ClaimStoreUnavailable,
    ClaimTableMissing,
    RecordUnsupported,
    SettingsInvalid,
    TicketForged,
    TicketInvalid,
    TicketUnsupported,
)
from claimcheck.events import DuplicateSuppressed, MessageOpened, MessageSealed
from claimcheck.hold import Purge
from claimcheck.middleware import ClaimCheckMiddleware, EnqueueResult
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from claimcheck.unwrap import unwrap_claim_check

__all__ = [
    "BodyInvalid",
    "BodyTooLarge",
    "ClaimAlreadyProcessed",
    "ClaimCheck",
    "ClaimCheckError",
    "ClaimCheckMiddleware",
    "ClaimCheckSettings",
    "ClaimCorrupted",
    "ClaimExpired",
    "ClaimInProgress",
    "ClaimLost",
    "ClaimStore",
    "ClaimStoreError",
    "ClaimStoreUnavailable",
    "ClaimTableMissing",
    "DuplicateSuppressed",
    "EnqueueResult",
    "MessageOpened",
    "MessageSealed",
    "Opened",
    "Purge",
    "RecordUnsupported",
    "Route",
    "Sealed",
    "SettingsInvalid",
    "TicketForged",
    "TicketInvalid",
    "TicketUnsupported",
    "aenqueue",
    "aenqueue_many",
    "enqueue",
    "enqueue_many",
    "install",
    "open_store",
    "unwrap_claim_check",
]
