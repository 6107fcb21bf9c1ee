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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from tests.faults.backends import BACKENDS, NAMES, Servers, servers
from tests.faults.network import FAILURES, HOW_OFTEN, Case, Ending, Life, live, lives_in
from tests.faults.rig import impatient
from tests.faults.steps import STEPS, Observation, observe
from tests.faults.stores import PLACES, Place
from tests.support.calls import Call
from tests.support.faulty_server import Failure

Matrix: TypeAlias = Literal["kills", "network"]

KILL_COLUMNS = (
    *("message", "killed", "when", "backend", "handler runs", "ends as", "left in the store"),
    *("lost, wrong", "verdict"),
)
NETWORK_COLUMNS = ("message", "call", "what happens to it", *HOW_OFTEN, "verdict")
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
    held = [_print_network_of(place, running) for place in PLACES]
    return all(held)


def _print_network_of(place: Place, running: Servers) -> bool:
    all_held = True
    print(f"\nClaims in a {place}:", flush=True)
    _print_head(*NETWORK_COLUMNS)
    with impatient(), running.use("ministack") as server, ThreadPoolExecutor(AT_ONCE) as pool:

        def submit(life: Life, call: Call, failure: Failure) -> list[Future[Ending]]:
            return [
                pool.submit(live, Case(place, life, call, failure, how_often), server)
                for how_often in HOW_OFTEN
            ]

        endings = [
            (life, call, [submit(life, call, failure) for failure in FAILURES])
            for life in lives_in(place)
            for call in life.calls
        ]
        for life, call, each in endings:
            rows: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
            for failure, futures in zip(FAILURES.values(), each, strict=True):
                ends = [future.result() for future in futures]
                problems = [problem for end in ends for problem in end.problems(life)]
                all_held = all_held and not problems
                rows[*map(str, ends), "; ".join(problems) or "holds"].append(failure)
            for cells, failures in rows.items():
                what = "any" if len(rows) == 1 else ", ".join(failures)
                _print_row(life.name, call, what, *cells)
    return all_held


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
        "; ".join(problems) or "holds",
    )


def _print_head(*columns: str) -> None:
    print()
    _print_row(*columns)
    _print_row(*("---" for _ in columns))


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
