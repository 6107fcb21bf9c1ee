"""What a run found, and how it is kept: one JSON file, which a later run can be compared with."""

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
    """A message sent, received and done with, several times, by one library.

    Attributes:
        library: Which.
        payload: What was in the message.
        queue_limit: Bytes that the queue accepts.
        network: Over which network.
        wall: Seconds of each round.
        cpu: Seconds of CPU of each round.
        peak: The most memory that the process had (bytes).
        once: The traffic of one round, with what AWS bills for it; nothing on loopback.
        late_calls: Of all rounds, the calls that the emulator answered later than the model has it.
        late_seconds: By how much, in all.
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
        """What AWS bills for a million such messages."""
        return dollars_per_million(self.once.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One line of the table of marks.

    Attributes:
        work: What was measured.
        limit: The figure that is to be reached.
        at_most: Whether it is an upper limit; else a lower one.
        unit: What follows the figures.
        measured: What was found.
        detail: The figures behind it.
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
        date: When, as ISO 8601.
        machine: On what.
        versions: Of what, by distribution.
        load: Processes that wanted a core, before it began (the load average of a minute).
        quick: Whether it was the short form.
        skipped: What was left out, and why.
        seconds: How long it took.
        marks: The table of marks.
        round_trips: What each library took for each payload.
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
        """Keep it, each mark and each library's rounds on a line."""
        facts = _ADAPTER.dump_python(self, mode="json")
        lists = {name: facts.pop(name) for name in ("marks", "round_trips")}
        entries = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items()]
        for name, rows in lists.items():
            lines = ",\n  ".join(map(json.dumps, rows))
            entries.append(f"{json.dumps(name)}: [\n  {lines}\n ]")
        path.write_text("{\n " + ",\n ".join(entries) + "\n}\n")

    @staticmethod
    def read(path: Path) -> Results:
        """One that was kept."""
        return _ADAPTER.validate_json(path.read_bytes())


_ADAPTER = TypeAdapter(Results)
