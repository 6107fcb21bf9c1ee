"""The claim check itself, for any queue that carries text.

seal    makes a body small enough for the queue: see `sealing`

open    acquires the claim, so that it is gone for everyone else, and gives the body
        ├── complete   the work is done
        ├── release    the work failed: the claim is back
        └── neither    a crash: the lease runs out, and the next delivery acquires

`life` has the states of a claim, `ticket` the message that travels in place of the payload, and
`trust` decides which tickets are opened.
"""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Literal, TypeAlias, Unpack, get_args

from claimcheck.core import asynchronous
from claimcheck.core.asynchronous import OpenOptions, SealOptions
from claimcheck.core.aws_pointers import AwsPointers, pointer_name
from claimcheck.core.encryption import Decrypt, Encryption
from claimcheck.core.holds import LONGEST_LEASE_SECONDS, Hold
from claimcheck.core.life import (
    Purge,
    acquire_claim,
    acquire_record,
    check_lease,
    check_purge,
    hand_over,
    keep_here,
    record_of,
)
from claimcheck.core.notes import HoldNote
from claimcheck.core.opened import Opened, unpack, unpack_carried
from claimcheck.core.sealing import ID_BYTES, AskQueue, Sealed, Sealer
from claimcheck.core.store_choice import ChooseStore, Stores
from claimcheck.core.ticket import CarriedTicket, SealedMessage, StoredTicket
from claimcheck.core.trust import Trust, named
from claimcheck.errors import ConsumerUnknown, EncryptionError, SettingsInvalid, TicketInvalid
from claimcheck.stores.base import ClaimStore, Lease, record_key, url_of_label
from letsgo_queue.aws_pointers import is_aws_pointer
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.tracing import step
from letsgo_queue.validation import check_number

DEFAULT_THRESHOLD = 250_000
"""Bytes up to which a message travels untouched; under the 262,144 that every SQS queue takes."""

DEFAULT_MAX_SIZE = 64 * 1024 * 1024
DEFAULT_LEASE_SECONDS = 120


Write: TypeAlias = Literal["ticket", "aws-pointer"]
"""How a stored message travels: as a ticket, or as a pointer of AWS's clients."""


def new_lease_id() -> str:
    """An id for the lease of one delivery, which nobody can guess."""
    return secrets.token_urlsafe(ID_BYTES)


