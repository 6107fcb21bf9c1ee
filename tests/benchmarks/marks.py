"""The marks: the figures to reach, and the figures of a run. A missed mark is not moved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from claimcheck.core.compression import encode, size_of
from claimcheck.core.cost import TICKET_BYTES, units_of
from claimcheck.core.prices import Prices
from claimcheck.stores.base import PART_BYTES
from tests.benchmarks.children import Child, answer_of
from tests.benchmarks.emulator import Emulator
from tests.benchmarks.import_time import import_seconds
from tests.benchmarks.measuring import Spread, ratio
from tests.benchmarks.networks import NETWORKS, NetworkName
from tests.benchmarks.payloads import PayloadFile, PayloadName
from tests.benchmarks.plan import NEW_QUEUE, OLD_QUEUE, Plan
from tests.benchmarks.queues import fill
from tests.benchmarks.results import Mark, RoundTrips
from tests.benchmarks.worker_marks import measure_worker_marks
from tests.benchmarks.worker_throughput import THREADS

Say = Callable[[str], None]

Cost: TypeAlias = Literal["wall", "cpu"]

_PYTHON = Path(sys.executable)
_WHOLE = 100
"""From so many milliseconds on, fractions mean nothing."""

_MOST_ENCRYPTED = 100
"""Pairs of runs with and without encryption, which take 50 ms each."""

_ROUND_TRIPS: tuple[tuple[str, PayloadName, int, float], ...] = (
    ("300 KB", "300 KB", NEW_QUEUE, 0.40),
    ("1 MB", "1 MB", NEW_QUEUE, 0.50),
    ("5 MB stored in DynamoDB", "5 MB", OLD_QUEUE, 0.85),
    ("20 MB stored in DynamoDB", "20 MB", NEW_QUEUE, 1.0),
    ("1.5 MB that does not compress", "1.5 MB noise", NEW_QUEUE, 1.0),
)
"""Payload, queue, and the most that claimcheck may take on the AWS-like network, as a multiple of
AWS's extended client. The queue accepts 1 MiB, unless the compressed message would fit that."""


_IN_A_BUCKET: tuple[tuple[PayloadName, int, NetworkName, Cost, float], ...] = (
    ("1.5 MB noise", NEW_QUEUE, "AWS-like", "wall", 0.80),
    ("1.5 MB noise", NEW_QUEUE, "AWS-like", "cpu", 1.10),
    ("1.5 MB noise", NEW_QUEUE, "loopback", "wall", 1.15),
    ("5 MB", OLD_QUEUE, "AWS-like", "wall", 0.45),
    ("20 MB", NEW_QUEUE, "AWS-like", "wall", 0.40),
)
"""The same with contents in S3: payload, queue, network, what is compared, and the most of it."""

_MOST_DOLLARS = 8.0
"""For a million messages with contents in S3, of any size: SQS 1.20, S3 5.40, records 1.25."""

_ATTACHED: tuple[tuple[PayloadName, float], ...] = (("2 KB", 1.02), ("300 KB", 0.5), ("1 MB", 0.5))
"""With the claim check attached to a boto3 client: payload, and the most of the extended client."""

_FORMER_WRITES = 1_198
"""Write units of 5 MB of JSON in DynamoDB before it was compressed harder for that."""

_FORMER_DOLLARS = 1_860
"""For a million of 1.5 MB that do not compress, in DynamoDB, removed when they are handled."""

_OF_FANFERRO = 0.9
_BESIDE_FANFERRO: tuple[PayloadName, ...] = ("300 KB", "1 MB", "5 MB", "20 MB", "1.5 MB noise")


