"""`claimcheck show`: explains a message body. It shows no content, and acquires no claim.

there         nobody has the claim
leased        a delivery has it, until its lease ends
handed over   its contents were removed before the handler of a delivery ran
done          the message was handled: there is a receipt
missing       the store has neither contents nor a receipt of it
expired       the same as missing, and its time has passed
damaged       its contents are not what was sealed
unreadable    its state could not be read
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from claimcheck.core import ticket as tickets
from claimcheck.core.aws_pointers import AwsPointers
from claimcheck.core.compression import Encoding
from claimcheck.core.encryption import Decrypt
from claimcheck.core.life import find_claim, record_of
from claimcheck.core.opened import Route, unpack, unpack_carried
from claimcheck.core.store_choice import Stores
from claimcheck.core.ticket import CarriedTicket, SealedMessage, StoredTicket
from claimcheck.core.trust import Trust
from claimcheck.errors import (
    ClaimAlreadyProcessed,
    ClaimCheckError,
    ClaimCorrupted,
    ClaimExpired,
    ClaimInProgress,
    ClaimLost,
    ClaimMissing,
    ClaimStoreError,
    ConsumerUnknown,
    EncryptionError,
    TicketInvalid,
)
from claimcheck.opening import consumer_of
from claimcheck.settings import ClaimCheckSettings, claim_check_for, region_for, trust_for
from claimcheck.stores.base import Contents, Record, url_of_label
from letsgo_queue.aws_pointers import is_aws_pointer
from letsgo_queue.cli.terminal import print_json, print_line
from letsgo_queue.envelope import type_of, unwrap
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.settings import QueueSettings
from letsgo_queue.text import counted, shown

ClaimState: TypeAlias = Literal[
    "there", "leased", "handed_over", "done", "missing", "expired", "damaged", "unreadable"
]

_FOUND: Mapping[type[Exception], ClaimState] = {
    ClaimLost: "handed_over",
    ClaimMissing: "missing",
    ClaimExpired: "expired",
}

_WHAT = "the message"
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimReport:
    """The state of a claim in its store.

    Attributes:
        id: The claim id.
        store: Label of the store that was asked.
        sender_store: Label of the store that the sender wrote to.
        consumer: The queue whose record was looked up, where several have one; else None.
        state: Its state.
        detail: Why it is in that state; None if the state says all.
        lease_until: When the lease of its delivery ends, in UTC; None if no delivery has it.
        expires_at: When its contents expire, in UTC: a failed delivery may have renewed them. If
            they are not there, as the ticket says.
    """

    id: str
    store: str
    sender_store: str
    consumer: str | None = None
    state: ClaimState
    detail: str | None = None
    lease_until: datetime | None = None
    expires_at: datetime

    @property
    def fine(self) -> bool:
        """Whether the message was handled, or can be."""
        return self.state in {"there", "done"} or self.lease_until is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyReport:
    """A body from a queue.

    Attributes:
        sealed: Whether it has a claim check in place of its payload.
        type: The message's type; None if it has none, or cannot be read.
        route: Which way it went; None if it cannot be read.
        size: Bytes of the body as it was enqueued; None if it cannot be read.
        sent_size: Bytes of the body on the queue, without attributes.
        stored_size: Bytes in the store.
        parts: Parts in the store.
        encoding: How its contents are encoded; None unless sealed.
        ratio: Bytes of the body as enqueued for each encoded byte; None unless sealed.
        signed: Whether its ticket has a signature.
        encrypted: Whether its contents are encrypted.
        problem: Why no worker can read the message; None if one can.
        claim: Its claim; None unless stored.
    """

    sealed: bool
    type: str | None = None
    route: Route | None = None
    size: int | None = None
    sent_size: int
    stored_size: int = 0
    parts: int = 0
    encoding: Encoding | None = None
    ratio: float | None = None
    signed: bool = False
    encrypted: bool = False
    problem: str | None = None
    claim: ClaimReport | None = None

    @property
    def fine(self) -> bool:
        """Whether the message was handled, or can be."""
        return self.problem is None and (self.claim is None or self.claim.fine)


def report_on(body: str, queue: str | None) -> BodyReport:
    """Explain a body as a worker on the queue would see it.

    Args:
        body: The body, sealed or not.
        queue: URL of its queue; by default the one in the environment.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    settings = ClaimCheckSettings.from_environment()
    url = queue or QueueSettings.from_environment().url or ""
    return explain(
        body,
        stores=lambda: claim_check_for(url, settings).stores,
        max_size=settings.max_size,
        trust=trust_for(url, settings),
        consumer=consumer_of(url),
        pointers=AwsPointers(settings.aws_pointers, region=region_for(url))
        if settings.aws_pointers
        else None,
    )


