"""Sealing and opening: the claim check itself, for any queue that carries text.

seal    up to threshold ─────────────────────────> inline       as it is
        compressed, if the queue takes that ─────> compressed   the ticket carries it
        else ────────────────────────────────────> stored       the ticket has its key

        What the queue does not take is over the threshold, whatever that is. What a ticket would
        only make larger goes inline, where the queue takes it. With `threshold="auto"` the bill
        decides instead: see `cheapest`.

open    acquires the claim, so that it is gone for everyone else, and gives the body
        ├── complete   the work is done
        ├── release    the work failed: the claim is back
        └── neither    a crash: the lease runs out, and the next delivery acquires

`life` tells what becomes of a claim, `ticket` what travels in place of the payload.
"""

from __future__ import annotations

import codecs
import math
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from claimcheck.core import ticket as tickets
from claimcheck.core.compression import Encoding, Parts, encode, recut, size_of
from claimcheck.core.cost import SQS_UNIT_BYTES
from claimcheck.core.encryption import Decrypt, Encryption, open_encryption
from claimcheck.core.holds import Hold, expiry_from
from claimcheck.core.life import (
    Purge,
    acquire_claim,
    acquire_record,
    check_purge,
    hand_over,
    record_key,
    sha256_of,
)
from claimcheck.core.opened import Opened, Route, unpack, unpack_carried
from claimcheck.core.signing import Signer
from claimcheck.core.store_choice import ChooseStore, MessageToStore, Stores
from claimcheck.core.ticket import (
    Bound,
    CarriedTicket,
    Encrypted,
    SealedMessage,
    StoredTicket,
    Ticket,
)
from claimcheck.errors import (
    BodyInvalid,
    BodyTooLarge,
    EncryptionError,
    EncryptionKeyMissing,
    EncryptionMissing,
    SettingsInvalid,
    TicketForged,
    TicketInvalid,
)
from claimcheck.stores.base import ClaimFacts, ClaimStore, Lease
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.envelope import is_sealed, type_in
from letsgo_queue.errors import NO_ID, MessageTooLarge
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.validation import check_number

DEFAULT_THRESHOLD = 250_000
"""Bytes up to which a message travels untouched; under the 262,144 that every SQS queue takes."""

DEFAULT_MAX_SIZE = 64 * 1024 * 1024
DEFAULT_LEASE_SECONDS = 120

_ID_BYTES = 18  # 144 bits, 24 characters
_CHECKED_AT_ONCE = 65_536
_PIECE_BYTES = 8 * 1024 * 1024
"""Bytes of a piece, for a store that keeps contents as one part."""

_MOST_AROUND_DATA = 400
"""Bytes of a ticket beside the data it carries, with a signature and a type of usual length."""

_MOST_AROUND_ENCRYPTED = 1_000
"""The same, with a key that KMS has wrapped."""

_WORTH_ASKING_BYTES = SQS_UNIT_BYTES
"""From here on the queue is asked what it accepts: SQS bills such a message as several requests."""