def measure_marks(
    emulator: Emulator,
    plan: Plan,
    payloads: Mapping[PayloadName, PayloadFile],
    round_trips: Sequence[RoundTrips],
    say: Say,
) -> list[Mark]:
    """Measure every mark.

    Args:
        emulator: The servers.
        plan: How often.
        payloads: The messages.
        round_trips: Round trips that were measured before: some marks follow from them.
        say: Is told what comes next.
    """
    small, large = payloads["2 KB"], payloads["20 MB"]
    marks: list[Mark] = []
    for network in NETWORKS:
        say(f"small messages, {network}")
        marks += _small_sends(emulator, network, small, plan.small_sends[network])
    say("what the claim check adds, with no network")
    marks.append(_layer(small, plan.layer_sends))
    marks += _against_extended_client(round_trips)
    marks += _with_a_bucket(round_trips)
    marks += _attached(round_trips)
    marks += _in_dynamodb(round_trips, payloads["1.5 MB noise"])
    say("encryption")
    marks.append(_encryption(payloads["1 MB"], plan.layer_sends))
    say("memory")
    marks += _memory(emulator, large, plan.memory_runs)
    for network in NETWORKS:
        say(f"worker, {network}")
        marks.append(_worker(emulator, network, small, plan))
    marks += measure_worker_marks(emulator, plan, small, say)
    for network in NETWORKS:
        say(f"batches, {network}")
        marks.append(_batches(emulator, network, small, plan))
    say("imports")
    marks.append(_import(plan.imports))
    return marks


def _small_sends(
    emulator: Emulator, network: NetworkName, message: PayloadFile, calls: int
) -> Iterator[Mark]:
    took = answer_of(
        _PYTHON,
        "small_sends",
        {"message": str(message.path), "calls": calls},
        _environment(emulator, network),
    )
    for what, name, limit in (("wall", "wall", 1.03), ("CPU", "cpu", 1.05)):
        ours, theirs = _column(took, "ours", name), _column(took, "theirs", name)
        yield Mark(
            work=f"sending 2 KB, against `json.dumps` and boto3: {what}, {network}",
            limit=limit,
            at_most=True,
            unit="x",
            measured=ratio(ours, theirs),
            detail=f"{_milliseconds(ours)} against {_milliseconds(theirs)}",
        )


def _layer(message: PayloadFile, calls: int) -> Mark:
    took = answer_of(
        _PYTHON, "claim_check_layer", {"message": str(message.path), "calls": calls}, {}
    )
    ours, theirs = _column(took, "ours", "wall"), _column(took, "theirs", "wall")
    return Mark(
        work="`claimcheck.enqueue` of 2 KB, beyond `letsgo_queue.enqueue`, no network",
        limit=15,
        at_most=True,
        unit="µs",
        measured=_beyond(ours, theirs, unit=1e-6),
        detail=f"{Spread.of(ours).median * 1e6:.1f} µs against "
        f"{Spread.of(theirs).median * 1e6:.1f} µs",
    )


def _encryption(message: PayloadFile, sends: int) -> Mark:
    task = {"message": str(message.path), "runs": min(sends, _MOST_ENCRYPTED)}
    took = answer_of(_PYTHON, "encryption", task, {})
    ours, theirs = _column(took, "encrypted", "cpu"), _column(took, "plain", "cpu")
    return Mark(
        work="sealing and opening 1 MB with AES-256-GCM, beyond without: CPU",
        limit=3,
        at_most=True,
        unit="ms",
        measured=_beyond(ours, theirs, unit=1e-3),
        detail=f"{_milliseconds(ours)} against {_milliseconds(theirs)}",
    )


def _against_extended_client(round_trips: Sequence[RoundTrips]) -> Iterator[Mark]:
    found = _by_group(round_trips)
    for work, payload, queue, limit in _ROUND_TRIPS:
        ours = found["claimcheck", payload, queue, "AWS-like"]
        theirs = found["extended-client", payload, queue, "AWS-like"]
        yield _ratio_mark(f"{work}, against AWS's extended client", limit, ours.wall, theirs.wall)
    ours = found["claimcheck", "300 KB", NEW_QUEUE, "AWS-like"]
    theirs = found["extended-client", "300 KB", NEW_QUEUE, "AWS-like"]
    yield _exact_mark(
        "dollars per million of 300 KB, against AWS's extended client",
        0.35,
        "x",
        ours.dollars_per_million / theirs.dollars_per_million,
        detail=f"${ours.dollars_per_million:.2f} against ${theirs.dollars_per_million:.2f}",
    )


def _by_group(
    round_trips: Sequence[RoundTrips],
) -> Mapping[tuple[str, PayloadName, int, NetworkName], RoundTrips]:
    return {
        (each.library, each.payload, each.queue_limit, each.network): each for each in round_trips
    }


