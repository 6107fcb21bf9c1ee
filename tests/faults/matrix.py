"""`make faults`: the kill matrix and the network matrix, as Markdown tables of what was seen.

The first kills a process at every step of a message's life, on every backend. The second has one
call after another fail between client and server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.backends import BACKENDS, NAMES, Servers, servers
from tests.faults.steps import STEPS, Observation, observe

KILL_COLUMNS = (
    *("message", "killed", "when", "backend", "handler runs", "ends as", "left in the store"),
    *("lost, wrong", "verdict"),
)


def main() -> int:
    """Print both; 0 if every promise held."""
    with TemporaryDirectory() as name, servers(Path(name)) as running:
        all_held = print_kills(running, Path(name))
    return 0 if all_held else 1


def print_kills(running: Servers, parent: Path) -> bool:
    """Kill a process at every step, on every backend; whether every promise held."""
    all_held = True
    _print_row(*KILL_COLUMNS)
    _print_row(*("---" for _ in KILL_COLUMNS))
    for number, step in enumerate(STEPS):
        rows: dict[tuple[str, ...], list[str]] = {}
        for name in BACKENDS:
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


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