class ClaimCheck:
    """Seals bodies and opens them again. Safe to share between threads."""

    def __init__(
        self,
        store: ClaimStore,
        *,
        stores: Mapping[str, ClaimStore | str] | ChooseStore | None = None,
        read_stores: Iterable[ClaimStore | str] = (),
        threshold: int | Literal["auto"] = DEFAULT_THRESHOLD,
        inline_limit: int | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        purge: Purge = "after",
        lease_seconds: Duration = DEFAULT_LEASE_SECONDS,
        signing_key: str | Sequence[str] | None = None,
        sign_every_message: bool = False,
        encryption: Encryption | str | Sequence[str] | None = None,
        aws_pointers: AwsPointers | Iterable[str] | None = None,
        write: Write = "ticket",
    ) -> None:
        """Make a claim check.

        Args:
            store: Where claims are kept, and the records of `once`.
            stores: Where the claims of some messages are kept instead: a mapping of patterns of
                types (`video:*`) to stores or their URLs, of which the first that fits counts; or
                a function that takes a `MessageToStore` and returns one of `read_stores`, or None.
            read_stores: More stores, or their URLs, where claims may be. The label in a ticket
                picks one of them.
            threshold: Bytes of body and attributes up to which a message travels untouched, if the
                queue accepts as many. `auto`: 64 KB, and more where AWS bills that least.
            inline_limit: Bytes that the queue accepts, instead of asking it.
            max_size: Bytes that a body may have, sealed or opened.
            purge: When contents are removed. `before`: a handler that fails brings them back, a
                process that is killed loses them. `never`: they expire, which DynamoDB does not
                bill.
            lease_seconds: How long a claim is held if the delivery does not say: seconds, or a
                timedelta; 14 days at most.
            signing_key: Signs tickets, and refuses those that are not signed: one key, or several
                of which the first signs and all are accepted. At least 16 bytes each.
            sign_every_message: Whether messages of every size are sealed, and so signed, and those
                that are not sealed refused: for queues that others can write to.
            encryption: Seals messages of every size and encrypts them, and refuses those that are
                not encrypted: `kms://KEY` or `aes256:BASE64`, or the result of `open_encryption`.
                Of several keys the first encrypts, and all decrypt.
            aws_pointers: Buckets: the pointers of AWS's extended clients to these are opened too.
            write: How a large message travels: as a `ticket`, or as an `aws-pointer` to the first
                of these buckets, for readers that have AWS's client.

        Raises:
            SettingsInvalid: A number is out of range, `purge` is not known, a store or its
                URL cannot be used, a key is too short, `sign_every_message` has no key, or
                `encryption` cannot be used.
        """
        self.stores = Stores(store, by_message=stores, read_from=read_stores)
        self._lease_seconds = seconds_in(lease_seconds, "lease_seconds", SettingsInvalid)
        numbers = {"max_size": max_size, "lease_seconds": self._lease_seconds}
        if threshold != "auto":
            numbers["threshold"] = threshold
        if inline_limit is not None:
            numbers["inline_limit"] = inline_limit
        for name, value in numbers.items():
            check_number(name, value, whole=name != "lease_seconds")
            if not 0 < value < math.inf:
                raise SettingsInvalid(f"{name}={value:.15g}: give a number above 0.")
        if self._lease_seconds > LONGEST_LEASE_SECONDS:
            raise SettingsInvalid(
                f"lease_seconds={self._lease_seconds:.15g}: a claim is held for "
                f"{LONGEST_LEASE_SECONDS:,} seconds (14 days) at most."
            )
        check_purge(purge)
        self.store = store
        self._max_size = max_size
        self.purge = purge
        self._trust = Trust(
            signing_key=signing_key, sign_every_message=sign_every_message, encryption=encryption
        )
        if not isinstance(aws_pointers, AwsPointers | None):
            aws_pointers = AwsPointers(aws_pointers)
        self._aws_pointers = aws_pointers
        if write not in get_args(Write):
            raise SettingsInvalid(f"write={write!r}: give 'ticket' or 'aws-pointer'.")
        if write == "aws-pointer" and (aws_pointers is None or self._trust.makes_nonces):
            raise SettingsInvalid(
                "write='aws-pointer' (CLAIMCHECK_WRITE): name a bucket in aws_pointers "
                "(CLAIMCHECK_AWS_POINTERS), and leave encryption and signing out, which pointers "
                "do not have."
            )
        self.write = write
        self._sealer = Sealer(
            self.stores,
            self._trust,
            threshold=threshold,
            inline_limit=inline_limit,
            max_size=max_size,
            write_pointer=(
                aws_pointers.write if aws_pointers is not None and write == "aws-pointer" else None
            ),
        )

    def kept_in(self, store: ClaimStore) -> ClaimCheck:
        """The same claim check, with all claims in another store: for tests.

        Args:
            store: Where claims are kept, whatever their type.
        """
        other = copy.copy(self)
        other.store = store
        other.stores = Stores(store)
        other._sealer = self._sealer.writing_to(other.stores)
        return other

    def opens_pointer(self, body: str) -> bool:
        """Whether a body is a pointer of AWS's clients, and this claim check opens those."""
        return self._aws_pointers is not None and is_aws_pointer(body)

    @property
    def refuses_unsealed(self) -> bool:
        """Whether a message that is not sealed is refused, whatever its size."""
        return self._trust.refuses_unsealed

    def seal(
        self,
        body: str | bytes,
        *,
        type: str | None = None,
        attributes_size: int = 0,
        queue_limit: AskQueue | None = None,
        delay_seconds: float = 0,
        shared: bool = False,
        room: int | None = None,
    ) -> Sealed:
        """Make a body small enough for the queue.

        Args:
            body: Any text; bytes are taken as UTF-8.
            type: The message's type, for errors; the type in the body travels.
            attributes_size: Bytes of the message attributes, which count as well.
            queue_limit: Asks the queue how many bytes it accepts; None if it will not say. Called
                only if the answer decides.
            delay_seconds: Seconds until the message can be received. Its claim lives that much
                longer.
            shared: Whether several queues get the message, and each is to handle it: through a
                topic of SNS, or rules of EventBridge. Nobody removes the contents, which expire.
            room: Bytes left for it, attributes included, in a batch of messages that fit the queue
                one by one but not together.

        Raises:
            BodyInvalid: Empty, not text, or of another type than given.
            BodyTooLarge: Over `max_size`.
            MessageTooLarge: The attributes leave no room for a ticket; only the body is stored.
            ClaimStoreError: The claim could not be written; nothing is left of it.
            EncryptionKeyRefused: KMS gave no key; nothing was written.
        """
        return self._sealer.seal(
            body,
            type=type,
            attributes_size=attributes_size,
            queue_limit=queue_limit,
            delay_seconds=delay_seconds,
            shared=shared,
            room=room,
        )

    def leaves_alone(self, body: str, *, attributes_size: int = 0) -> bool:
        """Whether `seal` certainly returns a small body as it is; quicker than `seal` itself.

        Args:
            body: Any text.
            attributes_size: Bytes of the message attributes.
        """
        return self._sealer.leaves_alone(body, attributes_size=attributes_size)

    def discard(self, sealed: Sealed) -> None:
        """Remove what sealing stored, for a body that was not sent.

        Raises:
            ClaimStoreError: It could not be removed; it expires.
        """
        if sealed.pointer is not None and self._aws_pointers is not None:
            self._aws_pointers.discard(sealed.pointer)
        if sealed.store is not None and sealed.claim_id is not None:
            sealed.store.remove(sealed.claim_id, sealed.parts)

    def close(self) -> None:
        """Close its stores, also stores that the caller made; see `ClaimStore.close`."""
        self.stores.close()
        if self._aws_pointers is not None:
            self._aws_pointers.close()

    def open(
        self,
        body: str,
        *,
        message_id: str | None = None,
        lease_id: str | None = None,
        lease_seconds: float | None = None,
        purge: Purge | None = None,
        once: str | None = None,
        consumer: str | None = None,
        fields: Mapping[str, Any] | None = None,
        made_here: bool = False,
    ) -> Opened:
        """Give back the body that was sealed, and acquire its claim.

            with claim_check.open(body, message_id=message_id) as opened:
                handle(opened.body)

        The claim is completed when the block ends, and released when it raises. `Opened` can also
        be used without a block.

        Args:
            body: The body from the queue, sealed or not.
            message_id: The message's id, for errors.
            lease_id: The id of the lease: at least 128 random bits, by default new ones. Give the
                same again only where the try before ended with a `ClaimStoreError` that is
                `acquiring`: that try may have acquired the claim.
            lease_seconds: How long the message stays invisible, and so how long its claim is held,
                up to 14 days. By default, or if that time has passed, the claim check's own.
            purge: In place of the claim check's own. Contents that several queues need are not
                removed.
            once: A key for this message, the same for each of its deliveries. A message without a
                claim then gets a record under this key, so that its handler does not run again
                after it succeeded. A message with a claim has a record anyway. The record of a
                message that carries its contents, signed or encrypted, is under its nonce: so a
                copy is a duplicate too.
            consumer: Names the queue, the same for each delivery from it. A message that was sealed
                with `shared` is handled once for each name.
            fields: The result of `letsgo_queue.envelope.sealed_fields` for the body, if the caller
                has it: a long ticket is then parsed once.
            made_here: Whether this process made the message, as with a tick of a schedule: it need
                not be sealed.

        Raises:
            TicketInvalid: It is sealed, but its ticket is malformed or does not fit it.
            ClaimInProgress: Another delivery holds the claim.
            ClaimAlreadyProcessed: The message was handled; this is a duplicate.
            ClaimMissing: The store has nothing of the claim.
            ClaimLost: The contents were removed before a handler that did not finish.
            ConsumerUnknown: The message is shared, and there is no `consumer`.
            ClaimCorrupted: The bytes are not those that were sealed; the claim is released.
            ClaimStoreError: The store refused, or did not answer.
            EncryptionError: It should be encrypted and is not, or its key is not here; nothing was
                acquired.
        """
        sealed = None if made_here else self._read(body if fields is None else fields, message_id)
        pointed = sealed is None and not made_here and self.opens_pointer(body)
        if sealed is None and once is None and not pointed:
            return Opened(body, "inline")  # most messages: random bytes for a lease would cost more
        lease = Lease(
            lease_id or new_lease_id(),
            # A lease that has ended already would keep no other delivery away.
            min(lease_seconds, LONGEST_LEASE_SECONDS)
            if lease_seconds and lease_seconds > 0
            else self._lease_seconds,
        )
        what = named(message_id)
        if pointed:
            return self._open_pointer(
                what, body, lease=lease, message_id=message_id, consumer=consumer
            )
        decrypt = None
        if sealed is not None:
            what += f" of type {sealed.type!r}"
            decrypt = self._trust.decryption(what, sealed)
            if isinstance(sealed.ticket, StoredTicket):
                return self._open_stored(
                    what,
                    sealed,
                    sealed.ticket,
                    lease=lease,
                    purge=purge or self.purge,
                    consumer=consumer,
                    decrypt=decrypt,
                )
        hold = None
        if once is not None:
            key = self._once_key(sealed, consumer, what) or once
            hold = acquire_record(self.store, key, lease, what=what)
        if sealed is None or not isinstance(sealed.ticket, CarriedTicket):
            return Opened(body, "inline", hold=hold)
        try:
            with step("open"):
                text = unpack_carried(what, sealed, sealed.ticket, decrypt)
            if hold is not None:
                check_lease(hold, what)
        except BaseException:
            if hold is not None:
                hold.settle(succeeded=False)
            raise
        return Opened(text, "compressed", size=sealed.ticket.size, hold=hold)

    def write_down(self, opened: Opened) -> HoldNote | None:
        """Return a note by which another process can settle a message (`take_up`).

        It is signed, if there is a signing key.

        Raises:
            SettingsInvalid: No other process can (`purge="before"`).
        """
        note = opened.note()
        return None if note is None else self._trust.write_note(note)

    def take_up(self, note: HoldNote) -> Hold:
        """Return the hold that another process wrote down (`write_down`), to settle it here.

        Raises:
            TicketForged: This claim check has a signing key, and the note is not signed with it.
            SettingsInvalid: This claim check has no store of that name.
            ClaimStoreError: A store that moved was asked, and refused or did not answer.
        """
        self._trust.check_note(note)
        if not self.stores.has(note.store):
            raise SettingsInvalid(
                f"the claim of this message is in {url_of_label(note.store)}, and this process has "
                f"{' and '.join(self.stores.names)}. Give it the CLAIMCHECK_STORE of the process "
                "that received the message."
            )
        store = self.stores.with_label(note.store)
        if note.pointer is None:
            return note.hold_in(store)
        if self._aws_pointers is None:
            raise SettingsInvalid(
                "the message came as a pointer of AWS's client, and this process opens none. Give "
                "it the CLAIMCHECK_AWS_POINTERS of the process that received the message."
            )
        return self._aws_pointers.hold(
            store, note.key, note.taken_up, note.pointer, message_id=note.message_id
        )

    async def aseal(self, body: str | bytes, **options: Unpack[SealOptions]) -> Sealed:
        """`seal` for asyncio, on a thread of the library's own.

        A task that is cancelled waits until it is sealed, and removes what was stored.
        """
        return await asynchronous.seal(partial(self.seal, body, **options), self.discard)

    async def adiscard(self, sealed: Sealed) -> None:
        """`discard` for asyncio, on a thread of the library's own."""
        await asynchronous.discard(partial(self.discard, sealed))

    def aopen(
        self, body: str, **options: Unpack[OpenOptions]
    ) -> AbstractAsyncContextManager[Opened]:
        """`open` for asyncio, as an async context manager, on threads of the library's own.

            async with claim_check.aopen(body, message_id=message_id) as opened:
                await handle(opened.body)

        It completes the claim when the block ends, and releases it when the block raises or its
        task is cancelled.
        """
        return asynchronous.opened(partial(self.open, body, **options))

    def opened_size(self, body: str | Mapping[str, Any]) -> int:
        """Bytes of the body that `open` would give back, as the ticket says; 0 if it is not sealed.

        Args:
            body: The body from the queue; or its fields, if it is sealed and was parsed already.
        """
        try:
            sealed = self._read(body, None)
        except (TicketInvalid, EncryptionError):
            return 0
        return 0 if sealed is None else sealed.ticket.size

    def _read(self, body: str | Mapping[str, Any], message_id: str | None) -> SealedMessage | None:
        return self._trust.read(body, max_size=self._max_size, message_id=message_id)

    def _once_key(
        self, sealed: SealedMessage | None, consumer: str | None, what: str
    ) -> str | None:
        """Return the key of the record of a carried ticket, by its nonce; None if it gets none."""
        ticket = None if sealed is None else sealed.ticket
        if not isinstance(ticket, CarriedTicket) or not self._trust.has_own_nonce(ticket):
            return None
        if ticket.nonce is None:
            return None
        return record_of(f"once/{ticket.nonce}", ticket, consumer, what=what)

    def _open_pointer(
        self,
        what: str,
        body: str,
        *,
        lease: Lease,
        message_id: str | None,
        consumer: str | None,
    ) -> Opened:
        pointers = self._aws_pointers
        pointer = None if pointers is None else pointers.read(body, what=what)
        assert pointers is not None
        assert pointer is not None
        if not consumer:
            raise ConsumerUnknown(
                f"{what} is a pointer of AWS's client, which may have gone to several queues, and "
                "nothing says which of them it came from. Each has a record of its own. Tell which "
                "queue it is: the record's eventSourceARN, or ClaimCheck.open(consumer=...)."
            )
        key = record_key(pointer_name(pointer, message_id), consumer)
        acquire_record(self.store, key, lease, what=what)
        hold = pointers.hold(self.store, key, lease, pointer, message_id=message_id)
        try:
            with step("open"):
                text = pointers.text_of(pointer, most=self._max_size, what=what)
            check_lease(hold, what)
        except BaseException:
            hold.settle(succeeded=False)
            raise
        return Opened(text, "stored", hold=hold)

    def _open_stored(
        self,
        what: str,
        sealed: SealedMessage,
        ticket: StoredTicket,
        *,
        lease: Lease,
        purge: Purge,
        consumer: str | None,
        decrypt: Decrypt | None,
    ) -> Opened:
        what = f"{what} (claim {ticket.id})"
        if ticket.shared and purge == "before":
            purge = "never"  # another queue may need the contents
        claim, parts = acquire_claim(
            self.stores, ticket, lease, what=what, purge=purge, consumer=consumer
        )
        # Each part may be freed once it is read, unless it may have to be written again.
        kept = None
        if purge == "before" or claim.taken_over:
            kept = keep_here(claim, sealed.type, ticket, [*parts])
        hold: Hold = kept if kept is not None and claim.taken_over else claim
        try:
            with step("open"):
                text = unpack(what, sealed, parts, decrypt)
            check_lease(hold, what)  # a large body takes its time
        except BaseException:
            hold.settle(succeeded=False)
            raise
        if kept is not None and purge == "before":
            hand_over(kept, what=what)
            hold = kept
        return Opened(text, "stored", size=ticket.size, claim_id=ticket.id, hold=hold)