def _with_a_bucket(round_trips: Sequence[RoundTrips]) -> Iterator[Mark]:
    found = _by_group(round_trips)
    for payload, queue, network, cost, limit in _IN_A_BUCKET:
        ours = found["claimcheck-bucket", payload, queue, network]
        theirs = found["extended-client", payload, queue, network]
        yield _ratio_mark(
            f"{payload} with ?bucket=, against AWS's extended client: {cost}, {network}",
            limit,
            getattr(ours, cost),
            getattr(theirs, cost),
        )
    stored = [
        each.dollars_per_million
        for each in round_trips
        if each.library == "claimcheck-bucket" and each.once.units.s3_writes
    ]
    yield Mark(
        work="dollars per million stored with ?bucket=, any size",
        limit=_MOST_DOLLARS,
        at_most=True,
        unit="$",
        measured=Spread.of(stored),
        detail=f"${min(stored):.2f} to ${max(stored):.2f}",
    )
    for (library, payload, queue, network), theirs in found.items():
        if library == "fanferro" and payload in _BESIDE_FANFERRO and queue == NEW_QUEUE:
            ours = found["claimcheck-bucket", payload, queue, network]
            yield _ratio_mark(
                f"{payload} with ?bucket=, against fanferro with S3 payloads: wall, {network}",
                _OF_FANFERRO,
                ours.wall,
                theirs.wall,
            )


def _attached(round_trips: Sequence[RoundTrips]) -> Iterator[Mark]:
    found = _by_group(round_trips)
    for payload, limit in _ATTACHED:
        ours = found["claimcheck-attached", payload, NEW_QUEUE, "AWS-like"]
        theirs = found["extended-client", payload, NEW_QUEUE, "AWS-like"]
        yield _ratio_mark(
            f"{payload} with an attached boto3 client, against AWS's extended client",
            limit,
            ours.wall,
            theirs.wall,
        )


def _in_dynamodb(round_trips: Sequence[RoundTrips], noise: PayloadFile) -> Iterator[Mark]:
    writes = _by_group(round_trips)["claimcheck", "5 MB", OLD_QUEUE, "AWS-like"].once.units.writes
    yield _exact_mark(
        "write units of 5 MB of JSON in DynamoDB",
        _FORMER_WRITES - 2,
        "units",
        writes,
        detail=f"{_FORMER_WRITES:,} before it was compressed harder for DynamoDB",
    )
    _, parts = encode(noise.path.read_bytes(), part_bytes=PART_BYTES)
    units = units_of(TICKET_BYTES, stored_size=size_of(parts), place="dynamodb", purge="never")
    storage = replace(units, sqs_requests=0, write_units=0, read_units=0)
    dollars, stored = (Prices().dollars(each) * 1e6 for each in (units, storage))
    yield _exact_mark(
        'dollars of 1.5 MB noise in DynamoDB with purge="never", against "after" before',
        0.55,
        "x",
        dollars / _FORMER_DOLLARS,
        detail=f"${dollars:,.0f} per million, ${stored:,.0f} of it for storage until they expire",
    )


def _exact_mark(work: str, limit: float, unit: str, figure: float, *, detail: str) -> Mark:
    """A mark that is worked out, the same in each run."""
    return Mark(
        work=work,
        limit=limit,
        at_most=True,
        unit=unit,
        measured=Spread(figure, figure, figure),
        detail=detail,
    )


def _ratio_mark(work: str, limit: float, ours: Sequence[float], theirs: Sequence[float]) -> Mark:
    """A mark of a round trip, as a multiple of another library's."""
    return Mark(
        work=f"round trip {work}",
        limit=limit,
        at_most=True,
        unit="x",
        measured=ratio(ours, theirs),
        detail=f"{_milliseconds(ours)} against {_milliseconds(theirs)}",
    )


