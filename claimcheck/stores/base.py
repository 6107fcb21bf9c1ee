"""The two contracts that every claim store keeps: contents and records.

Contents are the bytes of a claim. The sender writes them once; nobody changes them.

    write ──> read ──> remove          renew has them expire later

Records say what consumers did: one small item for each claim and consumer. A record changes by
conditional write only: the writer names the lease it holds.

    (no record) ──acquire──> leased ──complete──> done
         ^                    │  │                 ^
         └──────release───────┘  └─hand_over─> handed_over

The next `acquire` takes a record whose lease has run out. It takes a `handed_over` record only if
the caller asks for that (`take_over`), and leaves it `handed_over`, as the contents may be gone.

Anybody may have written the values in a store, and they may be damaged. So a store makes `Contents`
and `Record` with their `read`, which checks everything and raises `ClaimCorrupted`.
"""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, TypeAlias, cast, get_args
from urllib.parse import quote

from claimcheck.errors import ClaimCorrupted
from letsgo_queue.deployment import Deployment

PART_BYTES = 390_000
"""Bytes of data in one part. DynamoDB takes 400 KB (409,600 bytes) in an item, names and key
included: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""

RECORD_SECONDS = 30 * 24 * 3600
"""How long a record is kept after its last change: longer than any message can be delivered again.
SQS keeps a message 14 days at most, and 14 more on its dead-letter queue:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""

MAX_LABEL_CHARACTERS = 200
_CUT_OFF = "..."
_HASH_CHARACTERS = 16
_KEPT_IN_LABELS = string.punctuation + " "
_LATEST = 2**53
"""Seconds since 1970, after any time that means something; more than these are not exact."""

