"""The tables of a run, for a terminal and for a web page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.measuring import Spread
from tests.benchmarks.networks import NETWORKS, NetworkName
from tests.benchmarks.payloads import PAYLOADS
from tests.benchmarks.peers import LIBRARIES, library
from tests.benchmarks.plan import QUEUES
from tests.benchmarks.prices import AS_OF, REGION
from tests.benchmarks.results import Mark, Results, RoundTrips
from tests.benchmarks.tables import table

BEGIN = "<!-- measured: what follows is made by `make bench` -->"
END = "<!-- measured: end -->"


def report(results: Results) -> str:
    """All tables."""
    return "\n\n".join(
        [_about(results), "### Marks", marks_table(results.marks), *_round_trips(results)]
    )


def write_into(page: Path, results: Results, chart: str) -> None:
    """Write the tables and the chart into a page, between its two markers."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    image = f"![Round trips on the AWS-like network, and what they cost]({chart})"
    page.write_text(f"{before}{BEGIN}\n\n{image}\n\n{report(results)}\n\n{END}{after}")


def marks_table(marks: Sequence[Mark]) -> str:
    """Each mark, its figure, and whether it is met."""
    return table(
        ["work", "mark", ">measured", ">quartiles", "", "behind it"],
        [
            (
                mark.work,
                f"{'at most' if mark.at_most else 'at least'} {mark.limit:g} {mark.unit}",
                f"{mark.measured.median:.2f} {mark.unit}",
                f"{mark.measured.low:.2f} to {mark.measured.high:.2f}",
                "met" if mark.met else "missed",
                mark.detail,
            )
            for mark in marks
        ],
    )


def _about(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    kind = "The quick form. " if results.quick else ""
    skipped = "".join(f" {why}" for why in results.skipped)
    return (
        f"{kind}Measured on {results.date[:10]}, in {results.seconds / 60:.0f} minutes, on "
        f"{results.machine}, with {versions}. The load of the machine was {results.load:.1f} "
        f"before.{skipped}"
    )


def _round_trips(results: Results) -> Iterator[str]:
    for network in reversed(NETWORKS):
        for queue in QUEUES:
            group = [
                each
                for each in results.round_trips
                if (each.network, each.queue_limit) == (network, queue)
            ]
            if group:
                yield f"### Round trips: {network}, a queue that accepts {queue:,} bytes"
                yield round_trips_table(network, group)
                if network == "AWS-like":
                    yield _lateness(group)


def round_trips_table(network: NetworkName, group: Sequence[RoundTrips]) -> str:
    """The round trips of each library and payload."""
    counted = network == "AWS-like"
    head = ["payload", "library", ">wall, ms", ">quartiles", ">CPU, ms", ">peak, MB"]
    if counted:
        head += [">calls", ">on the wire, KB", "billed units", ">$ per million"]
    order: list[str] = [each.name for each in LIBRARIES]
    ordered = sorted(
        group, key=lambda each: (PAYLOADS.index(each.payload), order.index(each.library))
    )
    return table(head, (_row(each, counted=counted) for each in ordered))


def _row(trips: RoundTrips, *, counted: bool) -> Sequence[str]:
    wall, cpu = Spread.of(trips.wall), Spread.of(trips.cpu)
    cells = [
        trips.payload,
        library(trips.library).title,
        f"{wall.median * 1e3:,.1f}",
        f"{wall.low * 1e3:,.1f} to {wall.high * 1e3:,.1f}",
        f"{cpu.median * 1e3:,.1f}",
        f"{trips.peak / 1e6:,.0f}",
    ]
    if counted:
        cells += [
            f"{trips.once.call_count}",
            f"{trips.once.wire_bytes / 1e3:,.0f}",
            _units(trips),
            f"{trips.dollars_per_million:,.2f}",
        ]
    return cells


def _units(trips: RoundTrips) -> str:
    units = trips.once.units
    named = {
        "SQS": units.sqs_requests,
        "write": units.writes,
        "read": units.reads,
        "S3 PUT": units.s3_writes,
        "S3 GET": units.s3_reads,
    }
    return ", ".join(f"{count:g} {name}" for name, count in named.items() if count)


def _lateness(group: Sequence[RoundTrips]) -> str:
    """How often the emulator was slower than the model, so that a figure is too high."""
    calls = sum(each.call_count for each in group)
    late = sum(each.late_calls for each in group)
    worst = max(group, key=lambda each: each.late_seconds / len(each.wall))
    each_round = worst.late_seconds / len(worst.wall)
    return (
        f"MiniStack answered {late:,} of {calls:,} calls later than the model does. The latest "
        f"rounds were {worst.payload} with {library(worst.library).title}: "
        f"{each_round * 1e3:.1f} ms over all calls. Dollars are those of {REGION}, as of {AS_OF}."
    )
