"""Sealing: makes a body small enough for the queue, and decides which way it goes.

    up to threshold ─────────────────────────> inline       as it is
    compressed, if the queue takes that ─────> compressed   the ticket carries it
    else ────────────────────────────────────> stored       the ticket has its key

A body that the queue refuses is over the threshold, whatever that is. A body that a ticket would
only make larger goes inline, if the queue takes it. With `threshold="auto"` the bill decides
instead: see `cheapest`.
"""

from __future__ import annotations

import codecs
import copy
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from claimcheck.core import ticket as tickets
from claimcheck.core.compression import Encoding, Parts, encode, recut, size_of
from claimcheck.core.holds import expiry_from
from claimcheck.core.life import sha256_of
from claimcheck.core.opened import Route
from claimcheck.core.store_choice import MessageToStore, Stores
from claimcheck.core.ticket import Bound, CarriedTicket, StoredTicket
from claimcheck.core.trust import Trust
from claimcheck.errors import BodyInvalid, BodyTooLarge
from claimcheck.stores.base import ClaimFacts, ClaimStore
from letsgo_queue.aws_pointers import SIZE_ATTRIBUTE, AwsPointer
from letsgo_queue.envelope import is_sealed, mentions_claim_check, type_in
from letsgo_queue.errors import MessageTooLarge
from letsgo_queue.limits import ANY_QUEUE_BYTES, SQS_UNIT_BYTES
from letsgo_queue.tracing import step

AskQueue: TypeAlias = Callable[[], int | None]
"""Asks the queue how many bytes it accepts; None if it will not say."""

ID_BYTES = 18  # 144 bits, 24 characters

_CHECKED_AT_ONCE = 65_536
_PIECE_BYTES = 1024 * 1024
"""Bytes of a piece, for a store that keeps contents as one part."""

_MOST_AROUND_DATA = 400
"""Bytes of a sealed body beside the data, with a signature and a type of usual length."""

_MOST_AROUND_ENCRYPTED = 1_000
"""The same, with a key that KMS has wrapped."""