State: TypeAlias = Literal["leased", "handed_over", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFacts:
    """The facts that a store keeps beside the bytes of a claim, for people and for expiry.

    Attributes:
        id: The claim id.
        type: The message's type; None if it has none.
        parts: How many parts there are.
        size: Bytes of the body that was sealed.
        stored: Bytes of all parts.
        created_at: When it was sealed (seconds since 1970).
        expires_at: When the contents may be removed (seconds since 1970).
    """

    id: str
    type: str | None
    parts: int
    size: int
    stored: int
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a claim, as a store has them.

    Attributes:
        parts: As many as the ticket says; None for a part that is missing. A store whose
            `part_bytes` is None gives its one part in pieces.
        expires_at: When they may be removed (seconds since 1970).
        store: Where they are, if the store that was asked keeps contents in several places.
        sha256: The SHA-256 of all parts, as hex digits, if the store worked it out while it read
            them.
    """

    parts: Sequence[bytes | memoryview | None] = field(repr=False)
    expires_at: int
    store: ContentsStore | None = field(default=None, repr=False, compare=False)
    sha256: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def read(cls, parts: Sequence[object], *, expires_at: object) -> Self:
        """Check what a store has, and make contents of it.

        Raises:
            ClaimCorrupted: A part is not bytes, or the time is no time.
        """
        for number, part in enumerate(parts):
            if not isinstance(part, bytes | memoryview | None):
                raise ClaimCorrupted(f"part {number} of its contents is not bytes")
        moment = _moment(expires_at, "the expiry of its contents")
        return cls(cast("Sequence[bytes | memoryview | None]", parts), int(moment))


class Reading(Protocol):
    """Contents that are being read."""

    def result(self) -> Contents | None:
        """Wait for them; None if no part is there.

        Raises:
            ClaimCorrupted: What is there cannot be read, or has another number of parts.
            ClaimStoreError: The store refused, or did not answer.
        """
        ...

    def cancel(self) -> None:
        """Read nothing that is not under way yet."""
        ...


def record_key(claim_id: str, consumer: str = "") -> str:
    """The key of the record of a claim and a consumer; an only consumer has no name."""
    return f"{claim_id}@{consumer}"


class ContentsStore(Protocol):
    """Keeps the bytes of claims."""

    @property
    def part_bytes(self) -> int | None:
        """Bytes of each part but the last; None if contents of any size are one part."""
        ...

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write contents, or write the same contents again.

        A write that fails removes what it wrote, or leaves it to expire.

        Args:
            facts: What to keep beside them.
            parts: The bytes, in as many parts as the facts say. A store whose `part_bytes` is None
                gets its one part in pieces.
        """
        ...

    def read(self, claim_id: str, parts: int, *, stored: int, consistent: bool = False) -> Reading:
        """Begin to read contents.

        Args:
            claim_id: Which claim.
            parts: How many parts the ticket names. It may lie, so a store asks for few parts
                before it knows how many there are.
            stored: How many bytes it names. A store reads no part that is larger.
            consistent: Whether to see every change that was answered before, for twice the price.
                Without it, parts that were removed a moment ago may still be read.
        """
        ...

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove contents. It is no error if they are gone already.

        Args:
            claim_id: Which claim.
            parts: How many parts the ticket names.
            later: Whether the store may do it in the background, and log a failure: nobody waits
                for it, and the contents expire. `close` waits, and so does the end of the process.
            expiring_by: Leave parts that expire after this moment (seconds since 1970): they were
                written back since, and the request arrives late. A store removes them all the same
                if it has no such condition, as S3, or if no request can be late, as in a file.
        """
        ...

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have contents expire later (seconds since 1970). Parts that are gone stay gone."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one delivery to a claim.

    Attributes:
        id: 128 random bits or more; every later change needs it.
        seconds: How long it lasts from now, by the store's clock.
    """

    id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """What a consumer did with a claim.

    Attributes:
        state: `leased`, `handed_over` or `done`.
        seconds_left: Seconds until its lease ends, by the store's clock; 0 or less if it has run
            out, or if there is none.
    """

    state: State
    seconds_left: float

    @classmethod
    def read(cls, state: object, lease_until: object, *, now: float) -> Self:
        """Check what a store has, and make a record of it.

        Args:
            state: Its state.
            lease_until: When its lease ends (seconds since 1970); a receipt has none.
            now: Seconds since 1970, by the store's clock.

        Raises:
            ClaimCorrupted: The state is not known, or no lease ends then.
        """
        if state not in get_args(State):
            raise ClaimCorrupted("its record has a state that is not known here")
        if state == "done":
            return cls("done", 0.0)
        seconds_left = _moment(lease_until, "the lease of its record") - now
        if seconds_left > RECORD_SECONDS:
            raise ClaimCorrupted("the lease of its record ends after the record itself")
        return cls(cast("State", state), seconds_left)

    @property
    def is_held(self) -> bool:
        """Whether a delivery holds it now."""
        return self.state != "done" and self.seconds_left > 0


class RecordStore(Protocol):
    """Keeps the records of claims. Every time in it is by one clock, the store's own."""

    def now(self) -> float:
        """Seconds since 1970, by the store's clock as far as it is known; asks nobody."""
        ...

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours: one conditional write.

        It succeeds if there is no record, if its lease has run out, or if the lease is ours already
        (a write whose answer was lost may be repeated); our lease is never shortened.

        Args:
            key: Which record.
            lease: The lease to hold it with.
            take_over: Whether to acquire also a record that is `handed_over`, if its lease has run
                out. It stays `handed_over`.

        Returns:
            None if it is ours now; else the record in the way.
        """
        ...

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease last for `lease.seconds` from now; False if it is no longer ours.

        A lease that lasts longer already stays as it is, since the request may arrive late.
        """
        ...

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed, before the handler runs.

        The lease goes on. False, with nothing changed, if it is no longer ours.
        """
        ...

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; False, with nothing changed, if another delivery has it."""
        ...

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done: the receipt, kept for `RECORD_SECONDS`.

        A record that somebody removed is written anew. False, with nothing changed, if another
        delivery has it.
        """
        ...

    def look_up(self, key: str) -> Record | None:
        """The record as it is; None if there is none."""
        ...


class ClaimStore(ContentsStore, RecordStore, Protocol):
    """Contents and records. Safe to use from several threads and processes.

    Every method raises `ClaimStoreError` when the store refuses, `ClaimStoreUnavailable` when it
    does not answer. A method that finds a record raises `ClaimCorrupted` if the record cannot be
    read.
    """

    @property
    def url(self) -> str:
        """Names the store in errors and reports, as the settings do."""
        ...

    @property
    def label(self) -> str:
        """Names where the records are, as tickets do: `dynamodb:eu-west-1:letsgo-claims`."""
        ...

    @property
    def records_at(self) -> object:
        """Tells stores with one label apart: equal only where both have the same records.

        A label leaves out the account and the server, which no message should tell. So two stores
        may have one label and different records. A claim check refuses to be given both.
        """
        ...

    @property
    def missing_advice(self) -> str:
        """For errors: what to check if neither contents nor a receipt of a claim are here."""
        ...

    def close(self) -> None:
        """Release connections and threads. A store that is used again opens them again."""
        ...


def is_store(value: object) -> bool:
    """Whether something looks like a store; a caller may give anything."""
    return hasattr(value, "acquire")


class LateReading:
    """Contents that are read when somebody waits for them; see `Reading`."""

    def __init__(self, read: Callable[[], Contents | None]) -> None:
        """Keep how to read them."""
        self._read = read

    def result(self) -> Contents | None:
        """Read them; see `Reading.result`."""
        return self._read()

    def cancel(self) -> None:
        """Nothing is under way; see `Reading.cancel`."""


def check_part_count(there: object, *, named: int) -> None:
    """Compare the number of parts in the store with the number in the ticket.

    Raises:
        ClaimCorrupted: They differ: one of them was not written by the sender.
    """
    if there != named:
        has = f"{there:g}" if isinstance(there, int | float) else "no number"
        raise ClaimCorrupted(
            f"its number of parts is {has} in the store, and {named} in its ticket"
        )


def store_label(kind: str, name: str) -> str:
    """The label of a store: printable ASCII, at most 200 characters.

    Args:
        kind: What kind of place it is.
        name: The name of the place. A hash replaces the beginning of a long name.
    """
    # As bytes: a path need not be Unicode.
    place = quote(os.fsencode(name), safe=_KEPT_IN_LABELS)
    room = MAX_LABEL_CHARACTERS - len(f"{kind}:")
    if len(place) <= room:
        return f"{kind}:{place}"
    hashed = hashlib.sha256(place.encode()).hexdigest()[:_HASH_CHARACTERS]
    start = f"{_CUT_OFF}{hashed}{_CUT_OFF}"
    return f"{kind}:{start}{place[len(start) - room :]}"


def url_of_label(label: str) -> str:
    """A label as `CLAIMCHECK_STORE` would name that store, for people; an unknown one as it is.

    A sender wrote the label, so it may be anything. Nobody opens a store by it.
    """
    kind, _, name = label.partition(":")
    region, _, table = name.partition(":")
    letsgo = f"{Deployment.from_environment().vendor_prefix}-"
    if name.startswith(_CUT_OFF):
        return label
    if kind == "memory":
        return f"memory://{name}"
    if kind == "sqlite" and name:
        return f"sqlite:///{name.replace('?', '%3F')}"
    if kind in {"dynamodb", "s3"} and table:
        return f"{kind}://{table}?region={region}"
    if kind == "letsgo" and table.startswith(letsgo):
        return f"letsgo://{table.removeprefix(letsgo)}?region={region}"
    return label


def _moment(value: object, what: str) -> float:
    """A time that a store has, in seconds since 1970."""
    # Not a number is not below anything.
    if not isinstance(value, int | float) or not abs(value) <= _LATEST:
        raise ClaimCorrupted(f"{what} is no time")
    return float(value)
