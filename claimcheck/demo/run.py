"""Runs the demo: sends each message, waits until the worker has it, and checks the result."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from claimcheck.core.opened import Route
from claimcheck.core.ticket import StoredTicket, read
from claimcheck.demo.messages import DemoMessage
from claimcheck.demo.worker import READY
from claimcheck.errors import ClaimCheckError
from claimcheck.middleware import ClaimCheckMiddleware, EnqueueResult
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from claimcheck.stores.base import ClaimStore, record_key
from letsgo_queue import Client, QueueSettings
from letsgo_queue.message import encode

DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.002

_OURS = ("LETSGO_", "CLAIMCHECK_")


class DemoFailed(ClaimCheckError):
    """The demo did not come to its end."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One message, there and back.

    Attributes:
        type: Its type.
        result: The result of `enqueue`.
        seconds: From the call of `enqueue` to the handler.
        sent: The body, as it was enqueued.
        travelled: The body on the queue.
        handled: The body that the handler got.
    """

    type: str
    result: EnqueueResult
    seconds: float
    sent: bytes = field(repr=False)
    travelled: bytes = field(repr=False)
    handled: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, and whether it held."""

    promise: str
    held: bool


def local_settings(folder: Path) -> dict[str, str]:
    """Settings for a queue and its claims in one SQLite file."""
    return {"LETSGO_QUEUE_URL": f"sqlite:///{folder / 'demo.db'}"}


def run_demo(
    messages: Sequence[DemoMessage],
    folder: Path,
    settings: Mapping[str, str] | None,
    progress: Callable[[RoundTrip], None],
) -> list[Check]:
    """Send every message, wait until the worker has it, and check the result.

    Args:
        messages: The messages.
        folder: The worker writes the messages that it got into this folder.
        settings: Variables in place of all LETSGO_* and CLAIMCHECK_* variables; None to use those.
        progress: Called after each message.

    Raises:
        DemoFailed: The worker ended, or did not get a message in time.
        LetsGoError: The queue or the store cannot be used.
    """
    environment = dict(os.environ)
    if settings is not None:
        environment = {k: v for k, v in environment.items() if not k.startswith(_OURS)}
        environment.update(settings)
    environment.pop("CLAIMCHECK_PURGE", None)  # the demo leaves no contents behind
    trips: list[RoundTrip] = []
    with closing(Client(settings=QueueSettings.from_environment(environment))) as client:
        claim_check = claim_check_for(
            client.transport().url, ClaimCheckSettings.from_environment(environment)
        )
        sender = client.using(ClaimCheckMiddleware(claim_check))
        with closing(claim_check.store) as store:
            with _worker(folder, [message["type"] for message in messages], environment) as worker:
                for message in messages:
                    trips.append(_send(sender, message, folder, worker))
                    progress(trips[-1])
            return _checks(trips, store)


def _send(
    client: Client[EnqueueResult],
    message: DemoMessage,
    folder: Path,
    worker: subprocess.Popen[bytes],
) -> RoundTrip:
    _, body = encode(message)
    started = time.time()
    result = client.enqueue(message)
    when = folder / f"{result.message_id}.when"
    _wait_for(when, worker)
    return RoundTrip(
        type=message["type"],
        result=result,
        seconds=float(when.read_text()) - started,
        sent=body,
        travelled=when.with_suffix(".travelled").read_bytes(),
        handled=when.with_suffix(".handled").read_bytes(),
    )


def _checks(trips: Sequence[RoundTrip], store: ClaimStore) -> list[Check]:
    inline = [trip for trip in trips if trip.result.route == "inline"]
    stored = [trip for trip in trips if trip.result.route == "stored"]
    ways = {trip.result.route for trip in trips}
    intact = sum(trip.handled == trip.sent for trip in trips)
    untouched = sum(trip.travelled == trip.sent for trip in inline)
    cleaned = sum(_left_a_receipt_only(trip, store) for trip in stored)
    return [
        Check(f"{intact} of {len(trips)} payloads came back byte for byte", intact == len(trips)),
        Check(
            f"{untouched} of {len(inline)} small messages travelled untouched",
            untouched == len(inline),
        ),
        Check(f"messages went {len(ways)} of 3 ways", ways == set(get_args(Route))),
        Check(
            f"{cleaned} of {len(stored)} stored messages left nothing but a receipt",
            cleaned == len(stored),
        ),
    ]


def _left_a_receipt_only(trip: RoundTrip, store: ClaimStore) -> bool:
    sealed = read(trip.travelled.decode(), max_size=len(trip.sent))
    assert sealed is not None
    assert isinstance(sealed.ticket, StoredTicket)
    record = store.look_up(record_key(sealed.ticket.id))
    ticket = sealed.ticket
    contents = store.read(ticket.id, ticket.parts, stored=ticket.stored).result()
    return record is not None and record.state == "done" and contents is None


@contextmanager
def _worker(
    folder: Path, types: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process. When the block ends, the worker first finishes its messages."""
    command = [sys.executable, "-m", "claimcheck.demo.worker", str(folder), *types]
    worker = subprocess.Popen(command, env=environment)
    try:
        _wait_for(folder / READY, worker)
        yield worker
        worker.terminate()
        worker.wait(DEADLINE_SECONDS)
    finally:
        worker.kill()
        worker.wait()


def _wait_for(path: Path, worker: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        if worker.poll() is not None:
            raise DemoFailed(f"the worker ended with exit code {worker.returncode}.")
        if time.monotonic() > deadline:
            raise DemoFailed(f"the worker did not get a message within {DEADLINE_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)
