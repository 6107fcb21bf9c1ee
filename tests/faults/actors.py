"""The processes that send and handle messages, and die: `python -m tests.faults.actors ORDERS`.

They use the product as anybody does. What is done to them comes from outside, or from the wire that
watches them.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field, TypeAdapter

from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimInProgress,
    DuplicateSuppressed,
    unwrap_claim_check,
)
from claimcheck.core.life import Purge
from claimcheck.core.ticket import StoredTicket, read
from claimcheck.middleware import EnqueueResult
from letsgo_queue import (
    Client,
    Message,
    MessageHandled,
    MessageRejected,
    RetryPolicy,
    Worker,
)
from letsgo_queue import EnqueueResult as SendResult
from letsgo_queue.events import Event
from letsgo_queue.message import encode
from letsgo_queue.middleware import Middleware, SendContext, Steps, use_middleware
from letsgo_queue.transports.base import OutgoingMessage, Transport
from letsgo_queue.worker import processes
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.processes import ChildProcess
from letsgo_queue.worker.signals import stop_on_signals
from tests.faults.journal import Entry, Journal
from tests.faults.wire import Kill, Wire
from tests.support.calls import Call
from tests.support.waiting import wait_for

THREE_PARTS = 1_200_000
"""Bytes of a message whose claim has three parts."""

SMALL = 200
"""Bytes of a message that has no claim."""

MAX_SIZE = 64 * 1024 * 1024


class Job(BaseModel):
    number: int
    text: str


class JobMessage(Message[Job]):
    """Of two types: the handler of one has every message handled once, also a small one."""

    type: Literal["job", "job once"]


class Produce(BaseModel, frozen=True):
    """Enqueue messages, one after the other.

    Attributes:
        first: The number of the first one.
        count: How many.
        sizes: The smallest and the largest (bytes); sizes between them are drawn by number.
        twice: The share of stored messages that are sent twice.
        once: The share of all messages that are handled once.
        most_unhandled: How many it has on the queue at once.
        kill: When to die, while the last one is enqueued.
    """

    role: Literal["produce"] = "produce"
    journal: Path
    first: int = 1
    count: int = 1
    sizes: tuple[int, int] = (THREE_PARTS, THREE_PARTS)
    twice: float = 0
    once: float = 0
    most_unhandled: int = 100
    kill: Kill | None = None


class Work(BaseModel, frozen=True):
    """Handle messages until a signal comes.

    Attributes:
        concurrency: How many at once.
        visibility_timeout: Seconds; None for the queue's own.
        purge: When contents are removed.
        work: What a handler does: nothing, for some milliseconds; fail; or wait until other
            deliveries of its message were refused.
        refusals: How many it waits for.
        max_attempts: Deliveries after which a message that fails is a dead letter.
        processes: How many do it; more than one are children of the process that is started.
        kill: When to die.
    """

    role: Literal["work"] = "work"
    journal: Path
    concurrency: int = 1
    visibility_timeout: int | None = None
    purge: Purge = "after"
    work: Literal["nothing", "some", "fail", "wait"] = "nothing"
    refusals: int = 0
    max_attempts: int | None = None
    processes: int = 1
    kill: Kill | None = None


Orders: TypeAlias = Annotated[Produce | Work, Field(discriminator="role")]


def job(number: int, size: int = THREE_PARTS, *, once: float = 0) -> JobMessage:
    """The message of that number, always the same: every third one compresses to half."""
    count = size * 3 // 4
    noise = random.Random(number).randbytes(count)
    text = noise[: size // 2].hex() if number % 3 == 0 and size < THREE_PARTS else _base64(noise)
    is_once = random.Random(number).random() < once
    return JobMessage(type="job once" if is_once else "job", payload=Job(number=number, text=text))


def sha256_of(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def produce(
    orders: Produce, transport: Transport | None = None, claim_check: ClaimCheck | None = None
) -> None:
    """Follow the orders, here; by default with the queue and the store of the environment."""
    journal = Journal(orders.journal)
    claims, twice = ClaimCheckMiddleware(claim_check), _SendTwice(journal, orders.twice)
    client = Client(transport, middleware=[claims, twice])
    wire = _wire(orders.kill, journal)
    last = orders.first + orders.count - 1
    for number in range(orders.first, last + 1):
        message = job(number, _size(number, *orders.sizes), once=orders.once)
        sha256 = sha256_of(encode(message)[1])
        wait_for(lambda: _unhandled(journal) < orders.most_unhandled, "the workers to keep up")
        journal.write(Entry(what="sending", number=number, sha256=sha256))
        if number == last and wire is not None:
            wire.arm()
        result = client.enqueue(message)
        assert isinstance(result, EnqueueResult)
        journal.write(
            Entry(what="enqueued", number=number, message_id=result.message_id, route=result.route)
        )
    journal.close()


def work(
    orders: Work,
    transport: Transport | None = None,
    claim_check: ClaimCheck | None = None,
    *,
    burst: bool = False,
    child: ChildProcess | None = None,
) -> None:
    """Follow the orders, here; by default with the queue and the store of the environment.

    Args:
        orders: What to do.
        transport: The queue.
        claim_check: The claim check.
        burst: Whether to stop once the queue has nothing more.
        child: Which of several processes this is.
    """
    journal = Journal(orders.journal)
    wire = _wire(orders.kill, journal)
    inside = use_middleware(_Inside(journal))
    attempts = orders.max_attempts
    policy = None if attempts is None else RetryPolicy(base=0, cap=0, max_attempts=attempts)
    worker = Worker(
        transport,
        middleware=[_Outside(journal)],
        concurrency=orders.concurrency,
        visibility_timeout=orders.visibility_timeout,
        wait_seconds=1,
        retry_policy=policy,
    )

    def handle() -> None:
        if wire is not None:
            worker.stop()  # or it would receive another message while it is killed at this one
            wire.begin(Call.HANDLE)
        _do(orders, journal)

    @worker.handler("job")
    @unwrap_claim_check(claim_check=claim_check, purge=orders.purge)
    @inside
    def on_job(message: JobMessage) -> None:
        handle()

    @worker.handler("job once")
    @unwrap_claim_check(claim_check=claim_check, purge=orders.purge, once=True)
    @inside
    def on_job_once(message: JobMessage) -> None:
        handle()

    worker.add_listener(_follow(journal))
    if wire is not None:
        wire.arm()
    if child is not None:
        child.when_told_to_stop(worker.stop)
    with stop_on_signals(worker.stop):  # from the moment on at which it says that it is ready
        journal.write(Entry(what="ready", process=os.getpid()))
        worker.run(burst=burst)
    journal.close()


class _Outside(Middleware):
    """Sees a message before it is opened."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def handle(self, message: IncomingMessage, /) -> Steps:
        try:
            yield
        except ClaimInProgress:
            self._journal.write(Entry(what="in progress", message_id=message.message_id))
            raise


