"""The audit of dependencies fails where pip-audit itself would not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SAFE = {"name": "boto3", "version": "1.40.0", "vulns": []}
UNSAFE = {
    "name": "h11",
    "version": "0.15",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.16"], "aliases": [], "description": ""}],
}
UNKNOWN = {"name": "typer", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (json.dumps({"dependencies": [SAFE]}), 0, "✓ no advisory names any of 1 packages"),
        (json.dumps({"dependencies": [SAFE, UNSAFE]}), 1, "✗ h11 0.15: PYSEC-1, fixed in 0.16"),
        (json.dumps({"dependencies": [SAFE, UNKNOWN]}), 1, "did not answer for 1 of 2 packages"),
        ("", 1, "did not answer for any of the packages"),
    ],
    ids=["safe", "unsafe", "one was skipped", "no answer"],
)
def test_it_succeeds_only_if_all_were_looked_up(
    tmp_path: Path, answer: str, code: int, said: str
) -> None:
    stand_in = tmp_path / "pip_audit.py"
    stand_in.write_text(f"print({answer!r})")
    done = subprocess.run(
        [sys.executable, "-m", "tests.release.audit", "requirements.txt"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert said in " ".join(done.stdout.split())
