"""The package itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import letsgo_queue

SCRIPT = """
import sys
import letsgo_queue

letsgo_queue.Client("memory://").enqueue({"type": "a"})
print(*sys.modules)
"""


def test_import_is_cheap() -> None:
    """A Lambda pays for each import at its cold start."""
    script = [sys.executable, "-c", SCRIPT]
    output = subprocess.run(script, check=True, timeout=60, capture_output=True, text=True).stdout

    loaded = set(output.split())
    assert "letsgo_queue.client" in loaded
    assert loaded.isdisjoint(
        {"boto3", "botocore", "pynamodb", "claimcheck", "platformdirs", "waitress"}
    )


@pytest.mark.parametrize("name", letsgo_queue.__all__)
def test_what_it_names_is_there(name: str) -> None:
    assert hasattr(letsgo_queue, name)