class _Inside(Middleware):
    """Sees a message as the handler gets it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def handle(self, message: IncomingMessage, /) -> Steps:
        number = JobMessage.model_validate_json(message.body).payload.number
        entry = Entry(
            what="started",
            number=number,
            message_id=message.message_id,
            sha256=sha256_of(message.body),
            once=message.type == "job once",
        )
        self._journal.write(entry)
        yield
        self._journal.write(entry.model_copy(update={"what": "returned"}))


class _SendTwice(Middleware[SendResult]):
    """Sends some of the stored messages a second time, as they are."""

    def __init__(self, journal: Journal, share: float) -> None:
        self._journal = journal
        self._share = share
        self._context: SendContext | None = None

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        self._context = context
        return message

    def after_send(self, message: OutgoingMessage, result: SendResult) -> SendResult:
        sealed = read(message.body.decode(), max_size=MAX_SIZE)
        is_stored = sealed is not None and isinstance(sealed.ticket, StoredTicket)
        if is_stored and random.random() < self._share and self._context is not None:
            message_id = self._context.transport.send(message)
            self._journal.write(Entry(what="sent again", message_id=message_id))
        return result


def _wire(kill: Kill | None, journal: Journal) -> Wire | None:
    if kill is None:
        return None
    wire = Wire(
        kill, received=lambda receipt: journal.write(Entry(what="received", receipt=receipt))
    )
    wire.watch()
    return wire


def _do(orders: Work, journal: Journal) -> None:
    if orders.work == "some":
        time.sleep(random.uniform(0, 0.05))
    elif orders.work == "fail":
        raise RuntimeError("the test says so")
    elif orders.work == "wait":
        wait_for(lambda: journal.count("in progress") >= orders.refusals, "the refusals")


def _follow(journal: Journal) -> Callable[[Event], None]:
    def follow(event: Event) -> None:
        match event:
            case MessageHandled(message_id=message_id):
                journal.write(Entry(what="settled", message_id=message_id, peak=_peak()))
            case DuplicateSuppressed(message_id=message_id, receive_count=count):
                suppressed = Entry(what="suppressed", message_id=message_id, receive_count=count)
                journal.write(suppressed)
            case MessageRejected(message_id=message_id):
                journal.write(Entry(what="dead", message_id=message_id))

    return follow


def _unhandled(journal: Journal) -> int:
    return journal.count("enqueued") - len(set(journal.numbers("returned")))


def _size(number: int, smallest: int, largest: int) -> int:
    """A size whose logarithm is anything between, so that most are small and some are large."""
    place = random.Random(-number).random()
    return int(smallest * (largest / smallest) ** place)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    obey(TypeAdapter[Produce | Work](Orders).validate_json(sys.argv[1]))


def obey(orders: Produce | Work) -> None:
    if isinstance(orders, Produce):
        produce(orders)
    elif orders.processes == 1:
        work(orders)
    else:
        processes.STEADY_SECONDS = 0  # the test kills them, however well they are
        child = processes.fork_processes(orders.processes, drain_timeout=25, until_done=False)
        if child is not None:
            work(orders, child=child)


if __name__ == "__main__":
    main()
