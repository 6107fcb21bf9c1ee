"""A claim check for Amazon SQS: messages of any size, and handlers that do not notice.

    from claimcheck import enqueue, unwrap_claim_check

Every public name is here. A module is loaded when one of its names is first used, so importing the
package costs next to nothing.
"""

from typing import TYPE_CHECKING

from claimcheck.enqueue import aenqueue, aenqueue_many, enqueue, enqueue_many, install
from letsgo_queue.lazy import lazy_names

__all__ = [
    "AwsPointers",
    "BodyInvalid",
    "BodyTooLarge",
    "ClaimAlreadyProcessed",
    "ClaimBucketMissing",
    "ClaimCheck",
    "ClaimCheckError",
    "ClaimCheckMiddleware",
    "ClaimCheckSettings",
    "ClaimCorrupted",
    "ClaimExpired",
    "ClaimInProgress",
    "ClaimLost",
    "ClaimMissing",
    "ClaimStore",
    "ClaimStoreError",
    "ClaimStoreUnavailable",
    "ClaimTableMissing",
    "ConsumerUnknown",
    "DuplicateSuppressed",
    "Encryption",
    "EncryptionError",
    "EncryptionKeyMissing",
    "EncryptionKeyRefused",
    "EncryptionKeyUnavailable",
    "EncryptionKeyUnknown",
    "EncryptionMissing",
    "EnqueueResult",
    "MessageNotOpened",
    "MessageOpened",
    "MessageSealed",
    "MessageToStore",
    "Opened",
    "Purge",
    "RecordUnsupported",
    "Route",
    "Sealed",
    "SettingsInvalid",
    "TicketForged",
    "TicketInvalid",
    "TicketUnsupported",
    "UnwrapOptions",
    "aenqueue",
    "aenqueue_many",
    "enqueue",
    "enqueue_many",
    "install",
    "open_encryption",
    "open_store",
    "unwrap_claim_check",
    "unwrap_event",
    "unwrap_record",
]

if TYPE_CHECKING:
    from claimcheck.core.aws_pointers import AwsPointers
    from claimcheck.core.claim_check import ClaimCheck
    from claimcheck.core.encryption import Encryption, open_encryption
    from claimcheck.core.life import Purge
    from claimcheck.core.opened import Opened, Route
    from claimcheck.core.sealing import Sealed
    from claimcheck.core.store_choice import MessageToStore
    from claimcheck.errors import (
        BodyInvalid,
        BodyTooLarge,
        ClaimAlreadyProcessed,
        ClaimBucketMissing,
        ClaimCheckError,
        ClaimCorrupted,
        ClaimExpired,
        ClaimInProgress,
        ClaimLost,
        ClaimMissing,
        ClaimStoreError,
        ClaimStoreUnavailable,
        ClaimTableMissing,
        ConsumerUnknown,
        EncryptionError,
        EncryptionKeyMissing,
        EncryptionKeyRefused,
        EncryptionKeyUnavailable,
        EncryptionKeyUnknown,
        EncryptionMissing,
        RecordUnsupported,
        SettingsInvalid,
        TicketForged,
        TicketInvalid,
        TicketUnsupported,
    )
    from claimcheck.events import (
        DuplicateSuppressed,
        MessageNotOpened,
        MessageOpened,
        MessageSealed,
    )
    from claimcheck.middleware import ClaimCheckMiddleware, EnqueueResult
    from claimcheck.settings import ClaimCheckSettings
    from claimcheck.stores import open_store
    from claimcheck.stores.base import ClaimStore
    from claimcheck.unwrap import (
        UnwrapOptions,
        unwrap_claim_check,
        unwrap_event,
        unwrap_record,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "claimcheck.core.aws_pointers": ("AwsPointers",),
            "claimcheck.core.claim_check": ("ClaimCheck",),
            "claimcheck.core.encryption": ("Encryption", "open_encryption"),
            "claimcheck.core.opened": ("Opened", "Route"),
            "claimcheck.core.sealing": ("Sealed",),
            "claimcheck.core.store_choice": ("MessageToStore",),
            "claimcheck.events": (
                "DuplicateSuppressed",
                "MessageNotOpened",
                "MessageOpened",
                "MessageSealed",
            ),
            "claimcheck.core.life": ("Purge",),
            "claimcheck.middleware": ("ClaimCheckMiddleware", "EnqueueResult"),
            "claimcheck.settings": ("ClaimCheckSettings",),
            "claimcheck.stores": ("open_store",),
            "claimcheck.stores.base": ("ClaimStore",),
            "claimcheck.unwrap": (
                "UnwrapOptions",
                "unwrap_claim_check",
                "unwrap_event",
                "unwrap_record",
            ),
        },
        others=("claimcheck.errors", __all__),
    )