def _memory(emulator: Emulator, message: PayloadFile, runs: int) -> Iterator[Mark]:
    in_table = f"dynamodb://{emulator.table}"
    tasks: Mapping[str, Mapping[str, object]] = {
        "20 MB": {"message": str(message.path), "store": in_table},
        "200 MB that do not compress, with ?bucket=": {
            "noise": 150_000_000,
            "store": f"{in_table}?bucket={emulator.bucket}",
        },
    }
    for body, task in tasks.items():
        took = [
            answer_of(_PYTHON, "sealing_memory", task, emulator.environment("loopback"))
            for _ in range(runs)
        ]
        for what, name, limit in (("sealing", "seal", 1.0), ("opening", "open", 1.5)):
            yield Mark(
                work=f"extra peak memory {what} {body}, in bodies",
                limit=limit,
                at_most=True,
                unit="x",
                measured=Spread.of([each[name] / each["body"] for each in took]),
                detail=f"{Spread.of([each[name] for each in took]).median / 1e6:.1f} MB",
            )


def _worker(emulator: Emulator, network: NetworkName, message: PayloadFile, plan: Plan) -> Mark:
    def messages_per_second(library: str) -> float:
        # A queue for each run: MiniStack goes on with the long poll that a stopping worker gave
        # up, and would take the next run's messages with it.
        environment = _environment(emulator, network)
        queue = environment["LETSGO_QUEUE_URL"].rpartition("/")[2]
        fill(emulator, queue, message, plan.worker_messages)
        task = {"with": library, "messages": plan.worker_messages}
        return float(answer_of(_PYTHON, "worker_throughput", task, environment))

    ours, theirs = [], []
    for _ in range(plan.worker_pairs):
        ours.append(messages_per_second("claimcheck"))
        theirs.append(messages_per_second("boto3"))
    return Mark(
        work=f"worker, 2 KB, {THREADS} threads, against a bare boto3 loop: {network}",
        limit=1.0,
        at_most=False,
        unit="x",
        measured=ratio(ours, theirs),
        detail=f"{_rate(ours)} against {_rate(theirs)}",
    )


def _batches(emulator: Emulator, network: NetworkName, message: PayloadFile, plan: Plan) -> Mark:
    environment = _environment(emulator, network)
    task = {"message": str(message.path), "messages": plan.batch_messages}
    ours, theirs = [], []
    with Child(_PYTHON, "batch_sending", task, environment) as child:
        for _ in range(plan.batch_pairs):
            ours.append(plan.batch_messages / child.ask()["wall"])
            theirs.append(plan.batch_messages / child.ask()["wall"])
        child.finish()
    emulator.server.sqs().purge_queue(QueueUrl=environment["LETSGO_QUEUE_URL"])
    return Mark(
        work=f"{plan.batch_messages:,} of 2 KB in batches, against `send_message_batch`: {network}",
        limit=1.0,
        at_most=False,
        unit="x",
        measured=ratio(ours, theirs),
        detail=f"{_rate(ours)} against {_rate(theirs)}",
    )


def _import(pairs: int) -> Mark:
    ours, theirs, model = import_seconds(
        "import claimcheck", "import pydantic", "from pydantic import BaseModel", runs=pairs
    )
    return Mark(
        work="`import claimcheck`, against `import pydantic`",
        limit=1.3,
        at_most=True,
        unit="x",
        measured=ratio(ours, theirs),
        detail=f"{_milliseconds(ours)} against {_milliseconds(theirs)}; "
        f"`from pydantic import BaseModel` takes {_milliseconds(model)}",
    )


def _environment(emulator: Emulator, network: NetworkName) -> dict[str, str]:
    """The settings for a new queue, which both sides of a mark use."""
    place = emulator.place(emulator.make_queue(NEW_QUEUE), network)
    return {
        **emulator.environment(network),
        "LETSGO_QUEUE_URL": place.queue_url,
        "CLAIMCHECK_STORE": f"dynamodb://{place.table}",
    }


def _beyond(ours: Sequence[float], theirs: Sequence[float], *, unit: float) -> Spread:
    """How much more ours take, pair by pair, in a unit that has so many seconds."""
    return Spread.of([(a - b) / unit for a, b in zip(ours, theirs, strict=True)])


def _column(took: Mapping[str, Any], side: str, name: str) -> list[float]:
    return [cost[name] for cost in took[side]]


def _milliseconds(seconds: Sequence[float]) -> str:
    found = Spread.of(seconds).median * 1e3
    return f"{found:,.0f} ms" if found >= _WHOLE else f"{found:.3g} ms"


def _rate(per_second: Sequence[float]) -> str:
    return f"{Spread.of(per_second).median:,.0f}/s"
