"""Errors of the claim check.

Every error derives from `ClaimCheckError`, says what was wrong, with which message, and what to do,
and carries `retryable`: whether the same delivery or call may succeed later without a change.
Payload content never appears in an error.

    ClaimCheckError
    ├── SettingsInvalid              a setting cannot be used
    ├── BodyInvalid                  there is nothing to seal, or it is not text
    │   └── BodyTooLarge             over max_size
    ├── TicketInvalid                malformed, or it describes another claim
    │   ├── TicketUnsupported        made by a newer version
    │   └── TicketForged             not signed, or not with a key that is known here
    ├── ClaimInProgress              another delivery of the message is being handled
    ├── ClaimAlreadyProcessed        the message was handled; this delivery is a duplicate
    ├── ClaimExpired                 nobody fetched the claim in time
    ├── ClaimLost                    the claim is gone, and nobody can tell whether it was handled
    ├── ClaimCorrupted               a part is missing, or the content is not what was sealed
    ├── RecordUnsupported            a record of a kind that cannot be given its original body
    ├── AuditInvalid                 a size audit, or what it weighs, cannot be read or written
    └── ClaimStoreError              the store refused
        ├── ClaimStoreUnavailable    the store did not answer, or asked to slow down
        └── ClaimTableMissing        the DynamoDB table does not exist
"""

from __future__ import annotations


class ClaimCheckError(Exception):
    """Base of every error raised by `claimcheck`.

    Attributes:
        retryable: Whether the same delivery or call, unchanged, may succeed later.
    """

    retryable: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as it is, for pools of processes: constructors differ."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[ClaimCheckError], args: tuple[object, ...], fields: dict[str, object]
) -> ClaimCheckError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class SettingsInvalid(ClaimCheckError):
    """A setting from the environment, or one given in code, cannot be used."""


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
    """A message looks sealed, but its ticket is malformed or describes another claim."""


class TicketUnsupported(TicketInvalid):
    """The ticket has a version or an encoding that this version does not know."""


class TicketForged(TicketInvalid):
    """The ticket is not signed, or not with a key that is known here."""


class ClaimInProgress(ClaimCheckError):
    """Another delivery of the same message holds the claim.

    Attributes:
        retry_after: Seconds until its lease ends.
    """

    retryable = True

    def __init__(self, text: str, *, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ClaimAlreadyProcessed(ClaimCheckError):
    """The claim is gone before its time: the message was handled, this delivery is a duplicate."""


class ClaimExpired(ClaimCheckError):
    """The claim is gone because its time has passed."""


class ClaimLost(ClaimCheckError):
    """The claim is gone, and whether its message was handled cannot be told."""


class ClaimCorrupted(ClaimCheckError):
    """The claim, or the data in the message, is not what was sealed."""


class RecordUnsupported(ClaimCheckError):
    """A record is of a kind that cannot be given its original body."""


class AuditInvalid(ClaimCheckError):
    """A report of the size audit, or what it is to weigh, cannot be read or written."""


class ClaimStoreError(ClaimCheckError):
    """The store refused an operation."""


class ClaimStoreUnavailable(ClaimStoreError):
    """The store did not answer, or asked to slow down."""

    retryable = True


class ClaimTableMissing(ClaimStoreError):
    """The DynamoDB table does not exist."""

    retryable = True
