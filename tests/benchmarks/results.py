"""The results of a run, in one JSON file, so that a later run can be compared with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tests.benchmarks.measuring import Spread
from tests.benchmarks.networks import NetworkName
from tests.benchmarks.payloads import PayloadName
from tests.benchmarks.prices import dollars_per_million
from tests.benchmarks.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrips:
    """A message that one library sent, received and deleted several times.

    Attributes:
        library: Which library.
        payload: The payload of the message.
        queue_limit: Bytes that the queue accepts.
        network: The network.
        wall: Seconds of each round.
        cpu: Seconds of CPU of each round.
        peak: The most memory that the process had (bytes).
        once: The traffic of one round, with the units that AWS bills; empty on loopback.
        late_calls: Calls of all rounds that the emulator answered later than the model does.
        late_seconds: How much later, in all.
        call_count: Calls of all rounds.
    """

    library: str
    payload: PayloadName
    queue_limit: int
    network: NetworkName
    wall: list[float]
    cpu: list[float]
    peak: int
    once: Traffic
    late_calls: int
    late_seconds: float
    call_count: int

    @property
    def dollars_per_million(self) -> float:
        """The price of a million such messages."""
        return dollars_per_million(self.once.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line in the table of marks.

    Attributes:
        work: What was measured.
        limit: The figure to reach.
        at_most: Whether it is an upper limit.
        unit: The unit of the figures.
        measured: The figure of the run.
        detail: The figures that it follows from.
    """

    work: str
    limit: float
    at_most: bool
    unit: str
    measured: Spread
    detail: str

    @property
    def met(self) -> bool:
        """Whether the median reaches it."""
        found = self.measured.median
        return found <= self.limit if self.at_most else found >= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A run.

    Attributes:
        date: When it was, in ISO 8601.
        machine: The machine.
        versions: The version of each distribution.
        load: The load average of the minute before: how many processes wanted a core.
        quick: Whether it was the quick form.
        skipped: The libraries that were left out, and why.
        seconds: How long it took.
        marks: The table of marks.
        round_trips: The round trips of each library and payload.
    """

    date: str
    machine: str
    versions: dict[str, str]
    load: float
    quick: bool
    skipped: list[str]
    seconds: float
    marks: list[Mark]
    round_trips: list[RoundTrips]

    def write(self, path: Path) -> None:
        """Write it to a file, a line for each mark and each library's rounds."""
        facts = _ADAPTER.dump_python(self, mode="json")
        lists = {name: facts.pop(name) for name in ("marks", "round_trips")}
        entries = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items()]
        for name, rows in lists.items():
            lines = ",\n  ".join(map(json.dumps, rows))
            entries.append(f"{json.dumps(name)}: [\n  {lines}\n ]")
        path.write_text("{\n " + ",\n ".join(entries) + "\n}\n")

    @staticmethod
    def read(path: Path) -> Results:
        """Read it from a file."""
        return _ADAPTER.validate_json(path.read_bytes())


_ADAPTER = TypeAdapter(Results)
