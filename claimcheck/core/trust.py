"""Which messages a claim check trusts: signatures, encryption, and which messages need them.

A sender that has keys signs and encrypts with them. A reader that has keys refuses messages that
were made without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimcheck.core import ticket as tickets
from claimcheck.core.compression import Parts
from claimcheck.core.encryption import Decrypt, Encryption, open_encryption
from claimcheck.core.notes import HoldNote
from claimcheck.core.signing import Signer
from claimcheck.core.ticket import Bound, CarriedTicket, Encrypted, SealedMessage, Ticket
from claimcheck.errors import (
    ClaimCheckError,
    EncryptionKeyMissing,
    EncryptionMissing,
    SettingsInvalid,
    TicketForged,
    TicketInvalid,
)
from letsgo_queue.errors import NO_ID


class Trust:
    """The keys of a claim check. Safe to share between threads.

    Attributes:
        encrypts: Whether messages are encrypted.
    """

    def __init__(
        self,
        *,
        signing_key: str | Sequence[str] | None = None,
        sign_every_message: bool = False,
        encryption: Encryption | str | Sequence[str] | None = None,
    ) -> None:
        """Take the keys; the arguments are those of `ClaimCheck`.

        Raises:
            SettingsInvalid: A key is too short or cannot be used, or `sign_every_message` has no
                key.
        """
        keys = [signing_key] if isinstance(signing_key, str) else signing_key
        self._signer = None if keys is None else Signer(keys)
        if sign_every_message and self._signer is None:
            raise SettingsInvalid(
                "sign_every_message (CLAIMCHECK_SIGN_EVERY_MESSAGE): give a signing_key "
                "(CLAIMCHECK_SIGNING_KEY) to sign them with."
            )
        self._signs_every_message = sign_every_message
        if not isinstance(encryption, Encryption | None):
            encryption = open_encryption(encryption)
        self._encryption = encryption
        self.encrypts = encryption is not None and encryption.encrypts

    @property
    def seals_every_message(self) -> bool:
        """Whether messages of every size are sealed."""
        return self._signs_every_message or self.encrypts

    @property
    def refuses_unsealed(self) -> bool:
        """Whether a message that is not sealed is refused, whatever its size."""
        return self._signs_every_message or self._refuses_plain

    @property
    def _refuses_plain(self) -> bool:
        return self._encryption is not None and not self._encryption.accepts_plain

    @property
    def makes_nonces(self) -> bool:
        """Whether a ticket that carries its data has a nonce."""
        return self._signer is not None or self.encrypts

    def has_own_nonce(self, ticket: CarriedTicket) -> bool:
        """Whether a sender with a key made the nonce of a ticket, and nobody else."""
        return self._signer is not None or ticket.encryption is not None

    def encrypt(self, parts: Parts, bound: Bound) -> Encrypted | None:
        """Put encrypted parts in place of a message's parts, if there is a key.

        Raises:
            EncryptionError: KMS gave no key.
        """
        if self._encryption is None or not self.encrypts:
            return None
        return self._encryption.encrypt(parts, bound)

    def write(self, message_type: str | None, ticket: Ticket) -> bytes:
        """Return the body that travels, signed if there is a key."""
        if self._signer is not None:
            signature = self._signer.sign(message_type, ticket)
            ticket = ticket.model_copy(update={"sig": signature})
        return tickets.write(message_type, ticket)

    def read(
        self, body: str | Mapping[str, Any], *, max_size: int, message_id: str | None
    ) -> SealedMessage | None:
        """Return the ticket in a body, if it can be trusted; None if the body is not sealed.

        Args:
            body: The body; or its fields, if it is sealed and was parsed already.
            max_size: Bytes that a ticket may claim.
            message_id: The message's id, for errors.

        Raises:
            TicketInvalid: The ticket is malformed, or `TicketForged`: it is not signed.
            EncryptionError: It should be encrypted and is not, or its key is not here.
        """
        what = named(message_id)
        try:
            sealed = tickets.read(body, max_size=max_size)
        except TicketInvalid as error:
            raise type(error)(f"{what}: {error}.") from None
        if refusal := self.refusal(sealed, what):
            raise refusal
        return sealed

    def refusal(self, sealed: SealedMessage | None, what: str) -> ClaimCheckError | None:
        """Why a message is not opened; None if it may be.

        Args:
            sealed: The message; None if it is not sealed.
            what: The message, for the error.
        """
        if sealed is None and self._signs_every_message:
            return TicketForged(
                f"{what}: it is not sealed, and so not signed. Every message must be here "
                "(sign_every_message). Where the sender is one of yours, set it there too."
            )
        signer = self._signer
        if sealed and signer and not signer.accepts(sealed.type, sealed.ticket):
            return TicketForged(
                f"{what} of type {sealed.type!r}: its ticket is not signed with a key that this "
                "worker has. Where the sender is one of yours, give both the same signing_key."
            )
        encrypted = None if sealed is None else sealed.ticket.encryption
        if self._refuses_plain and encrypted is None:
            return EncryptionMissing(
                f"{what}: it is not encrypted, and every message must be here "
                "(CLAIMCHECK_ENCRYPTION). Where the sender is one of yours, set it there too, and "
                "enqueue the work again."
            )
        if self._encryption is None and encrypted is not None:
            return EncryptionKeyMissing(
                f"{what}: it is encrypted, and this reader has no key. Give it the sender's "
                "CLAIMCHECK_ENCRYPTION, then redrive the message."
            )
        return None

    def write_note(self, note: HoldNote) -> HoldNote:
        """Return a hold that is written down, signed if there is a key."""
        if self._signer is None:
            return note
        return note.model_copy(update={"sig": self._signer.sign_note(note)})

    def check_note(self, note: HoldNote) -> None:
        """Refuse a hold that was not written down by a process with a key known here.

        Raises:
            TicketForged: It is not signed with a key that is known here.
        """
        if self._signer is not None and not self._signer.accepts_note(note):
            raise TicketForged(
                "a receipt handle is not signed with a key that this process has. Nothing was sent "
                "to SQS. Give the handle as receive_message returned it, and give both processes "
                "the same signing_key."
            )

    def decryption(self, what: str, sealed: SealedMessage) -> Decrypt | None:
        """A function that decrypts a message; None if it is not encrypted. May ask KMS for the key.

        Raises:
            EncryptionError: The key is not here.
        """
        encrypted = sealed.ticket.encryption
        if self._encryption is None or encrypted is None:
            return None
        return self._encryption.decryption(sealed, encrypted, what=what)


def named(message_id: str | None) -> str:
    """A message, for errors."""
    return f"message {message_id or NO_ID}"
