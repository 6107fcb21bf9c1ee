"""`make faults`: the kill matrix and the network matrix, as Markdown tables of what was seen.

The first kills a process at every step of a message's life, on every backend. The second has one
call after another fail between client and server.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from claimcheck.core.cost import Place
from tests.faults.backends import BACKENDS, NAMES, Servers, servers
from tests.faults.network import FAILURES, HOW_OFTEN, Case, Ending, Life, live, lives_in
from tests.faults.rig import impatient
from tests.faults.steps import STEPS, Observation, observe
from tests.faults.stores import PLACE_NAMES, PLACES
from tests.support.calls import Call

Rows: TypeAlias = tuple[tuple[str, ...], ...]
Matrix: TypeAlias = Literal["kills", "network"]

KILL_COLUMNS = (
    *("message", "killed", "when", "backend", "handler runs", "ends as", "left in the store"),
    *("lost, wrong", "verdict"),
)
NETWORK_COLUMNS = ("message", "call", "claims in", "what happens to it", *HOW_OFTEN, "verdict")
HOLDS = "holds"
AT_ONCE = 8


def main() -> int:
    """Print the matrices; 0 if every promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.matrix")
    parser.add_argument("--only", choices=PRINT, help="by default both")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what the workers say of each fault
    with TemporaryDirectory() as name, servers(Path(name)) as running:
        wanted = [arguments.only] if arguments.only else list(PRINT)
        held = [PRINT[each](running, Path(name)) for each in wanted]
    return 0 if all(held) else 1


def print_kills(running: Servers, parent: Path) -> bool:
    """Kill a process at every step, on every backend; whether every promise held."""
    all_held = True
    _print_head(*KILL_COLUMNS)
    for number, step in enumerate(STEPS):
        rows: dict[tuple[str, ...], list[str]] = {}
        for name in filter(step.is_on, BACKENDS):
            folder = parent / f"{number}-{name}"
            folder.mkdir()
            with running.backend(name, folder) as backend:
                observation = observe(step, backend, folder)
            problems = observation.problems(step.expected(name))
            all_held = all_held and not problems
            rows.setdefault(_cells(observation, problems), []).append(NAMES[name])
        for cells, backends in rows.items():
            names = "all" if len(rows) == 1 else ", ".join(backends)
            _print_row(step.message, step.who, step.when, names, *cells)
    return all_held


def print_network(running: Servers, parent: Path) -> bool:
    """Have one call after another fail, with claims in every place; whether every promise held."""
    del parent
    all_held = True
    _print_head(*NETWORK_COLUMNS)
    with impatient(), running.use("ministack") as server, ThreadPoolExecutor(AT_ONCE) as pool:

        def submit(case: Case) -> Future[Ending]:
            return pool.submit(live, case, server)

        endings: defaultdict[tuple[str, Call], dict[Place, Callable[[], Rows]]] = defaultdict(dict)
        for place in PLACES:
            for life in lives_in(place):
                for call in life.calls:
                    futures = [
                        [submit(Case(place, life, call, each, often)) for often in HOW_OFTEN]
                        for each in FAILURES
                    ]
                    endings[life.name, call][place] = partial(_rows, life, futures)
        for (name, call), by_place in endings.items():
            seen: defaultdict[Rows, list[str]] = defaultdict(list)
            for place, rows in by_place.items():
                seen[rows()].append(PLACE_NAMES[place])
            for each, places in seen.items():
                where = "all" if len(seen) == 1 else ", ".join(places)
                for row in each:
                    _print_row(name, call, where, *row)
                    all_held = all_held and row[-1] == HOLDS
    return all_held


def _rows(life: Life, endings: list[list[Future[Ending]]]) -> Rows:
    """What was seen of each failure of a call; failures that ended alike are in one row."""
    rows: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for failure, futures in zip(FAILURES.values(), endings, strict=True):
        ends = [future.result() for future in futures]
        problems = [problem for end in ends for problem in end.problems(life)]
        rows[*map(str, ends), "; ".join(problems) or HOLDS].append(failure)
    return tuple(
        ("any" if len(rows) == 1 else ", ".join(failures), *cells)
        for cells, failures in rows.items()
    )


PRINT: Mapping[Matrix, Callable[[Servers, Path], bool]] = {
    "kills": print_kills,
    "network": print_network,
}


def _cells(observation: Observation, problems: list[str]) -> tuple[str, ...]:
    seen = observation.seen
    ends = "dead letter" if seen.dead else "handled" if seen.receipts else "not sent"
    left = {"part": seen.parts, "receipt": seen.receipts, "record": seen.records}
    counted = [f"{count} {name}{'s' * (count > 1)}" for name, count in left.items() if count]
    return (
        str(seen.runs),
        ends,
        ", ".join(counted) or "nothing",
        f"{observation.lost}, {observation.wrong}",
        "; ".join(problems) or HOLDS,
    )


def _print_head(*columns: str) -> None:
    print()
    _print_row(*columns)
    _print_row(*("---" for _ in columns))


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