def explain(
    body: str,
    *,
    stores: Callable[[], Stores],
    max_size: int,
    trust: Trust,
    consumer: str | None = None,
    pointers: AwsPointers | None = None,
) -> BodyReport:
    """Explain a body.

    Args:
        body: The body, sealed or not, also in an envelope of another service.
        stores: Opens the stores; called only if the body has a claim in it.
        max_size: Bytes that a ticket may claim.
        trust: Decides which tickets a worker opens.
        consumer: Which queue it is from, where several have the message.
        pointers: The buckets whose pointers of AWS's extended clients a worker opens.
    """
    sent_size = len(body.encode())
    if (wrapped := unwrap(body)) is not None:
        body = wrapped.body
    try:
        sealed = tickets.read(body, max_size=max_size)
    except TicketInvalid as error:
        return BodyReport(sealed=True, sent_size=sent_size, problem=f"{error}.")
    refusal = trust.refusal(sealed, _WHAT)
    if sealed is None and is_aws_pointer(body):
        if refusal is not None:
            return BodyReport(sealed=False, sent_size=sent_size, problem=str(refusal))
        return _explain_pointer(body, sent_size, pointers, max_size)
    if sealed is None:
        return _explain_inline(body, sent_size, refusal)
    ticket = sealed.ticket
    decrypt = None
    if refusal is None:
        try:
            decrypt = trust.decryption(_WHAT, sealed)
        except EncryptionError as error:
            refusal = error
    if isinstance(ticket, StoredTicket):
        claim = _look_up(sealed, ticket, stores(), decrypt, consumer)
        stored_size, parts, encoded_size = ticket.stored, ticket.parts, ticket.stored
    else:
        claim = None
        stored_size, parts, encoded_size = 0, 0, len(ticket.data) * 3 // 4
    return BodyReport(
        sealed=True,
        type=sealed.type,
        route="compressed" if claim is None else "stored",
        size=ticket.size,
        sent_size=sent_size,
        stored_size=stored_size,
        parts=parts,
        encoding=ticket.encoding,
        ratio=ticket.size / max(encoded_size, 1),
        signed=ticket.sig is not None,
        encrypted=ticket.encryption is not None,
        problem=_damage_of(sealed, decrypt) if refusal is None else str(refusal),
        claim=claim,
    )


def _explain_inline(body: str, sent_size: int, refusal: ClaimCheckError | None) -> BodyReport:
    try:
        message_type = type_of(body, whole=True)
    except MessageInvalid as error:
        return BodyReport(sealed=False, sent_size=sent_size, problem=str(error))
    if type_of(body) != message_type:
        problem = "it has two types. A worker goes by the first, and then refuses the message."
        return BodyReport(sealed=False, sent_size=sent_size, problem=problem)
    return BodyReport(
        sealed=False,
        type=message_type,
        route="inline",
        size=len(body.encode()),
        sent_size=sent_size,
        problem=None if refusal is None else str(refusal),
    )


def _explain_pointer(
    body: str, sent_size: int, pointers: AwsPointers | None, max_size: int
) -> BodyReport:
    """Explain a pointer of AWS's extended clients, whose object it reads."""
    if pointers is None:
        return BodyReport(
            sealed=False,
            sent_size=sent_size,
            problem="it is a pointer of AWS's extended client. A worker opens it only if "
            "CLAIMCHECK_AWS_POINTERS names its bucket.",
        )
    try:
        pointer = pointers.read(body, what=_WHAT)
        assert pointer is not None
        text = pointers.text_of(pointer, most=max_size, what=_WHAT)
    except (TicketInvalid, ClaimMissing, ClaimCorrupted, ClaimStoreError) as error:
        return BodyReport(sealed=False, sent_size=sent_size, problem=str(error))
    inside = _explain_inline(text, len(text.encode()), None)
    return replace(
        inside,
        route="stored" if inside.route else None,
        sent_size=sent_size,
        stored_size=inside.sent_size,
        parts=1,
    )


