"""`make bench` and `make bench-quick`: measure, print the tables, write docs/performance.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.chart import chart
from tests.benchmarks.compare import compare
from tests.benchmarks.emulator import ROOT, run_emulator
from tests.benchmarks.machine import machine, versions
from tests.benchmarks.marks import measure_marks
from tests.benchmarks.payloads import PAYLOADS, write_payload
from tests.benchmarks.peers import LIBRARIES, Library
from tests.benchmarks.plan import FULL, QUICK, Plan
from tests.benchmarks.report import report, write_into
from tests.benchmarks.results import Results, RoundTrips
from tests.benchmarks.round_trips import Group, measure

DOCS = ROOT / "docs"
PAGE, CHART, KEPT = DOCS / "performance.md", DOCS / "performance.svg", DOCS / "performance.json"


def main() -> int:
    """Measure. The exit code is 0 once the tables are made, whether or not the marks are met."""
    arguments = _parse()
    if arguments.compare:
        old, new = map(Results.read, arguments.compare)
        print(compare(old, new))
        return 0
    results = run(QUICK if arguments.quick else FULL, quick=arguments.quick)
    print(report(results))
    kept = arguments.json or (None if arguments.quick else KEPT)
    if kept is not None:
        results.write(kept)
    if not arguments.quick and arguments.json is None:
        CHART.write_text(chart(results))
        write_into(PAGE, results, CHART.name)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer payloads and runs; write nothing"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results there, and leave docs/ alone"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("OLD", "NEW"),
        help="measure nothing; print two written runs beside each other",
    )
    return parser.parse_args()


def run(plan: Plan, *, quick: bool) -> Results:
    """Measure everything in a plan."""
    load = os.getloadavg()[0]
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    libraries, skipped = _installed(plan)
    with TemporaryDirectory() as name:
        folder = Path(name)
        payloads = {each: write_payload(each, folder) for each in PAYLOADS}
        (folder / "ministack").mkdir()
        with run_emulator(folder / "ministack") as emulator:
            trips: list[RoundTrips] = []
            for payload, groups in plan.groups.items():
                for queue_limit, network in groups:
                    say(f"{payload}, {network}, queue of {queue_limit:,} bytes")
                    group = Group(payloads[payload], queue_limit, network)
                    trips += measure(emulator, libraries, group, rounds=plan.rounds[payload])
            marks = measure_marks(emulator, plan, payloads, trips, say)
    return Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        versions=versions(libraries),
        load=load,
        quick=quick,
        skipped=skipped,
        seconds=time.monotonic() - began,
        marks=marks,
        round_trips=trips,
    )


def _installed(plan: Plan) -> tuple[Sequence[Library], list[str]]:
    """The libraries of a plan that are installed, and a sentence for each of the others."""
    planned = [each for each in LIBRARIES if each.name in plan.libraries]
    missing = [each for each in planned if not each.python.exists()]
    return (
        [each for each in planned if each not in missing],
        [f"{each.title} is left out: {each.needs}." for each in missing],
    )


if __name__ == "__main__":
    sys.exit(main())
