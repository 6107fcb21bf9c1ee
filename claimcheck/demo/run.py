"""Runs the demo: sends each message, waits for the worker to have it, checks what became of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from claimcheck.core.claim_check import ClaimCheck, Route
from claimcheck.default import claim_check_for
from claimcheck.demo.messages import DemoMessage
from claimcheck.demo.worker import READY
from claimcheck.middleware import ClaimCheckMiddleware, EnqueueResult
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores.base import PART_BYTES
from letsgo_queue import Client, QueueSettings
from letsgo_queue.message import encode

DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.002

_OURS = ("LETSGO_", "CLAIMCHECK_")


class DemoFailed(Exception):
    """The demo could not be run to its end."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One message, there and back.

    Attributes:
        type: Its type.
        result: What `enqueue` said.
        seconds: From the call of `enqueue` to the handler.
        intact: Whether the handler got what was sent, byte for byte.
        untouched: Whether what travelled on the queue is what was sent, byte for byte.
    """

    type: str
    result: EnqueueResult
    seconds: float
    intact: bool
    untouched: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the demo promises, and whether it held."""

    promise: str
    held: bool


def local_settings(folder: Path) -> dict[str, str]:
    """Settings for a queue and claims in one SQLite file, in place of the environment's."""
    return {"LETSGO_QUEUE_URL": f"sqlite:///{folder / 'demo.db'}"}


def run_demo(
    messages: Sequence[DemoMessage],
    folder: Path,
    settings: Mapping[str, str] | None,
    progress: Callable[[RoundTrip], None],
) -> list[Check]:
    """Send every message, and say whether all that was promised held.

    Args:
        messages: What to send.
        folder: Where the worker leaves what it got.
        settings: In place of the LETSGO_* and CLAIMCHECK_* variables; None for those as they are.
        progress: Called after each message.

    Raises:
        DemoFailed: The worker ended, or did not get a message in time.
        LetsGoQueueError: The queue cannot be used.
        ClaimCheckError: The store cannot be used.
    """
    environment = dict(os.environ)
    if settings is not None:
        environment = {k: v for k, v in environment.items() if not k.startswith(_OURS)}
        environment.update(settings)
    queue = QueueSettings.from_environment(environment)
    client = Client(settings=queue)
    claim_check = claim_check_for(
        client.transport().url, ClaimCheckSettings.from_environment(environment)
    )
    client.add_middleware(ClaimCheckMiddleware(claim_check))
    trips: list[RoundTrip] = []
    with _worker(folder, [message["type"] for message in messages], environment) as worker:
        for message in messages:
            trips.append(_send(client, message, folder, worker))
            progress(trips[-1])
    rows = sum(_rows_left(claim_check, trip.result) for trip in trips)
    client.close()
    return _checks(trips, rows)


def _send(
    client: Client, message: DemoMessage, folder: Path, worker: subprocess.Popen[bytes]
) -> RoundTrip:
    _, body = encode(message)
    started = time.time()
    result = cast("EnqueueResult", client.enqueue(message))
    when = folder / f"{result.message_id}.when"
    _wait_for(when, worker)
    return RoundTrip(
        type=message["type"],
        result=result,
        seconds=float(when.read_text()) - started,
        intact=when.with_suffix(".handled").read_bytes() == body,
        untouched=when.with_suffix(".travelled").read_bytes() == body,
    )


def _checks(trips: Sequence[RoundTrip], rows: int) -> list[Check]:
    inline = [trip for trip in trips if trip.result.route == "inline"]
    ways = {trip.result.route for trip in trips}
    intact = sum(trip.intact for trip in trips)
    untouched = sum(trip.untouched for trip in inline)
    return [
        Check(f"{intact} of {len(trips)} payloads came back byte for byte", intact == len(trips)),
        Check(
            f"{untouched} of {len(inline)} small messages travelled untouched",
            untouched == len(inline),
        ),
        Check(f"messages went {len(ways)} of 3 ways", ways == set(get_args(Route))),
        Check(f"{rows} rows are left in the store", rows == 0),
    ]


def _rows_left(claim_check: ClaimCheck, result: EnqueueResult) -> int:
    if result.claim_id is None:
        return 0
    return claim_check.store.count_rows(result.claim_id, -(-result.stored_size // PART_BYTES))


@contextmanager
def _worker(
    folder: Path, types: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; on leaving it has finished what it had in hand."""
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