def _damage_of(sealed: SealedMessage, decrypt: Decrypt | None) -> str | None:
    """Say what is wrong with contents that travel in the ticket; None if nothing is."""
    if isinstance(sealed.ticket, CarriedTicket):
        try:
            unpack_carried(_WHAT, sealed, sealed.ticket, decrypt)
        except (TicketInvalid, ClaimCorrupted) as error:
            return str(error)
    return None


def _look_up(
    sealed: SealedMessage,
    ticket: StoredTicket,
    stores: Stores,
    decrypt: Decrypt | None,
    consumer: str | None,
) -> ClaimReport:
    store = stores.with_label(ticket.store)
    lease_until = None
    expires_at = ticket.expires
    try:
        # Contents first: a delivery that ends meanwhile removes them, and leaves a receipt.
        contents = store.read(ticket.id, ticket.parts, stored=ticket.stored).result()
        record = store.look_up(record_of(ticket.id, ticket, consumer, what=_WHAT))
        state, detail = _judge(contents, record, sealed, ticket, stores=stores, decrypt=decrypt)
        if contents is not None:
            expires_at = contents.expires_at
        if record is not None and record.is_held:
            lease_until = _moment(store.now() + record.seconds_left)
    except ClaimStoreError as error:
        state, detail = "unreadable", str(error)
    except ConsumerUnknown:
        state, detail = "unreadable", "several queues have it. Say which one with --queue."
    except ClaimCorrupted as error:
        state, detail = "damaged", f"{_WHAT}: {error}."
    return ClaimReport(
        id=ticket.id,
        store=store.label,
        sender_store=ticket.store,
        consumer=consumer if ticket.shared else None,
        state=state,
        detail=detail,
        lease_until=lease_until,
        expires_at=_moment(expires_at),
    )


def _judge(
    contents: Contents | None,
    record: Record | None,
    sealed: SealedMessage,
    ticket: StoredTicket,
    *,
    stores: Stores,
    decrypt: Decrypt | None,
) -> tuple[ClaimState, str | None]:
    """Return the state that a delivery would find, and why."""
    try:
        parts = find_claim(stores, ticket, contents, record, what=_WHAT)
        if ticket.encryption is None or decrypt is not None:  # without the key nobody can tell
            unpack(_WHAT, sealed, parts, decrypt)
    except (ClaimAlreadyProcessed, ClaimInProgress):
        assert record is not None
        return record.state, None
    except (ClaimLost, ClaimMissing, ClaimCorrupted, TicketInvalid) as error:
        return _FOUND.get(type(error), "damaged"), str(error)
    return "there", None


def _moment(seconds: float) -> datetime:
    # Anybody who can write to the queue can write a ticket, with any number in it.
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)


def print_report(report: BodyReport, *, as_json: bool) -> None:
    """Print a report: lines of name and value, or one JSON document."""
    if as_json:
        print_json(asdict(report))
        return
    for name, value in _lines(report):
        print_line(f"{name:<16}{value}")


def _lines(report: BodyReport) -> Iterator[tuple[str, str]]:
    yield "sealed", "yes" if report.sealed else "no"
    if report.route is not None:
        yield "type", "none" if report.type is None else shown(report.type)
        yield "route", report.route
        yield "size", f"{report.size:,} bytes"
    yield "on the queue", f"{report.sent_size:,} bytes, without attributes"
    if report.stored_size:
        yield "stored", f"{report.stored_size:,} bytes in {counted(report.parts, 'part')}"
    if report.ratio is not None:
        yield "ratio", f"{report.ratio:.1f} to 1 ({report.encoding})"
        yield "signed", "yes" if report.signed else "no"
        yield "encrypted", "yes" if report.encrypted else "no"
    if report.claim is not None:
        yield from _claim_lines(report.claim)
    if report.problem is not None:
        yield "problem", report.problem


def _claim_lines(claim: ClaimReport) -> Iterator[tuple[str, str]]:
    yield "claim", claim.id
    yield "store", url_of_label(claim.store)
    if claim.sender_store != claim.store:
        yield "sender's store", url_of_label(claim.sender_store)
    if claim.consumer is not None:
        yield "queue", claim.consumer
    until = "" if claim.lease_until is None else f", lease until {_utc(claim.lease_until)}"
    detail = "" if claim.detail is None else f": {claim.detail}"
    yield "state", f"{claim.state.replace('_', ' ')}{until}{detail}"
    yield "expires", _utc(claim.expires_at)


def _utc(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
