"""docs/examples/powertools_batch: its own tests, which invoke it with messages as Lambda does."""

from __future__ import annotations

from tests.docs.pytest_runs import passed_tests
from tests.docs.support import ROOT


def test_its_own_tests() -> None:
    folder = ROOT / "docs/examples/powertools_batch"
    assert passed_tests(folder, POWERTOOLS_SERVICE_NAME="orders") == 1
