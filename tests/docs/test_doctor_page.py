"""docs/how-to/doctor.md."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import claimcheck.doctor
from tests.docs.support import ROOT, write_blocks

PAGE = "docs/how-to/doctor.md"

NAME = (
    r"(?:clock|credentials|dead-letters|encryption|lambda|queue|region|rights|round-trip|settings|store"
    r"|versions|worker)(?:\.[a-z-]+)?"
)


def test_the_table_names_every_finding() -> None:
    sources = Path(claimcheck.doctor.__file__).parent.glob("*.py")
    given = {name for each in sources for name in re.findall(f'"({NAME})"', each.read_text())}
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / PAGE).read_text(), re.MULTILINE)
    told = {name for row in rows for name in re.findall(f"`({NAME})`", row)}

    assert {"queue.redrive", "lambda.failures", "store.region"} < given
    assert given <= told


def test_the_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_blocks(PAGE, tmp_path) == {"examined.py"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work.db").write_text("no queue")

    runpy.run_path(str(tmp_path / "examined.py"))

    assert capsys.readouterr().out.startswith("queue ")
