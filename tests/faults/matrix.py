"""`make faults`: kills a process at every step, on every backend, and prints what was seen."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.backends import BACKENDS, AwsBackend, BackendName, SqliteBackend, ministack_server
from tests.faults.steps import STEPS, observe
from tests.support.servers import AwsServer

COLUMNS = ("killed", "when", "backend", "on the queue", "handler runs", "rows left", "verdict")
NAMES: dict[BackendName, str] = {"sqlite": "SQLite", "ministack": "SQS, DynamoDB"}


def main() -> int:
    """Print the matrix as a Markdown table; 0 if every promise held."""
    failures = 0
    _print_row(*COLUMNS)
    _print_row(*("---" for _ in COLUMNS))
    with TemporaryDirectory() as name, ministack_server(_folder(name, "ministack")) as server:
        for number, step in enumerate(STEPS):
            for backend in BACKENDS:
                if (expected := step.expected(backend)) is None:
                    _print_row(step.who, step.when, NAMES[backend], "", "", "", "no such moment")
                    continue
                folder = _folder(name, f"{number}-{backend}")
                seen = observe(step, _open(backend, server, folder), folder)
                problems = seen.problems(expected)
                failures += bool(problems)
                _print_row(
                    step.who,
                    step.when,
                    NAMES[backend],
                    "yes" if seen.sent else "no",
                    str(seen.seen.runs),
                    f"{seen.seen.rows}, which expire" if seen.seen.rows else "0",
                    "; ".join(problems) or "holds",
                )
    return 1 if failures else 0


def _open(name: BackendName, server: AwsServer, folder: Path) -> SqliteBackend | AwsBackend:
    return SqliteBackend(folder) if name == "sqlite" else AwsBackend(server)


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent, name)
    folder.mkdir()
    return folder


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
