"""Errors of the claim check.

They share their root, and `SettingsInvalid`, with the queue's: see `letsgo_queue.errors`. Every
error says what was wrong, with which message, and what to do. Payload content never appears in one.

    ClaimCheckError
    ├── BodyInvalid                  there is nothing to seal, or it is not text
    │   └── BodyTooLarge             over max_size
    ├── TicketInvalid                malformed, or it does not fit its message
    │   ├── TicketUnsupported        made by a newer version
    │   └── TicketForged             not signed, or not with a key that is known here
    ├── ClaimInProgress              another delivery of the message is being handled
    ├── ClaimAlreadyProcessed        the message was handled; this delivery is a duplicate
    ├── ClaimMissing                 the store has nothing of the claim
    │   └── ClaimExpired             and its time has passed
    ├── ClaimLost                    handed over before the handler, which did not finish
    ├── ConsumerUnknown              several queues have the message, and the reader names none
    ├── ClaimCorrupted               a part is missing, or the content is not what was sealed
    ├── EncryptionError
    │   ├── EncryptionMissing        not encrypted, and every message must be here
    │   ├── EncryptionKeyMissing     encrypted, and no key is set here
    │   ├── EncryptionKeyUnknown     encrypted with none of the keys that are set here
    │   └── EncryptionKeyRefused     KMS gave no key
    │       └── EncryptionKeyUnavailable  KMS did not answer, or asked to slow down
    ├── RecordUnsupported            a record that cannot be opened, or be given its original body
    ├── AuditInvalid                 a size audit, or what it weighs, cannot be read or written
    └── ClaimStoreError              the store refused
        ├── ClaimStoreUnavailable    the store did not answer, or asked to slow down
        ├── ClaimTableMissing        the DynamoDB table does not exist
        └── ClaimBucketMissing       the S3 bucket does not exist
"""

from __future__ import annotations

from letsgo_queue.errors import LetsGoError
from letsgo_queue.errors import SettingsInvalid as SettingsInvalid  # noqa: PLC0414  both packages have it
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS


class ClaimCheckError(LetsGoError):
    """Base of the errors of the claim check."""


class BodyInvalid(ClaimCheckError):
    """The body cannot be sealed: it is empty or not text."""


class BodyTooLarge(BodyInvalid):
    """The body is over `max_size`.

    Attributes:
        size: Bytes of the body.
        limit: Bytes that `max_size` allows.
    """

    def __init__(self, text: str, *, size: int, limit: int) -> None:
        super().__init__(text)
        self.size = size
        self.limit = limit


class TicketInvalid(ClaimCheckError):
    """A message looks sealed, but its ticket is malformed or does not fit it."""


class TicketUnsupported(TicketInvalid):
    """The ticket has a version, an encoding or an encryption that this version does not know."""


class TicketForged(TicketInvalid):
    """The ticket is not signed, or not with a key that is known here."""


class ClaimInProgress(ClaimCheckError):
    """Another delivery of the same message holds the claim.

    A worker holds such a message until the lease there ends, for as long as SQS allows (12 hours
    from the receive), and tries again.

    Attributes:
        retry_after: Seconds until its lease ends.
    """

    retryable = True
    patience = float(MAX_VISIBILITY_SECONDS)
    retry_after: float

    def __init__(self, text: str, *, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ClaimAlreadyProcessed(ClaimCheckError):
    """The message was handled: its receipt says so, and this delivery is a duplicate."""


class ClaimMissing(ClaimCheckError):
    """The store has neither a record nor the contents of the claim.

    Nobody can tell whether the message was handled, so it is never acknowledged for this.
    """


class ClaimExpired(ClaimMissing):
    """The store has nothing of the claim, and its time has passed."""


class ClaimLost(ClaimCheckError):
    """The contents were removed before the handler, and the handler did not finish."""


class ConsumerUnknown(ClaimCheckError):
    """Several queues have the message, and nothing says which of them this delivery is from.

    Each queue has a record of its own. With the record of another queue, one of them would miss the
    message.
    """


class ClaimCorrupted(ClaimCheckError):
    """The claim, or the data in the message, is not what was sealed."""


class EncryptionError(ClaimCheckError):
    """Base of the errors of encryption. Bytes that do not decrypt raise `ClaimCorrupted`."""


class EncryptionMissing(EncryptionError):
    """The message is not encrypted, and every message must be here."""


class EncryptionKeyMissing(EncryptionError):
    """The message is encrypted, and no key is set here."""


class EncryptionKeyUnknown(EncryptionError):
    """The message is encrypted with none of the keys that are set here."""


class EncryptionKeyRefused(EncryptionError):
    """KMS gave no key.

    A worker holds a message that it cannot open for this reason, and tries again, for 15 minutes.
    """

    patience = 900.0  # as for a store that refuses


class EncryptionKeyUnavailable(EncryptionKeyRefused):
    """KMS did not answer, or asked to slow down."""

    retryable = True


class RecordUnsupported(ClaimCheckError):
    """A record is of a kind that cannot be opened, or cannot be given its original body."""


class AuditInvalid(ClaimCheckError):
    """A report of the size audit, or a file that it weighs, cannot be read or written."""


class ClaimStoreError(ClaimCheckError):
    """The store refused an operation.

    A worker holds a message that it cannot open for this reason, and tries again, for 15 minutes.

    Attributes:
        acquiring: Whether the store was about to acquire a record, and may have. The next try of
            that delivery is made with the same lease id; after any other error with a new one.
    """

    patience = 900.0  # our choice: after that, the queue's own retries bridge an outage
    acquiring = False


class ClaimStoreUnavailable(ClaimStoreError):
    """The store did not answer, or asked to slow down."""

    retryable = True


class ClaimTableMissing(ClaimStoreError):
    """The DynamoDB table does not exist."""

    retryable = True


class ClaimBucketMissing(ClaimStoreError):
    """The S3 bucket does not exist."""

    retryable = True
