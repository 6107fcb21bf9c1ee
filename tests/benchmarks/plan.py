"""What a full run and a quick run measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.benchmarks.networks import NETWORKS, NetworkName
from tests.benchmarks.payloads import PAYLOADS, PayloadName
from tests.benchmarks.peers import LIBRARIES, PeerName

NEW_QUEUE = 1_048_576
"""Bytes that SQS queues accept since August 2025."""

OLD_QUEUE = 262_144
"""Bytes that older queues accept."""

QUEUES = (NEW_QUEUE, OLD_QUEUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and how often.

    Attributes:
        libraries: Which libraries.
        rounds: Rounds of each payload. A payload that is not named is left out.
        groups: The queues and networks for each payload.
        small_sends: Pairs of sends for the mark on small messages, by network.
        layer_sends: Pairs of sends with no network.
        imports: Pairs of imports.
        memory_runs: Processes that seal and open.
        batch_messages: Messages sent in batches, each way.
        batch_pairs: How often, each way.
        worker_messages: Messages for a worker to handle.
        worker_pairs: How often, each library.
        worker_peers: Whether to run the workers of other libraries.
        worker_starts: Messages for an idle worker, one after the other.
        idle_seconds: How long to watch an idle worker.
    """

    libraries: tuple[PeerName, ...]
    rounds: Mapping[PayloadName, int]
    groups: Mapping[PayloadName, tuple[tuple[int, NetworkName], ...]]
    small_sends: Mapping[NetworkName, int]
    layer_sends: int
    imports: int
    memory_runs: int
    batch_messages: int
    batch_pairs: int
    worker_messages: int
    worker_pairs: int
    worker_peers: bool
    worker_starts: int
    idle_seconds: float


_EVERYWHERE: tuple[tuple[int, NetworkName], ...] = tuple(
    (queue, network) for queue in QUEUES for network in NETWORKS
)

_FOR_NO_QUEUE: tuple[PayloadName, ...] = ("20 MB", "1.5 MB noise")
"""Payloads that no queue accepts: they take the same way on each."""

_ON_NEW_QUEUES = tuple((NEW_QUEUE, network) for network in NETWORKS)

FULL = Plan(
    libraries=tuple(library.name for library in LIBRARIES),
    rounds={
        "2 KB": 25,
        "100 KB": 25,
        "300 KB": 25,
        "1 MB": 21,
        "5 MB": 13,
        "20 MB": 7,
        "1.5 MB noise": 15,
    },
    groups=dict.fromkeys(PAYLOADS, _EVERYWHERE) | dict.fromkeys(_FOR_NO_QUEUE, _ON_NEW_QUEUES),
    small_sends={"loopback": 2_000, "AWS-like": 400},
    layer_sends=10_000,
    imports=20,
    memory_runs=3,
    batch_messages=10_000,
    batch_pairs=3,
    worker_messages=2_000,
    worker_pairs=5,
    worker_peers=True,
    worker_starts=200,
    idle_seconds=60,
)

QUICK = Plan(
    libraries=(
        "claimcheck",
        "claimcheck-bucket",
        "claimcheck-attached",
        "boto3",
        "extended-client",
    ),
    rounds={"2 KB": 5, "300 KB": 7, "1 MB": 5, "5 MB": 5, "20 MB": 3, "1.5 MB noise": 5},
    groups={
        "2 KB": ((NEW_QUEUE, "AWS-like"),),
        "300 KB": ((NEW_QUEUE, "AWS-like"),),
        "1 MB": ((NEW_QUEUE, "AWS-like"),),
        "5 MB": ((OLD_QUEUE, "AWS-like"),),
        "20 MB": ((NEW_QUEUE, "AWS-like"),),
        "1.5 MB noise": ((NEW_QUEUE, "AWS-like"), (NEW_QUEUE, "loopback")),
    },
    small_sends={"loopback": 500, "AWS-like": 100},
    layer_sends=2_000,
    imports=5,
    memory_runs=1,
    batch_messages=1_000,
    batch_pairs=2,
    worker_messages=600,
    worker_pairs=2,
    worker_peers=False,
    worker_starts=20,
    idle_seconds=10,
)