def new_lease_id() -> str:
    """An id for the lease of one delivery; nobody guesses it."""
    return secrets.token_urlsafe(_ID_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A body, ready to travel.

    Attributes:
        body: What goes on the queue, as UTF-8.
        route: Which way it goes.
        size: Bytes of the body as given.
        claim_id: The claim in the store; None unless stored.
        parts: Parts in the store.
        stored: Bytes in the store.
        store: Where its claim is; None unless stored.
    """

    body: bytes = field(repr=False)
    route: Route
    size: int
    claim_id: str | None = None
    parts: int = 0
    stored: int = 0
    store: ClaimStore | None = field(default=None, repr=False, compare=False)


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
    ) -> None:
        """Make a claim check.

        Args:
            store: Where claims are kept, and the records of `once`.
            stores: Where the claims of some messages are kept instead: a mapping of patterns of
                types (`video:*`) to stores or their URLs, of which the first that fits counts; or
                a function of a `MessageToStore` that gives one of `read_stores`, or None.
            read_stores: More stores, or their URLs, where claims may be. The label in a ticket
                tells in which of those that are given here.
            threshold: Bytes of body and attributes up to which a message travels untouched, if the
                queue accepts as many. `auto`: 64 KB, and more where AWS bills that least.
            inline_limit: Bytes that the queue accepts, instead of asking it.
            max_size: Bytes that a body may have, sealed or opened.
            purge: When contents are removed. `before`: a handler that fails brings them back, a
                process that is killed loses them. `never`: they expire, which DynamoDB does not
                bill.
            lease_seconds: How long a claim is held where the delivery does not say: seconds, or a
                timedelta.
            signing_key: Signs tickets, and refuses those that are not signed: one key, or several
                of which the first signs and all are accepted. At least 16 bytes each.
            sign_every_message: Whether messages of every size are sealed, and so signed, and those
                that are not sealed refused: for queues that others can write to.
            encryption: Seals messages of every size and encrypts them, and refuses those that are
                not encrypted: `kms://KEY` or `aes256:BASE64`, several of which the first encrypts
                and all decrypt, or what `open_encryption` makes.

        Raises:
            SettingsInvalid: A number is not positive, `purge` is not known, a store or its
                URL is none, a key is too short, there is none to sign every message with, or
                `encryption` cannot be used.
        """
        self.stores = Stores(store, by_message=stores, read_from=read_stores)
        self._lease_seconds = seconds_in(lease_seconds, "lease_seconds", SettingsInvalid)
        self._goes_by_the_bill = threshold == "auto"
        if threshold == "auto":
            threshold = SQS_UNIT_BYTES
        numbers = {
            "threshold": threshold,
            "max_size": max_size,
            "lease_seconds": self._lease_seconds,
        }
        if inline_limit is not None:
            numbers["inline_limit"] = inline_limit
        for name, value in numbers.items():
            check_number(name, value, whole=name != "lease_seconds")
            if not 0 < value < math.inf:
                raise SettingsInvalid(f"{name}={value:.15g}: give a number above 0.")
        check_purge(purge)
        self.store = store
        self._threshold = threshold
        self._inline_limit = inline_limit
        self._max_size = max_size
        self._purge = purge
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
        self._most_around_data = _MOST_AROUND_ENCRYPTED if encryption else _MOST_AROUND_DATA

    @property
    def seals_every_message(self) -> bool:
        """Whether messages of every size are sealed, and those that are not are refused."""
        return self._signs_every_message or self._encryption is not None

    def seal(
        self,
        body: str | bytes,
        *,
        type: str | None = None,
        attributes_size: int = 0,
        queue_limit: Callable[[], int | None] | None = None,
        delay_seconds: float = 0,
    ) -> Sealed:
        """Make a body small enough for the queue.

        Args:
            body: Any text; bytes are taken as UTF-8.
            type: The message's type, for errors; what travels is the one in the body.
            attributes_size: Bytes of the message attributes, which count as well.
            queue_limit: Asks the queue how many bytes it accepts (None: it will not say); called
                only where that decides.
            delay_seconds: Seconds until the message can be received; its claim lives longer by so
                much.

        Raises:
            BodyInvalid: Empty, not text, or of another type than given.
            BodyTooLarge: Over `max_size`.
            MessageTooLarge: The attributes leave no room for a ticket; only the body is stored.
            ClaimStoreError: The claim could not be written; nothing is left of it.
            EncryptionKeyRefused: KMS gave no key; nothing was written.
        """
        data = _to_bytes(body)
        if len(data) > self._max_size:
            raise BodyTooLarge(
                f"message of type {type!r} is {len(data):,} bytes; max_size allows "
                f"{self._max_size:,}. Raise max_size on both sides, or send less.",
                size=len(data),
                limit=self._max_size,
            )
        size = len(data)
        inline = Sealed(body=data, route="inline", size=size)
        # What already looks sealed is sealed again: opening gives back exactly what was given.
        must_seal = self.seals_every_message or is_sealed(data)
        if not must_seal and self._is_small(size + attributes_size, queue_limit):
            return inline
        inside = type_in(data)
        if type not in {None, inside}:
            raise BodyInvalid(
                f"the body is to be sealed as a message of type {type!r} but says {inside!r}: "
                "the reader would refuse it. Leave the type out."
            )
        limit = self._limit(queue_limit) - attributes_size
        if not must_seal and size <= min(limit, _MOST_AROUND_DATA):
            return inline
        if attributes_size and limit < self._most_around_data:
            raise MessageTooLarge(
                f"message of type {type!r}: its attributes are {attributes_size:,} bytes, and the "
                f"queue accepts {limit + attributes_size:,} with the body. Only the body can be "
                "stored: move what is in the attributes into the payload.",
                size=size + attributes_size,
                limit=limit + attributes_size,
            )
        part_bytes = self.store.part_bytes
        encoding, parts = encode(
            data, part_bytes=part_bytes or _PIECE_BYTES, aim=self._carried_bytes(limit)
        )
        stored = size_of(parts)
        to_store = MessageToStore(type=inside, size=size, stored=stored)
        carried_size = _base64_size(stored) + _MOST_AROUND_DATA
        may_be_inline = size <= limit and not must_seal
        least = min(size, carried_size) if may_be_inline else carried_size
        may_be_sent = not self._is_better_stored(least + attributes_size, to_store)
        may_be_inline = may_be_inline and may_be_sent
        if may_be_inline and not self._is_better_carried(size, carried_size, attributes_size):
            return inline
        if may_be_sent and _base64_size(stored) <= limit:
            carried = self._carry(inside, encoding, size, parts)
            if len(carried) <= limit:
                return Sealed(body=carried, route="compressed", size=size)
        store = self.stores.for_message(to_store)
        parts = recut(parts, store.part_bytes, was=part_bytes)
        facts = ClaimFacts(
            id=secrets.token_urlsafe(_ID_BYTES),
            type=inside,
            parts=len(parts) if store.part_bytes else 1,
            size=size,
            stored=stored,
            created_at=int(store.now()),
            expires_at=expiry_from(store.now() + delay_seconds),
        )
        encrypted = self._encrypt(parts, Bound("stored", facts.id, encoding, size, inside))
        ticket = StoredTicket(
            v=tickets.VERSION,
            encoding=encoding,
            size=size,
            sha256=sha256_of(parts),
            encryption=encrypted,
            id=facts.id,
            parts=facts.parts,
            stored=stored,
            expires=facts.expires_at,
            store=store.label,
        )
        store.write(facts, parts)
        return Sealed(
            body=self._write(inside, ticket),
            route="stored",
            size=size,
            claim_id=facts.id,
            parts=facts.parts,
            stored=stored,
            store=store,
        )

    def discard(self, sealed: Sealed) -> None:
        """Remove what sealing stored, for a body that was not sent.

        Raises:
            ClaimStoreError: It could not be removed; it expires.
        """
        if sealed.store is not None and sealed.claim_id is not None:
            sealed.store.remove(sealed.claim_id, sealed.parts)

    def close(self) -> None:
        """Close its stores, also those that it was given; see `ClaimStore.close`."""
        self.stores.close()

    def open(
        self,
        body: str,
        *,
        message_id: str | None = None,
        lease_id: str | None = None,
        lease_seconds: float | None = None,
        purge: Purge | None = None,
        once: str | None = None,
        fields: Mapping[str, Any] | None = None,
        made_here: bool = False,
    ) -> Opened:
        """Give back the body that was sealed, and acquire its claim.

        Args:
            body: What came from the queue, sealed or not.
            message_id: The message's id, for errors.
            lease_id: What this delivery holds the claim with, the same for each try of one
                delivery; by default a new one. At least 128 random bits.
            lease_seconds: How long the message stays invisible, and so how long its claim is held.
                By default, or where that has passed, the claim check's own.
            purge: In place of the claim check's own.
            once: A key for this message, the same for each of its deliveries: a message without a
                claim then gets a record under it, so that its handler does not run again after it
                succeeded. A message with a claim has a record anyway. A message that carries
                its contents, and is signed or encrypted, has it under its nonce, so that a copy is
                a duplicate too.
            fields: What `letsgo_queue.envelope.sealed_fields` found in the body, where the caller
                has asked already: a long ticket is then parsed once.
            made_here: Whether this process made the message, as a tick of a schedule. It is taken
                as it is: nobody has sealed it.

        Raises:
            TicketInvalid: It is sealed, but its ticket is malformed or does not fit it.
            ClaimInProgress: Another delivery holds the claim.
            ClaimAlreadyProcessed: The message was handled; this is a duplicate.
            ClaimMissing: The store has nothing of the claim.
            ClaimLost: The contents were removed before a handler that did not finish.
            ClaimCorrupted: The bytes are not those that were sealed; the claim is released.
            ClaimStoreError: The store refused, or did not answer.
            EncryptionError: It should be encrypted and is not, or its key is not here; nothing was
                acquired.
        """
        sealed = None if made_here else self._read(body if fields is None else fields, message_id)
        if sealed is None and once is None:
            return Opened(body, "inline")  # most messages: random bytes for a lease would cost more
        lease = Lease(
            lease_id or new_lease_id(),
            # A lease that has ended already would keep no other delivery away.
            lease_seconds if lease_seconds and lease_seconds > 0 else self._lease_seconds,
        )
        what = _named(message_id)
        decrypt = None
        if sealed is not None:
            what += f" of type {sealed.type!r}"
            decrypt = self.decryption(what, sealed)
            if isinstance(sealed.ticket, StoredTicket):
                return self._open_stored(
                    what,
                    sealed,
                    sealed.ticket,
                    lease=lease,
                    purge=purge or self._purge,
                    decrypt=decrypt,
                )
        hold = None
        if once is not None:
            key = self._once_key(sealed) or once
            hold = acquire_record(self.store, key, lease, what=what)
        if sealed is None or not isinstance(sealed.ticket, CarriedTicket):
            return Opened(body, "inline", hold=hold)
        try:
            text = unpack_carried(what, sealed, sealed.ticket, decrypt)
        except BaseException:
            if hold is not None:
                hold.settle(succeeded=False)
            raise
        return Opened(text, "compressed", size=sealed.ticket.size, hold=hold)

    def opened_size(self, body: str | Mapping[str, Any]) -> int:
        """Bytes of what `open` would give back, as the ticket says; 0 where it opens nothing.

        Args:
            body: What came from the queue; or, where it is sealed and was parsed already, its
                fields.
        """
        try:
            sealed = self._read(body, None)
        except (TicketInvalid, EncryptionError):
            return 0
        return 0 if sealed is None else sealed.ticket.size

    def _read(self, body: str | Mapping[str, Any], message_id: str | None) -> SealedMessage | None:
        """The ticket in a body, if this claim check accepts it; None if the body is not sealed."""
        try:
            sealed = tickets.read(body, max_size=self._max_size)
        except TicketInvalid as error:
            raise type(error)(f"{_named(message_id)}: {error}.") from None
        if sealed is None and self._signs_every_message:
            raise TicketForged(
                f"{_named(message_id)}: it is not sealed, and so not signed. Every message must be "
                "here (sign_every_message). Where the sender is one of yours, set it there too."
            )
        signer = self._signer
        if sealed and signer and not signer.accepts(sealed.type, sealed.ticket):
            raise TicketForged(
                f"{_named(message_id)} of type {sealed.type!r}: its ticket is not signed with a "
                "key that this worker has. Where the sender is one of yours, give both the same "
                "signing_key."
            )
        encrypted = None if sealed is None else sealed.ticket.encryption
        if self._encryption is not None and encrypted is None:
            raise EncryptionMissing(
                f"{_named(message_id)}: it is not encrypted, and every message must be here "
                "(CLAIMCHECK_ENCRYPTION). Where the sender is one of yours, set it there too, and "
                "enqueue the work again."
            )
        if self._encryption is None and encrypted is not None:
            raise EncryptionKeyMissing(
                f"{_named(message_id)}: it is encrypted, and this reader has no key. Give it the "
                "sender's CLAIMCHECK_ENCRYPTION, then redrive the message."
            )
        return sealed

    def decryption(self, what: str, sealed: SealedMessage) -> Decrypt | None:
        """What decrypts a message; None for one that is not encrypted. It may ask KMS for the key.

        Raises:
            EncryptionError: The key is not here.
        """
        encrypted = sealed.ticket.encryption
        if self._encryption is None or encrypted is None:
            return None
        return self._encryption.decryption(sealed, encrypted, what=what)

    def _encrypt(self, parts: Parts, bound: Bound) -> Encrypted | None:
        """Put encrypted parts in place of a message's parts, where encryption is on."""
        return None if self._encryption is None else self._encryption.encrypt(parts, bound)

    def _carry(
        self,
        message_type: str | None,
        encoding: Encoding,
        size: int,
        parts: Parts,
    ) -> bytes:
        """A body whose ticket carries the encoded bytes."""
        nonce = secrets.token_urlsafe(_ID_BYTES) if self._authenticates_nonces else None
        sent = [*parts]  # what turns out too large is stored instead
        bound = Bound("carried", nonce or "", encoding, size, message_type)
        encrypted = self._encrypt(sent, bound)
        ticket = CarriedTicket(
            v=tickets.VERSION,
            encoding=encoding,
            size=size,
            sha256=sha256_of(sent),
            encryption=encrypted,
            nonce=nonce,
            data=b64encode(b"".join(sent)).decode(),
        )
        return self._write(message_type, ticket)

    @property
    def _authenticates_nonces(self) -> bool:
        """Whether the nonce of a carried ticket is from a sender with a key: nobody made it up."""
        return self._signer is not None or self._encryption is not None

    def _once_key(self, sealed: SealedMessage | None) -> str | None:
        """The key of a record for a carried ticket, after its nonce."""
        if sealed is None or not isinstance(sealed.ticket, CarriedTicket):
            return None
        nonce = sealed.ticket.nonce if self._authenticates_nonces else None
        return None if nonce is None else record_key(f"once/{nonce}")

    def _open_stored(
        self,
        what: str,
        sealed: SealedMessage,
        ticket: StoredTicket,
        *,
        lease: Lease,
        purge: Purge,
        decrypt: Decrypt | None,
    ) -> Opened:
        what = f"{what} (claim {ticket.id})"
        claim, parts = acquire_claim(self.stores, ticket, lease, what=what, purge=purge)
        # Each part may be freed once it is read, unless it may have to be written again.
        kept = [*parts] if purge == "before" else []
        try:
            text = unpack(what, sealed, parts, decrypt)
        except BaseException:
            claim.settle(succeeded=False)
            raise
        hold: Hold = claim
        if purge == "before":
            hold = hand_over(claim, sealed.type, kept, lease, what=what)
        return Opened(text, "stored", size=ticket.size, claim_id=ticket.id, hold=hold)

    def _write(self, message_type: str | None, ticket: Ticket) -> bytes:
        if self._signer is not None:
            signature = self._signer.sign(message_type, ticket)
            ticket = ticket.model_copy(update={"sig": signature})
        return tickets.write(message_type, ticket)

    def _is_small(self, size: int, queue_limit: Callable[[], int | None] | None) -> bool:
        """Whether a message of this many bytes, attributes included, travels untouched."""
        if size > self._threshold:
            return False
        asks = self._inline_limit is not None or size > _WORTH_ASKING_BYTES
        return not asks or size <= self._limit(queue_limit)

    def _is_better_carried(self, size: int, carried_size: int, attributes_size: int) -> bool:
        """Whether a message that may travel as it is gains by being compressed."""
        if not self._goes_by_the_bill:
            return carried_size < size
        from claimcheck.core.cheapest import is_cheaper_carried  # few need it, and the prices in it

        return is_cheaper_carried(size + attributes_size, carried_size + attributes_size)

    def _is_better_stored(self, sent_size: int, message: MessageToStore) -> bool:
        """Whether a message that the queue may take is stored all the same."""
        if not self._goes_by_the_bill:
            return False
        from claimcheck.core.cheapest import is_cheaper_stored

        store = self.stores.for_message(message)
        return is_cheaper_stored(sent_size, message.stored, store_url=store.url)

    def _carried_bytes(self, limit: int) -> int:
        """Encoded bytes that a ticket of `limit` bytes carries, with some room to spare."""
        return (limit - self._most_around_data) // 4 * 3

    def _limit(self, queue_limit: Callable[[], int | None] | None) -> int:
        if self._inline_limit is not None:
            return self._inline_limit
        return (queue_limit() if queue_limit else None) or ANY_QUEUE_BYTES


def _named(message_id: str | None) -> str:
    """A message, for errors."""
    return f"message {message_id or NO_ID}"


def _to_bytes(body: str | bytes) -> bytes:
    if not body:
        raise BodyInvalid("the body is empty: there is nothing to send, and SQS refuses it.")
    try:
        if isinstance(body, str):
            return body.encode()
        if not body.isascii():
            _check_utf8(body)
    except UnicodeError:
        raise BodyInvalid("the body is not text: it cannot be written as UTF-8.") from None
    return body


def _check_utf8(body: bytes) -> None:
    """Decode it a piece at a time: as one text it may take four times the memory."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _CHECKED_AT_ONCE):
        end = start + _CHECKED_AT_ONCE
        decode(body[start:end], final=end >= len(body))


def _base64_size(size: int) -> int:
    return (size + 2) // 3 * 4
