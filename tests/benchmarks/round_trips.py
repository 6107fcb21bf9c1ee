"""Rounds of all libraries in turn (A B C A B C), each in a fresh process for each payload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from tests.benchmarks.children import Child
from tests.benchmarks.emulator import Emulator
from tests.benchmarks.networks import NetworkName
from tests.benchmarks.payloads import PayloadFile
from tests.benchmarks.peers import Library
from tests.benchmarks.results import RoundTrips
from tests.benchmarks.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Group:
    """What the libraries do in turn.

    Attributes:
        payload: The message.
        queue_limit: Bytes that the queue accepts.
        network: The network.
    """

    payload: PayloadFile
    queue_limit: int
    network: NetworkName


@dataclass(slots=True)
class _Runner:
    """A library at work, and the costs of its rounds so far."""

    library: Library
    child: Child
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    once: Traffic = field(default_factory=Traffic)
    late_calls: int = 0
    late_seconds: float = 0.0
    call_count: int = 0


def measure(
    emulator: Emulator, libraries: Sequence[Library], group: Group, *, rounds: int
) -> list[RoundTrips]:
    """Send, receive and delete a message several times, with each library that can.

    Args:
        emulator: The servers.
        libraries: The libraries.
        group: The message, the queue and the network.
        rounds: How often, after two rounds that do not count: the first connects, the second is
            metered.
    """
    with ExitStack() as stack:
        runners = list(_start(emulator, libraries, group, stack))
        for runner in runners:
            runner.child.ask()
        for runner in runners:
            emulator.proxy.start(metered=True)
            runner.child.ask()
            runner.once = emulator.proxy.stop()
        for _ in range(rounds):
            for runner in runners:
                _round(emulator, runner)
        found = [
            RoundTrips(
                library=runner.library.name,
                payload=group.payload.name,
                queue_limit=group.queue_limit,
                network=group.network,
                wall=runner.wall,
                cpu=runner.cpu,
                peak=runner.child.finish()["peak"],
                once=runner.once,
                late_calls=runner.late_calls,
                late_seconds=runner.late_seconds,
                call_count=runner.call_count,
            )
            for runner in runners
        ]
    emulator.empty_bucket()
    return found


def _start(
    emulator: Emulator,
    libraries: Sequence[Library],
    group: Group,
    stack: ExitStack,
) -> Iterator[_Runner]:
    for library in libraries:
        if library.takes(group.payload.size, group.queue_limit):
            place = emulator.place(emulator.make_queue(group.queue_limit), group.network)
            task = {
                "peer": library.name,
                "message": str(group.payload.path),
                "place": asdict(place),
            }
            child = Child(library.python, "peer_process", task, emulator.environment(group.network))
            yield _Runner(library, stack.enter_context(child))


def _round(emulator: Emulator, runner: _Runner) -> None:
    emulator.proxy.start()
    took = runner.child.ask()
    traffic = emulator.proxy.stop()
    runner.wall.append(took["send"]["wall"] + took["receive"]["wall"])
    runner.cpu.append(took["send"]["cpu"] + took["receive"]["cpu"])
    runner.late_calls += traffic.late_calls
    runner.late_seconds += traffic.late_seconds
    runner.call_count += traffic.call_count
