"""Signed tickets: HMAC-SHA-256 over a ticket's fields and the message's type.

For queues that others may write to. A worker that has a key refuses a ticket without a signature,
or with one of another key. A signature says who made the ticket. Messages that travel inline carry
none, so anybody who can write to the queue can still send those.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic_core import to_json

from claimcheck.core.ticket import Ticket
from claimcheck.errors import SettingsInvalid

if TYPE_CHECKING:
    from claimcheck.core.notes import HoldNote

MIN_KEY_BYTES = 16


class Signer:
    """Signs with the first of its keys, and accepts the signature of any: that is rotation."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys.

        Raises:
            SettingsInvalid: There is no key, or a key is shorter than 16 bytes, or not text.
        """
        try:
            self._keys = [key.encode() for key in keys]
        except (AttributeError, TypeError):
            raise SettingsInvalid("signing_key: give a key as text, or a list of them.") from None
        except UnicodeEncodeError:  # it has the key in it
            raise SettingsInvalid("signing_key: a key is not text; write it as hex.") from None
        if not self._keys or min(map(len, self._keys)) < MIN_KEY_BYTES:
            raise SettingsInvalid(
                "signing_key (CLAIMCHECK_SIGNING_KEY): give one or several keys of at least "
                f"{MIN_KEY_BYTES} bytes each."
            )

    def sign(self, message_type: str | None, ticket: Ticket) -> str:
        """The signature of a ticket, in hex."""
        return _signature(self._keys[0], message_type, ticket)

    def accepts(self, message_type: str | None, ticket: Ticket) -> bool:
        """Whether a ticket carries the signature of one of the keys."""
        given = ticket.sig or ""
        return any(
            hmac.compare_digest(given, _signature(key, message_type, ticket)) for key in self._keys
        )

    def sign_note(self, note: HoldNote) -> str:
        """The signature of a hold that is written down, in hex."""
        return _signature_of_note(self._keys[0], note)

    def accepts_note(self, note: HoldNote) -> bool:
        """Whether a hold that was written down carries the signature of one of the keys."""
        given = note.sig or ""
        return any(hmac.compare_digest(given, _signature_of_note(key, note)) for key in self._keys)


def _signature(key: bytes, message_type: str | None, ticket: Ticket) -> str:
    # The ticket's SHA-256 stands for the data that it may carry.
    fields = ticket.model_dump(exclude={"sig", "data"}, exclude_none=True)
    signed = to_json([message_type, sorted(fields.items())])
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def _signature_of_note(key: bytes, note: HoldNote) -> str:
    # Three values are signed here, and two of a ticket: so neither can stand for the other.
    fields = note.model_dump(exclude={"sig"}, exclude_none=True)
    signed = to_json(["hold", 1, sorted(fields.items())])
    return hmac.new(key, signed, hashlib.sha256).hexdigest()
