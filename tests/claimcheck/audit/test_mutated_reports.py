"""A saved report may come from anywhere: it can be shown, or it is refused in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from claimcheck.audit import AuditReport, AuditSettings
from claimcheck.audit.comparison import compare
from claimcheck.audit.page import page
from claimcheck.audit.text import change_lines, growth_lines, problem_lines, report_lines
from claimcheck.errors import AuditInvalid
from tests.claimcheck.audit.reports import report_of

REPORT = report_of(
    {"order:new": [100, 200, 5_000]},
    AuditSettings(budgets={"order:*": 1_000}),
    route="compressed",
    sent_size=90,
    test="a test",
)
NOTHING = object()
VALUES = [
    NOTHING,
    None,
    True,
    0,
    -1,
    2**53,
    10**400,
    1e300,
    float("nan"),
    float("-inf"),
    "\x1b[2J\n\u202e",
    "9" * 5_000,
    "1e999",
    "9999-12-31T23:59:59-14:00",
    [],
    {},
    {"99999999": 3},
    {"0": -3},
]


def test_a_mutated_report_is_shown_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    shown, refused = 0, []
    for mutated in (*mutated_values(), *mutated_bytes()):
        path.write_bytes(mutated)
        try:
            report = AuditReport.load(path)
        except AuditInvalid as error:
            refused.append(str(error))
        else:
            show(report)
            shown += 1
    assert shown > 100
    assert len(refused) > 500
    assert all(each.isprintable() for each in refused)


def show(report: AuditReport) -> None:
    """All that `claimcheck audit` does with a report."""
    lines = [*report_lines(report), *problem_lines(report)]
    for before, after in ((report, REPORT), (REPORT, report)):
        changes = compare(before, after)
        lines += [*change_lines(changes, 0.1), *growth_lines(changes, after.settings.max_growth)]
    assert all(line.text.isprintable() for line in lines)
    assert page(report)
    assert report.summary().model_dump_json()


def mutated_values() -> Iterator[bytes]:
    """Reports with another value, or none, in one place."""
    document = json.loads(REPORT.model_dump_json())
    for place in places(document):
        for value in VALUES:
            mutated = copy.deepcopy(document)
            *outer, last = place
            inner = mutated
            for step in outer:
                inner = inner[step]
            if value is NOTHING:
                del inner[last]
            else:
                inner[last] = value
            yield json.dumps(mutated).encode()


def mutated_bytes() -> Iterator[bytes]:
    """Reports with other bytes, fewer or more."""
    raw, random = REPORT.model_dump_json().encode(), Random(5)
    for _ in range(200):
        at = random.randrange(len(raw))
        other = random.choice([b"", random.randbytes(1), b"9" * 20, b"9" * 400])
        yield raw[:at] + other + raw[at + random.randrange(30) :]


def places(value: Any) -> Iterator[tuple[str | int, ...]]:
    """The way to each value of a document; of a list, to the first one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for name, each in inner:
        yield (name,)
        if isinstance(each, dict | list):
            yield from ((name, *rest) for rest in places(each))


def test_a_file_without_an_end_is_no_report() -> None:
    with pytest.raises(AuditInvalid, match=r"^/dev/zero: it has more than 268,435,456 bytes\.$"):
        AuditReport.load(Path("/dev/zero"))