_WORTH_ASKING_BYTES = SQS_UNIT_BYTES
"""The queue is asked what it accepts only for more than this, which SQS bills as several requests
anyway."""


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
        pointer: Where its body is, if it goes as a pointer of AWS's clients.
    """

    body: bytes = field(repr=False)
    route: Route
    size: int
    claim_id: str | None = None
    parts: int = 0
    stored: int = 0
    store: ClaimStore | None = field(default=None, repr=False, compare=False)
    pointer: AwsPointer | None = None

    @property
    def text(self) -> str:
        """`body` for a client that sends text: boto3, say."""
        return self.body.decode()

    @property
    def attributes(self) -> Mapping[str, int]:
        """Numbers to send as message attributes: AWS's clients recognize a pointer by them."""
        return {} if self.pointer is None else {SIZE_ATTRIBUTE: self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """A body, compressed if that makes it smaller.

    Attributes:
        type: Its type; None if it has none.
        size: Bytes of the body.
        encoding: How it is encoded.
        parts: The encoded bytes.
        part_bytes: How they were cut.
        stored: Bytes of all parts.
    """

    type: str | None
    size: int
    encoding: Encoding
    parts: Parts = field(repr=False)
    part_bytes: int | None
    stored: int

    @property
    def carried_size(self) -> int:
        """About how many bytes are sent if the ticket carries it."""
        return _base64_size(self.stored) + _MOST_AROUND_DATA

    @property
    def to_store(self) -> MessageToStore:
        """The facts by which a store is chosen for it."""
        return MessageToStore(type=self.type, size=self.size, stored=self.stored)

    def bound(
        self,
        place: Literal["carried", "stored"],
        id: str,
        *,
        store: str | None = None,
        shared: bool,
    ) -> Bound:
        """The facts that its encrypted bytes are bound to; see `Bound`."""
        return Bound(place, id, self.encoding, self.size, self.type, store=store, shared=shared)


class Sealer:
    """Seals bodies. Safe to share between threads."""

    def __init__(
        self,
        stores: Stores,
        trust: Trust,
        *,
        threshold: int | Literal["auto"],
        inline_limit: int | None,
        max_size: int,
        write_pointer: Callable[[bytes], AwsPointer] | None = None,
    ) -> None:
        """Take the options of `ClaimCheck`, which has checked them."""
        self._stores = stores
        self._trust = trust
        self._goes_by_the_bill = threshold == "auto"
        self._threshold = SQS_UNIT_BYTES if threshold == "auto" else threshold
        self._inline_limit = inline_limit
        self._max_size = max_size
        self._write_pointer = write_pointer
        self._surely_small = (
            0
            if trust.seals_every_message
            else min(self._threshold, inline_limit or SQS_UNIT_BYTES, SQS_UNIT_BYTES, max_size)
        )
        self._most_around_data = _MOST_AROUND_ENCRYPTED if trust.encrypts else _MOST_AROUND_DATA

    def writing_to(self, stores: Stores) -> Sealer:
        """A sealer with the same options, and other stores."""
        other = copy.copy(self)
        other._stores = stores
        return other

    def leaves_alone(self, body: str, *, attributes_size: int) -> bool:
        """Whether `seal` certainly sends a message as it is. If False, `seal` decides.

        A shortcut for small messages, which are most.
        """
        size = len(body)
        if not body.isascii():
            try:
                size = len(body.encode())
            except UnicodeEncodeError:
                return False
        return 0 < size <= self._surely_small - attributes_size and not mentions_claim_check(body)

    def seal(
        self,
        body: str | bytes,
        *,
        type: str | None,
        attributes_size: int,
        queue_limit: AskQueue | None,
        delay_seconds: float,
        shared: bool = False,
        room: int | None = None,
    ) -> Sealed:
        """Make a body small enough for the queue; see `ClaimCheck.seal`."""
        data = _to_bytes(body)
        size = len(data)
        if size > self._max_size:
            raise BodyTooLarge(
                f"message of type {type!r} is {size:,} bytes; max_size allows {self._max_size:,}. "
                "Raise max_size on both sides, or send less.",
                size=size,
                limit=self._max_size,
            )
        inline = Sealed(body=data, route="inline", size=size)
        # A body that looks sealed already is sealed again, so that opening gives it back as it was.
        must_seal = self._trust.seals_every_message or is_sealed(data)
        fits = room is None or size + attributes_size <= room
        if not must_seal and fits and self._is_small(size + attributes_size, queue_limit):
            return inline
        inside = type_in(data)
        if type not in {None, inside}:
            raise BodyInvalid(
                f"the body is to be sealed as a message of type {type!r} but says {inside!r}: "
                "the reader would refuse it. Leave the type out."
            )
        limit = self._limit(queue_limit)
        limit = (limit if room is None else min(limit, room)) - attributes_size
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
        if self._write_pointer is not None:
            with step("store"):
                pointer = self._write_pointer(data)
            return Sealed(
                body=str(pointer).encode(),
                route="stored",
                size=size,
                stored=size,
                pointer=pointer,
            )
        with step("seal"):
            encoded = self._encode(data, inside, limit)
        may_be_inline = size <= limit and not must_seal
        least = min(size, encoded.carried_size) if may_be_inline else encoded.carried_size
        if not self._is_better_stored(encoded, least + attributes_size):
            if may_be_inline and not self._is_better_carried(encoded, attributes_size):
                return inline
            if _base64_size(encoded.stored) <= limit:
                carried = self._carry(encoded, shared=shared)
                if len(carried) <= limit:
                    return Sealed(body=carried, route="compressed", size=size)
        return self._store(encoded, delay_seconds, shared=shared)

    def _encode(self, data: bytes, message_type: str | None, limit: int) -> _Encoded:
        part_bytes = self._stores.main.part_bytes
        encoding, parts = encode(
            data,
            part_bytes=part_bytes or _PIECE_BYTES,
            aim=(limit - self._most_around_data) // 4 * 3,  # what a ticket carries, with some room
            each_byte_counts=part_bytes is not None,
        )
        return _Encoded(
            type=message_type,
            size=len(data),
            encoding=encoding,
            parts=parts,
            part_bytes=part_bytes,
            stored=size_of(parts),
        )

    def _carry(self, encoded: _Encoded, *, shared: bool) -> bytes:
        """Make a body whose ticket carries the encoded bytes."""
        nonce = secrets.token_urlsafe(ID_BYTES) if self._trust.makes_nonces else None
        sent = [*encoded.parts]  # a copy: if the body is too large, the parts are stored instead
        encrypted = self._trust.encrypt(sent, encoded.bound("carried", nonce or "", shared=shared))
        ticket = CarriedTicket(
            v=tickets.VERSION,
            encoding=encoded.encoding,
            size=encoded.size,
            sha256=sha256_of(sent),
            shared=shared or None,
            encryption=encrypted,
            nonce=nonce,
            data=b64encode(b"".join(sent)).decode(),
        )
        return self._trust.write(encoded.type, ticket)

    def _store(self, encoded: _Encoded, delay_seconds: float, *, shared: bool) -> Sealed:
        """Store the encoded bytes, and make a body whose ticket has their key."""
        store = self._stores.for_message(encoded.to_store)
        parts = recut(encoded.parts, store.part_bytes, was=encoded.part_bytes)
        facts = ClaimFacts(
            id=_new_id(),
            type=encoded.type,
            parts=len(parts) if store.part_bytes else 1,
            size=encoded.size,
            stored=encoded.stored,
            created_at=int(store.now()),
            expires_at=expiry_from(store.now() + delay_seconds),
        )
        bound = encoded.bound("stored", facts.id, store=store.label, shared=shared)
        encrypted = self._trust.encrypt(parts, bound)
        ticket = StoredTicket(
            v=tickets.VERSION,
            encoding=encoded.encoding,
            size=encoded.size,
            sha256=sha256_of(parts),
            shared=shared or None,
            encryption=encrypted,
            id=facts.id,
            parts=facts.parts,
            stored=encoded.stored,
            expires=facts.expires_at,
            store=store.label,
        )
        with step("store"):
            store.write(facts, parts)
        return Sealed(
            body=self._trust.write(encoded.type, ticket),
            route="stored",
            size=encoded.size,
            claim_id=facts.id,
            parts=facts.parts,
            stored=encoded.stored,
            store=store,
        )

    def _is_small(self, size: int, queue_limit: AskQueue | None) -> bool:
        """Whether a message of this many bytes, attributes included, travels untouched."""
        if size > self._threshold:
            return False
        asks = self._inline_limit is not None or size > _WORTH_ASKING_BYTES
        return not asks or size <= self._limit(queue_limit)

    def _is_better_carried(self, encoded: _Encoded, attributes_size: int) -> bool:
        """Whether a message that may travel as it is gains by being compressed."""
        if not self._goes_by_the_bill:
            return encoded.carried_size < encoded.size
        from claimcheck.core.cheapest import is_cheaper_carried  # few need the prices in it

        return is_cheaper_carried(
            encoded.size + attributes_size, encoded.carried_size + attributes_size
        )

    def _is_better_stored(self, encoded: _Encoded, sent_size: int) -> bool:
        """Whether to store a message although the queue may take it."""
        if not self._goes_by_the_bill:
            return False
        from claimcheck.core.cheapest import is_cheaper_stored

        store = self._stores.for_message(encoded.to_store)
        return is_cheaper_stored(sent_size, encoded.stored, store_url=store.url)

    def _limit(self, queue_limit: AskQueue | None) -> int:
        if self._inline_limit is not None:
            return self._inline_limit
        return (queue_limit() if queue_limit else None) or ANY_QUEUE_BYTES


def _new_id() -> str:
    """A claim id. None begins with a dash, which a command would take for an option."""
    while (id := secrets.token_urlsafe(ID_BYTES)).startswith("-"):
        pass
    return id


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
    """Check that a body is UTF-8, in pieces: as one text it may take four times the memory."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _CHECKED_AT_ONCE):
        end = start + _CHECKED_AT_ONCE
        decode(body[start:end], final=end >= len(body))


def _base64_size(size: int) -> int:
    return (size + 2) // 3 * 4
