"""Receipt handles that carry the hold on a claim, for whoever deletes the message.

    claimcheck-1-<base64url of JSON: the handle of SQS, and a note of the hold>

The handle of SQS is inside the encoding, so nothing in it can be taken for a separator. A message
without a claim keeps its own handle.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from pydantic import BaseModel, ConfigDict, ValidationError

from claimcheck.core.notes import HoldNote
from claimcheck.errors import TicketInvalid

_PREFIX = "claimcheck-1-"
_MOST_CHARACTERS = 16_384


class ClaimHandle(BaseModel):
    """A receipt handle that was made here.

    Attributes:
        handle: SQS's own.
        hold: The note that settles the claim.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    handle: str
    hold: HoldNote

    def __str__(self) -> str:
        """Return the handle that the user gets in place of SQS's own."""
        text = self.model_dump_json(exclude_defaults=True)
        return _PREFIX + urlsafe_b64encode(text.encode()).decode()


def has_claim(handle: object) -> bool:
    """Whether a receipt handle was made here."""
    return isinstance(handle, str) and handle.startswith(_PREFIX)


def read_handle(handle: object) -> ClaimHandle | None:
    """The handle of SQS, and the hold; None if the handle was not made here.

    Raises:
        TicketInvalid: It was made here, and cannot be read.
    """
    if not isinstance(handle, str) or not has_claim(handle):
        return None
    try:
        if len(handle) > _MOST_CHARACTERS:
            raise ValueError
        return ClaimHandle.model_validate_json(urlsafe_b64decode(handle.removeprefix(_PREFIX)))
    except (ValidationError, ValueError):
        # Without its text: it may hold anything.
        raise TicketInvalid(
            f"a receipt handle of {len(handle)} characters begins with {_PREFIX!r} and cannot be "
            "read: it was cut or changed. Nothing was sent to SQS. Give the handle as "
            "receive_message returned it."
        ) from None
