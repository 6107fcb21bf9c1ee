"""A hold that is written down, so that another process can settle it.

A client of SQS hands out receipt handles. Any process that has one may delete the message, and so
must be able to complete its claim. A note gives no access: it names a store by its label, and a
record by its key and lease.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from claimcheck.core.aws_pointers import PointerHold
from claimcheck.core.holds import ClaimHold, HandedOverHold, Hold
from claimcheck.errors import SettingsInvalid
from claimcheck.stores.base import ClaimStore, Lease
from letsgo_queue.aws_pointers import AwsPointer

_LEASE_SECONDS = 30.0
"""How long the process that settles it assumes the lease to last, and tries for a receipt."""


class HoldNote(BaseModel):
    """A note with which another process can settle a claim.

    Attributes:
        store: The label of the store that has the record.
        key: The record.
        lease: The id that it is held with.
        parts: How many parts the contents have; 0 if there are none.
        stored: Bytes of all parts.
        keep: Whether the contents stay until they expire.
        moved: Whether they are in another place than the store writes contents to now.
        expires: When they expire (seconds since 1970).
        bucket: The bucket that a pointer of AWS's clients names.
        object: The key that it names.
        message_id: The id of the message that was the pointer.
        sig: The signature, if the process that wrote it has a signing key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    store: str = Field(pattern=r"^[\x20-\x7e]{1,200}$")
    key: str = Field(min_length=1, max_length=2_000)
    lease: str = Field(pattern=r"^[\x21-\x7e]{16,200}$")
    parts: int = Field(default=0, ge=0, le=100_000)
    stored: int = Field(default=0, ge=0)
    keep: bool = False
    moved: bool = False
    expires: int | None = None
    bucket: str | None = None
    object: str = ""
    message_id: str | None = None
    sig: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, hold: Hold) -> Self:
        """Write a hold down.

        Raises:
            SettingsInvalid: The contents are in this process only (`purge="before"`), and no other
                can bring them back.
        """
        if isinstance(hold, HandedOverHold):
            if hold.removed:
                raise SettingsInvalid(
                    "purge='before' keeps the contents in the process that received the message, "
                    "and another may have to bring them back. Use purge='after' or 'never' here."
                )
            hold = hold.claim
        record = cls(store=hold.store.label, key=hold.key, lease=hold.lease.id)
        if isinstance(hold, PointerHold):
            place = {
                "bucket": hold.pointer.bucket,
                "object": hold.pointer.key,
                "message_id": hold.message_id,
            }
            return record.model_copy(update=place)
        if not isinstance(hold, ClaimHold):
            return record
        return record.model_copy(
            update={
                "parts": hold.named.parts,
                "stored": hold.named.stored,
                "keep": hold.keep,
                "moved": hold.kept_in is not hold.store,
                "expires": hold.expires_at,
            }
        )

    @property
    def id(self) -> str:
        """The claim id, from the key: so a lease on one claim cannot name another's contents."""
        return self.key.partition("@")[0]

    @property
    def pointer(self) -> AwsPointer | None:
        """The pointer that a message of AWS's clients was."""
        return None if self.bucket is None else AwsPointer(self.bucket, self.object)

    @property
    def taken_up(self) -> Lease:
        """The lease, for the process that takes it up."""
        return Lease(self.lease, _LEASE_SECONDS)

    def hold_in(self, store: ClaimStore) -> Hold:
        """The hold that was written down.

        Args:
            store: The store that `store` names.

        Raises:
            ClaimStoreError: The contents were moved, and the store refused, or did not answer.
        """
        if not self.parts:
            return Hold(store, self.key, self.taken_up)
        hold = ClaimHold(store, self.key, self.taken_up, self, keep=self.keep)
        hold.expires_at = self.expires
        if self.moved and (contents := hold.read().result()) is not None:
            hold.note(contents)
        return hold
